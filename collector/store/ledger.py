"""Reading for the ledger: the numbers that each stream gave out, which of them came, and what was told of the others.

Each function is one look at one moment, inside the transaction of its caller. Must not live here: what explains what; that is
`collector.views.accounts`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import islice
from typing import Final

from collector.rows import CpuRow, GapRow, HoleRow, LedgerRows, LossRow, NodeRow, StreamRow
from collector.runs import holes

__all__ = ["gap_rows", "ledger_rows", "loss_rows"]

# Told of whom (`whose`: a pod's row), as far as is known by now. To be followed by a condition.
_GAPS: Final = (
    "SELECT g.id, g.stream, g.cluster, g.node, ifnull(h.pod, g.pod) AS whose, g.holder, g.missing, g.reason, g.sink, "
    'g.sink IS NULL OR g.sink IS s.sink, g.count, g.start, g."end" '
    "FROM gap g JOIN stream s ON s.id = g.stream LEFT JOIN holder h ON h.id = g.holder "
)
_OF_NODES: Final = (
    'SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY cluster, node ORDER BY "end" DESC) AS place FROM gap '
    "WHERE pod IS NULL AND holder IS NULL) WHERE place <= 20"  # of each node: one each time that capture was away
)
_LOSSES: Final = (
    "SELECT l.stream, ifnull(h.pod, nullif(l.pod, 0)) AS whose, nullif(l.holder, 0), l.missing, l.reason, nullif(l.sink, ''), "
    "l.sink = '' OR l.sink IS s.sink, max(l.told, l.by_now) "
    "FROM loss l JOIN stream s ON s.id = l.stream LEFT JOIN holder h ON h.id = l.holder "
)


def gap_rows(db: sqlite3.Connection, condition: str, limit: int = -1) -> list[GapRow]:
    """The newest gaps for which an SQL condition of our own over `_GAPS` holds, newest first."""
    found = db.execute(f'{_GAPS} WHERE {condition} ORDER BY g."end" DESC, g.id LIMIT ?', (limit,))
    return [GapRow._make((*row[:9], bool(row[9]), *row[10:])) for row in found]


def loss_rows(db: sqlite3.Connection, condition: str) -> list[LossRow]:
    """As `gap_rows`, over `_LOSSES`."""
    return [LossRow._make((*row[:6], bool(row[6]), row[7])) for row in db.execute(f"{_LOSSES} WHERE {condition}")]


def ledger_rows(db: sqlite3.Connection, most_holes: int, *, by_cpu: bool) -> LedgerRows:
    """All streams, the newest first. `most_holes` of each stream."""
    streams = _streams(db)
    return LedgerRows(
        _nodes(db),
        streams,
        _sums(db),
        gap_rows(db, f"g.id IN ({_OF_NODES})"),
        [hole for stream in streams if (stream.given or 0) > stream.received for hole in _holes(db, stream.id, most_holes)],
        _cpus(db) if by_cpu else [],
    )


def _nodes(db: sqlite3.Connection) -> list[NodeRow]:
    return [NodeRow(*row) for row in db.execute('SELECT stream, cluster, node, start, "end", received, body FROM node')]


# What came of each CPU, and what of that has a number that a heartbeat has spoken of.
_CAME: Final = (
    "SELECT r.stream AS stream, r.cpu AS cpu, sum(max(0, min(r.last + 1, ifnull(h.given, 0)) - r.first)) AS known, "
    "sum(r.last - r.first + 1) AS filed FROM run r LEFT JOIN head h ON h.stream = r.stream AND h.cpu = r.cpu "
)


def _streams(db: sqlite3.Connection) -> list[StreamRow]:
    return [
        StreamRow(*row)
        for row in db.execute(
            # `sum` ends in an error when it gets too large for 64 bits, `total` does not.
            "SELECT s.id, s.name, ifnull(n.cluster, s.cluster), ifnull(n.node, s.node), s.sink, s.before, "  # noqa: S608 - our own words
            "CASE WHEN n.stream IS NULL THEN NULL ELSE CAST(ifnull(h.given, 0) AS INTEGER) END, ifnull(c.known, 0), "
            f"ifnull(c.filed, 0) FROM stream s LEFT JOIN node n ON n.stream = s.id LEFT JOIN ({_CAME} GROUP BY r.stream) c "
            "ON c.stream = s.id LEFT JOIN (SELECT stream, total(given) AS given FROM head GROUP BY stream) h "
            'ON h.stream = s.id ORDER BY n."end" DESC, s.id DESC'
        )
    ]


def _cpus(db: sqlite3.Connection) -> list[CpuRow]:
    return [
        CpuRow(*row)
        for row in db.execute(
            "SELECT k.stream, k.cpu, ifnull(h.given, 0), ifnull(c.known, 0) "  # noqa: S608
            "FROM (SELECT stream, cpu FROM head UNION SELECT stream, cpu FROM run) k "
            "LEFT JOIN head h ON h.stream = k.stream AND h.cpu = k.cpu "
            f"LEFT JOIN ({_CAME} GROUP BY r.stream, r.cpu) c ON c.stream = k.stream AND c.cpu = k.cpu ORDER BY k.stream, k.cpu"
        )
    ]


def _sums(db: sqlite3.Connection) -> list[LossRow]:
    """Each stream's, whosever they are."""
    sums = db.execute(
        "SELECT l.stream, l.missing, l.reason, nullif(l.sink, ''), l.sink = '' OR l.sink IS s.sink, "
        "CAST(total(max(l.told, l.by_now)) AS INTEGER) FROM loss l JOIN stream s ON s.id = l.stream "
        "GROUP BY l.stream, l.missing, l.reason, l.sink"
    )
    return [LossRow._make((row[0], None, None, *row[1:4], bool(row[4]), row[5])) for row in sums]


def _holes(db: sqlite3.Connection, stream: int, most: int) -> Iterator[HoleRow]:
    """The first `most`; walks no further than it must, because a full ring leaves a hole beside every fork that it took."""
    cpus = db.execute("SELECT cpu, given FROM head WHERE stream = ? ORDER BY cpu", (stream,)).fetchall()
    found = (HoleRow(stream, cpu, *hole) for cpu, given in cpus for hole in _holes_of(db, stream, cpu, given, most))
    return islice(found, most)


def _holes_of(db: sqlite3.Connection, stream: int, cpu: int, given: int, most: int) -> list[tuple[int, int]]:
    """At least the first `most`; between `most` + 1 runs lie so many, so what follows the last of them is not looked at."""
    known = db.execute(
        "SELECT first, last FROM run WHERE stream = ? AND cpu = ? AND first < ? ORDER BY first LIMIT ?",
        (stream, cpu, given, most + 1),
    )
    return holes(known, given)
