"""The counter sources of pods and of all hosts: their attributions and newest summaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from collector.model import NOTHING, CounterSourceRow, TaskCounts
from collector.query.filters import counter_sources, of_pods, of_pods_or_hosts
from collector.query.read_context import ReadContext
from collector.store.row_ids import counter_source_id, stream_id

__all__ = ["SourceKey", "SourceRow", "attributions_of", "source_row", "source_rows"]

SourceKey = tuple[str, int]  # stream and cgroup
_UNKNOWN: Final = b'{"cgroup":null,"container":null,"k8s":{}}'  # the body has expired
_STATEMENT: Final = (
    "SELECT stream, cgroup, w.owner, w.cluster, w.node, w.subject, first, last, n.sum, n.start, n.end, n.received, n.counts, "
    f"n.totals FROM ({counter_sources(of_pods_or_hosts)}) ORDER BY stream, cgroup"
)
_OF_PODS: Final = f"SELECT stream, cgroup, w.subject FROM ({counter_sources(of_pods)}) ORDER BY stream, cgroup"
_BODIES: Final = "SELECT id, any(body) FROM subject WHERE id IN {bodies:Array(UInt64)} GROUP BY id"


class SourceRow(NamedTuple):
    """`sum` -1: no summary yet. `body`: the attribution's, JSON."""

    stream: str
    cgroup: int
    pod: int
    cluster: str
    node: str
    body_id: int
    first_seen: int
    last_seen: int
    sum: int
    start: int
    end: int
    received: int
    counts: Sequence[int]
    totals: Sequence[int]
    body: bytes = _UNKNOWN

    @property
    def key(self) -> SourceKey:
        return self.stream, self.cgroup


class _AttributionRow(NamedTuple):
    stream: str
    cgroup: int
    body_id: int


class _BodyRow(NamedTuple):
    id: int
    body: str


def source_rows(context: ReadContext, pods: Sequence[int]) -> list[SourceRow]:
    """Of these pods and of all hosts."""
    rows = context.rows(SourceRow, _STATEMENT, pods=pods)
    bodies = _bodies(context, {row.body_id for row in rows})
    return [row._replace(body=bodies.get(row.body_id, _UNKNOWN)) for row in rows]


def source_row(row: SourceRow, stored: int) -> CounterSourceRow:
    """`stored`: forks of it in the store."""
    has_summary = row.sum >= 0
    return CounterSourceRow(
        counter_source_id(row.stream, row.cgroup),
        stream_id(row.stream),
        row.cgroup,
        row.pod or None,
        row.cluster,
        row.node,
        row.body,
        stored,
        row.first_seen,
        row.last_seen,
        row.start if has_summary else None,
        row.end if has_summary else None,
        row.received if has_summary else None,
        TaskCounts(*row.counts) if has_summary else NOTHING,
        TaskCounts(*row.totals) if has_summary else NOTHING,
    )


def attributions_of(context: ReadContext, pod: int) -> dict[SourceKey, bytes]:
    """The bodies of a pod's counter sources."""
    rows = context.rows(_AttributionRow, _OF_PODS, pods=[pod])
    bodies = _bodies(context, {row.body_id for row in rows})
    return {(row.stream, row.cgroup): bodies.get(row.body_id, _UNKNOWN) for row in rows}


def _bodies(context: ReadContext, ids: set[int]) -> dict[int, bytes]:
    return {row.id: row.body.encode() for row in context.rows(_BodyRow, _BODIES, bodies=sorted(ids))}
