"""The processes of a pod, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from collector.model import Span, TaskRow
from collector.query.history.forks_of import FORKS_OF_POD, Keys, parameters
from collector.query.history.timeline import container_of
from collector.query.pods.counter_sources import SourceKey
from collector.query.read_context import ReadContext

__all__ = ["lineage"]

_STATEMENT: Final = (
    "SELECT entity, parent_entity, comm, parent_comm, pid, ns_pid, parent_pid, parent_ns_pid, toUnixTimestamp64Nano(time), "
    f"stream, holder {FORKS_OF_POD} AND kind = 'process' AND entity IS NOT NULL ORDER BY time DESC, stream DESC, cpu DESC, "
    "sequence DESC LIMIT 1 BY stream, cpu, sequence LIMIT {limit:UInt32}"
)


class _Row(NamedTuple):
    entity: int
    parent: int | None
    comm: str | None
    parent_comm: str | None
    pid: int | None
    ns_pid: int | None
    parent_pid: int | None
    parent_ns_pid: int | None
    time: int
    stream: str
    cgroup: int


def lineage(context: ReadContext, attributions: Mapping[SourceKey, bytes], keys: Keys, span: Span, limit: int) -> list[TaskRow]:
    """The newest `limit` processes, newest first."""
    rows = context.rows(_Row, _STATEMENT, limit=limit, **parameters(attributions, keys, span))
    containers = {source: container_of(body).id for source, body in attributions.items()}
    return [
        TaskRow(
            f"{row.entity:016x}",
            None if row.parent is None else f"{row.parent:016x}",
            row.comm,
            row.parent_comm,
            row.pid or 0,
            row.ns_pid,
            row.parent_pid,
            row.parent_ns_pid,
            row.time,
            containers[row.stream, row.cgroup],
        )
        for row in rows
    ]
