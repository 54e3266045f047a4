"""The newest gaps, as they were sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from collector.model import CounterSourceRow, GapRow
from collector.query.read_context import ReadContext
from collector.store.row_ids import stream_id

__all__ = ["gaps_of_nodes", "gaps_of_pods"]

_COLUMNS: Final = "id, stream, cluster, node, owner, holder, missing, reason, sink, amount, start, end"
_OF_NODES: Final = (
    f"SELECT {_COLUMNS} FROM gap FINAL WHERE holder = -2 AND owner = 0 "
    "AND toUnixTimestamp64Nano(received) >= {since:Int64} ORDER BY end DESC, id "
    "LIMIT 20 BY cluster, node"  # of each node: one each time that capture was interrupted
)
_OF_PODS: Final = (
    f"SELECT {_COLUMNS} FROM gap "
    "WHERE toUnixTimestamp64Nano(received) >= {since:Int64} AND ((owner != 0 AND owner IN {pods:Array(UInt64)}) OR "
    "(stream, holder) IN {sources:Array(Tuple(String, Int64))}) ORDER BY end DESC, id LIMIT 1 BY stream, id "
    "LIMIT {limit:UInt32}"
)


class _Row(NamedTuple):
    """`pod` 0: none."""

    id: str
    stream: str
    cluster: str
    node: str
    pod: int
    cgroup: int
    missing: str
    reason: str
    sink: str
    amount: int
    start: int
    end: int


def gaps_of_nodes(context: ReadContext, sinks: Mapping[str, str | None]) -> list[GapRow]:
    """Of nodes as a whole. `sinks`: what each stream's agent calls this collector; other streams are left out."""
    return [_gap(row, None, sinks) for row in context.rows(_Row, _OF_NODES) if row.stream in sinks]


def gaps_of_pods(
    context: ReadContext,
    pods: Sequence[int],
    only: Sequence[tuple[str, int]],
    sources: Mapping[tuple[str, int], CounterSourceRow],
    sinks: Mapping[str, str | None],
    limit: int,
) -> list[GapRow]:
    """Of these pods as a whole and of `only` these counter sources, newest first."""
    rows = context.rows(_Row, _OF_PODS, pods=pods, sources=only, limit=limit)
    return [_gap(row, sources.get((row.stream, row.cgroup)), sinks) for row in rows]


def _gap(row: _Row, source: CounterSourceRow | None, sinks: Mapping[str, str | None]) -> GapRow:
    """`source`: the one that the gap is of, None where it is none of those that are read."""
    pod, counter_source_id = (row.pod or None, None) if source is None else (source.pod, source.id)
    ours = not row.sink or row.sink == sinks.get(row.stream)
    return GapRow(
        row.id,
        stream_id(row.stream),
        row.cluster,
        row.node,
        pod,
        counter_source_id,
        row.missing,
        row.reason,
        row.sink or None,
        ours,
        row.amount,
        row.start,
        row.end,
    )
