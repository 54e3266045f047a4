"""Reading: what the views ask, as rows. Each function is one look at one moment, inside the transaction of its caller.

Must not live here: writing, sums over rows and JSON (`collector.views`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from collector.rows import GapRow, HolderRow, ParentRow, PodRow, PointRow, Snapshot, StormRow, Tally
from collector.store.ledger import gap_rows, ledger_rows, loss_rows

__all__ = ["gaps_of", "latest_forks", "pods_named", "pods_with_id", "sizes", "snapshot", "storms_of"]

_POD: Final = "id, cluster, node, namespace, name, uid, first_seen, last_seen"
# A pod row that nothing points at any more was a first guess, made before the pod was known.
_REAL: Final = "(id IN (SELECT pod FROM holder) OR id IN (SELECT pod FROM gap) OR id IN (SELECT pod FROM storm))"
_TALLY: Final = ", ".join(f"{prefix}_{name}" for prefix in ("counts", "totals") for name in Tally._fields)
_TOP: Final = 10  # comms a holder
_HOLES: Final = 10  # told with a snapshot, of each stream
_OF_CHOSEN_PODS: Final = (
    "(g.holder IN (SELECT id FROM holder WHERE pod IN (SELECT id FROM temp.chosen)) OR g.pod IN (SELECT id FROM temp.chosen))"
)
_STORM: Final = f'stream, number, pod, cluster, node, is_over, most, hold, start, "end", {_TALLY}'


def snapshot(db: sqlite3.Connection, pods: Sequence[PodRow] | None, limit: int, points_since: int) -> Snapshot:
    """The given pods, or the `limit` most recently seen, with the hosts and nodes. `points_since` in ns."""
    if pods is None:
        pods = [
            PodRow(*row)
            for row in db.execute(
                f"SELECT {_POD} FROM pod WHERE {_REAL} ORDER BY last_seen DESC, id LIMIT ?",  # noqa: S608 - our own column names
                (limit,),
            )
        ]
    in_all = int(db.execute(f"SELECT count(*) FROM pod WHERE {_REAL}").fetchone()[0])  # noqa: S608
    _choose(db, [pod.id for pod in pods])
    holders = [
        HolderRow._make((*row[:13], Tally(*row[13:20]), Tally(*row[20:])))
        for row in db.execute(
            "SELECT h.id, h.stream, h.cgroup, h.pod, h.cluster, h.node, s.body, h.filed, h.first_seen, h.last_seen, h.start, "  # noqa: S608
            f'h."end", h.received, {_TALLY} FROM holder h JOIN subject s ON s.id = h.subject '
            "WHERE h.pod IS NULL OR h.pod IN (SELECT id FROM temp.chosen) ORDER BY h.id"
        )
    ]
    return Snapshot(
        list(pods),
        in_all,
        holders,
        _parents(db),
        [
            PointRow(*row)
            for row in db.execute(
                'SELECT p.holder, p.start, p."end", p.processes FROM holder h JOIN point p ON p.holder = h.id AND p."end" > ? '
                "WHERE h.pod IS NULL OR h.pod IN (SELECT id FROM temp.chosen)",
                (points_since,),
            )
        ],
        loss_rows(db, "l.pod >= 0 AND (whose IS NULL OR whose IN (SELECT id FROM temp.chosen))"),
        *_newest_storms(db),
        ledger_rows(db, _HOLES, by_cpu=False),
    )


def _choose(db: sqlite3.Connection, rows: Iterable[int]) -> None:
    """The pods (or holders) that the next queries are about; a table, as a list of them may be longer than SQLite takes."""
    db.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (id INTEGER PRIMARY KEY)")
    db.execute("DELETE FROM temp.chosen")
    db.executemany("INSERT OR IGNORE INTO temp.chosen VALUES (?)", [(row,) for row in rows])


def _parents(db: sqlite3.Connection) -> list[ParentRow]:
    """The comms that forked most, a few for each holder."""
    rows = db.execute(
        "SELECT holder, comm, known, forks FROM (SELECT p.*, row_number() OVER "
        "(PARTITION BY p.holder ORDER BY p.forks DESC, p.comm) AS place FROM holder h JOIN parent p ON p.holder = h.id "
        "WHERE h.pod IS NULL OR h.pod IN (SELECT id FROM temp.chosen)) WHERE place <= ?",
        (_TOP,),
    )
    return [ParentRow(holder, comm if known else None, forks) for holder, comm, known, forks in rows]


def pods_named(db: sqlite3.Connection, namespace: str, name: str) -> list[PodRow]:
    """All that ever bore the name and are still kept, the newest first."""
    return [
        PodRow(*row)
        for row in db.execute(
            f"SELECT {_POD} FROM pod WHERE namespace = ? AND name = ? AND {_REAL} ORDER BY first_seen DESC, id DESC LIMIT 100",  # noqa: S608
            (namespace, name),
        )
    ]


def latest_forks(db: sqlite3.Connection, holders: Iterable[int], limit: int) -> list[dict[str, Any]]:
    """The newest forks of these holders, newest first, as they were sent."""
    rows: list[tuple[int, int, bytes, bytes]] = []
    for holder in holders:
        # One walk down the index for each: asked for all at once, SQLite would sort every fork they ever had.
        rows += db.execute(
            "SELECT f.time, f.id, f.body, s.body FROM fork f JOIN subject s ON s.id = f.subject "
            "WHERE f.holder = ? ORDER BY f.time DESC, f.id DESC LIMIT ?",
            (holder, limit),
        )
    rows.sort(key=lambda row: row[:2], reverse=True)
    return [{**orjson.loads(body), **orjson.loads(subject)} for _, _, body, subject in rows[:limit]]


def gaps_of(db: sqlite3.Connection, pods: Sequence[PodRow], holders: Iterable[int], limit: int) -> list[GapRow]:
    """The newest gaps told of these pods or, without any, of these holders; each for itself, newest first."""
    if pods:
        _choose(db, [pod.id for pod in pods])
        return gap_rows(db, _OF_CHOSEN_PODS, limit)
    _choose(db, holders)
    return gap_rows(db, "g.holder IN (SELECT id FROM temp.chosen)", limit)


def storms_of(db: sqlite3.Connection, pods: Sequence[PodRow], limit: int) -> list[StormRow]:
    """The newest storms of these pods, newest first."""
    _choose(db, [pod.id for pod in pods])
    rows = db.execute(
        f"SELECT {_STORM} FROM storm WHERE pod IN (SELECT id FROM temp.chosen) ORDER BY start DESC, number DESC LIMIT ?",  # noqa: S608
        (limit,),
    )
    return [_storm(row) for row in rows]


def _newest_storms(db: sqlite3.Connection) -> tuple[list[StormRow], dict[int, int]]:
    """The newest of each chosen pod, and how many each has had."""
    rows = db.execute(
        # With one max() in it, SQLite takes the other columns from the row that has it.
        f"SELECT count(*), max(start), {_STORM} FROM storm WHERE pod IN (SELECT id FROM temp.chosen) GROUP BY pod"  # noqa: S608
    ).fetchall()
    storms = [_storm(row[2:]) for row in rows]
    return storms, {storm.pod: row[0] for storm, row in zip(storms, rows, strict=True)}


def _storm(row: tuple[Any, ...]) -> StormRow:
    return StormRow._make((*row[:5], bool(row[5]), *row[6:10], Tally(*row[10:17]), Tally(*row[17:])))


def pods_with_id(db: sqlite3.Connection, pod: int) -> list[PodRow]:
    return [PodRow(*row) for row in db.execute(f"SELECT {_POD} FROM pod WHERE id = ?", (pod,))]  # noqa: S608


def sizes(db: sqlite3.Connection) -> tuple[int, int, int]:
    """Forks (ids have no holes but at the old end), pods, bytes of the database."""
    (forks,) = db.execute("SELECT ifnull(max(id) - min(id) + 1, 0) FROM fork").fetchone()
    (pods,) = db.execute("SELECT count(*) FROM pod").fetchone()
    (size,) = db.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
    return int(forks), int(pods), int(size)
