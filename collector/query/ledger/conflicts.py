"""Forks whose ids came again with other content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from collector.model import ConflictRow, StreamConflicts
from collector.query.read_context import ReadContext
from collector.store.row_ids import stream_id

__all__ = ["conflicts_of_streams"]

LISTED: Final = 100  # of each stream
_BY_ID: Final = (
    "SELECT stream, cpu, sequence, sum(times) AS n, min(first) AS f, max(last) AS l FROM conflict "
    "GROUP BY stream, cpu, sequence"
)
_SUMS: Final = f"SELECT stream, countIf(cpu >= 0), sum(n), sumIf(n, cpu < 0) FROM ({_BY_ID}) GROUP BY stream ORDER BY stream"
_LISTED: Final = (
    f"SELECT stream, cpu, sequence, n, f, l FROM ({_BY_ID}) WHERE cpu >= 0 ORDER BY stream, cpu, sequence "
    f"LIMIT {LISTED} BY stream"
)


class _Sums(NamedTuple):
    stream: str
    ids: int
    times: int
    unlisted: int


class _Row(NamedTuple):
    """`first`, `last`: received, credential, cluster and node."""

    stream: str
    cpu: int
    sequence: int
    times: int
    first: Mapping[str, Any]
    last: Mapping[str, Any]


def conflicts_of_streams(context: ReadContext) -> list[StreamConflicts]:
    sums = context.rows(_Sums, _SUMS)
    if not sums:
        return []
    rows: dict[str, list[ConflictRow]] = {}
    for row in context.rows(_Row, _LISTED):
        first, last = row.first, row.last
        rows.setdefault(row.stream, []).append(
            ConflictRow(
                row.cpu,
                row.sequence,
                row.times,
                first["received"],
                last["received"],
                last["credential"] or None,
                last["cluster"],
                last["node"],
            )
        )
    return [StreamConflicts(stream_id(one.stream), one.ids, one.times, one.unlisted, rows.get(one.stream, [])) for one in sums]
