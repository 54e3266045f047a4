"""The newest storms of pods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from collector.model import StormRow, TaskCounts
from collector.query.read_context import ReadContext
from collector.store.row_ids import stream_id
from wire.events import StormReason

__all__ = ["Storms", "storms_of"]

_STATEMENT: Final = (
    "SELECT stream, number, o.owner, o.cluster, o.node, n.is_over, n.limit, n.hold, n.start, n.end, n.counts, n.totals, why, "
    "count() OVER (PARTITION BY o.owner) FROM (SELECT stream, cgroup, number, max(whose) AS o, max(newest) AS n, "
    "max(reason) AS why FROM storm GROUP BY stream, cgroup, number HAVING toUnixTimestamp64Nano(max(seen)) >= {since:Int64} "
    "AND o.owner IN {pods:Array(UInt64)}) ORDER BY n.start DESC, number DESC LIMIT {limit:UInt32} BY o.owner"
)


class _Row(NamedTuple):
    """As `StormRow`, with the stream's name, and how many storms the pod has had."""

    stream: str
    number: int
    pod: int
    cluster: str
    node: str
    is_over: int
    limit: int
    hold: int
    start: int
    end: int
    counts: Sequence[int]
    totals: Sequence[int]
    reason: StormReason | Literal[""]
    in_all: int


class Storms(NamedTuple):
    """`in_all`: by pod."""

    newest: list[StormRow]
    in_all: dict[int, int]


def storms_of(context: ReadContext, pods: Sequence[int], limit: int) -> Storms:
    """The `limit` newest of each pod, newest first."""
    rows = context.rows(_Row, _STATEMENT, pods=pods, limit=limit)
    return Storms([_storm(row) for row in rows], {row.pod: row.in_all for row in rows})


def _storm(row: _Row) -> StormRow:
    return StormRow(
        stream_id(row.stream),
        row.number,
        row.pod,
        row.cluster,
        row.node,
        bool(row.is_over),
        row.limit,
        row.hold,
        row.start,
        row.end,
        TaskCounts(*row.counts),
        TaskCounts(*row.totals),
        row.reason or "limit",  # of a store that had no reasons: its agents knew the limit alone
    )
