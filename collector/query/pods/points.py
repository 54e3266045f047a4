"""The latest intervals of counter sources, for the line of the rate."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from collector.model import PointRow
from collector.query.pods.counter_sources import SourceKey
from collector.query.pods.forked_by import EVER
from collector.query.read_context import ReadContext
from collector.store.row_ids import counter_source_id

__all__ = ["points"]

_STATEMENT: Final = (
    "SELECT stream, cgroup, min(start), end, max(processes) FROM summary WHERE end > {after:Int64} "
    f"AND {EVER} GROUP BY stream, cgroup, end"
)


class _Row(NamedTuple):
    stream: str
    cgroup: int
    start: int
    end: int
    processes: int


def points(context: ReadContext, pods: Sequence[int], among: Collection[SourceKey], after: int) -> list[PointRow]:
    """Of intervals that end after `after`, ns."""
    return [
        PointRow(counter_source_id(row.stream, row.cgroup), row.start, row.end, row.processes)
        for row in context.rows(_Row, _STATEMENT, pods=pods, after=after)
        if (row.stream, row.cgroup) in among
    ]
