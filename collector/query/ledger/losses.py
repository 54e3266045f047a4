"""The sums of gaps, which outlive them: how much is missing for each reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from collector.model import CounterSourceRow, LossRow
from collector.query.read_context import ReadContext
from collector.store.row_ids import NO_CGROUP, stream_id

__all__ = ["losses_of_pods", "losses_of_streams"]

_AMOUNT: Final = "toUInt64(least(sum(toUInt128(most)), 9223372036854775807))"
_OF_STREAMS: Final = (
    f"SELECT stream, missing, reason, sink, {_AMOUNT} FROM "
    "(SELECT stream, missing, reason, sink, max(by_now) AS most FROM loss "
    "GROUP BY stream, holder, owner, missing, reason, sink, source) "
    "GROUP BY stream, missing, reason, sink ORDER BY stream, missing, reason, sink"
)
_OF_PODS: Final = (
    f"SELECT stream, holder, owner, missing, reason, sink, {_AMOUNT} FROM "
    "(SELECT stream, holder, owner, missing, reason, sink, source, max(by_now) AS most FROM loss WHERE (holder = -2 AND "
    "(owner = 0 OR owner IN {pods:Array(UInt64)})) OR holder IN {cgroups:Array(Int64)} "
    "GROUP BY stream, holder, owner, missing, reason, sink, source) GROUP BY stream, holder, owner, missing, reason, sink"
)


class _StreamRow(NamedTuple):
    stream: str
    missing: str
    reason: str
    sink: str
    amount: int


class _PodRow(NamedTuple):
    """`pod` 0: none. `cgroup` NO_CGROUP: of a pod or a node as a whole."""

    stream: str
    cgroup: int
    pod: int
    missing: str
    reason: str
    sink: str
    amount: int


def losses_of_streams(context: ReadContext, sinks: Mapping[str, str | None]) -> list[LossRow]:
    """`sinks`: what each stream's agent calls this collector; other streams are left out."""
    return [_loss(row, None, None, sinks) for row in context.rows(_StreamRow, _OF_STREAMS) if row.stream in sinks]


def losses_of_pods(
    context: ReadContext,
    pods: Sequence[int],
    sources: Mapping[tuple[str, int], CounterSourceRow],
    sinks: Mapping[str, str | None],
) -> list[LossRow]:
    """Of these pods and counter sources. Read by cgroup alone: a list of sources costs more than a few rows too many."""
    found = []
    for row in context.rows(_PodRow, _OF_PODS, pods=pods, cgroups=sorted({cgroup for _, cgroup in sources})):
        source = sources.get((row.stream, row.cgroup))
        if row.stream not in sinks or (source is None and row.cgroup != NO_CGROUP):
            continue
        pod, counter_source_id = (row.pod or None, None) if source is None else (source.pod, source.id)
        found.append(_loss(row, pod, counter_source_id, sinks))
    return found


def _loss(
    row: _StreamRow | _PodRow, pod: int | None, counter_source_id: int | None, sinks: Mapping[str, str | None]
) -> LossRow:
    ours = not row.sink or row.sink == sinks[row.stream]
    return LossRow(stream_id(row.stream), pod, counter_source_id, row.missing, row.reason, row.sink or None, ours, row.amount)
