"""How many forks each counter source has in the store, and by which comms."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from collector.model import ParentRow
from collector.query.pods.counter_sources import SourceKey
from collector.query.read_context import ReadContext
from collector.store.row_ids import counter_source_id

__all__ = ["EVER", "ForkedBy", "forked_by"]

_TOP: Final = 10  # comms of a counter source
# Counter sources that were ever attributed to the pods or to hosts: a list of them would cost more than to find them.
EVER: Final = (
    "(stream, cgroup) IN (SELECT stream, cgroup FROM holder "
    "WHERE tupleElement(whose, 'owner') = 0 OR tupleElement(whose, 'owner') IN {pods:Array(UInt64)})"
)
_STATEMENT: Final = (
    "SELECT stream, cgroup, kind, comm, groupBitmapMerge(numbers) AS forks, "
    "sum(forks) OVER (PARTITION BY stream, cgroup, kind) FROM made "
    f"WHERE {EVER} GROUP BY stream, cgroup, kind, comm "
    "ORDER BY forks DESC, comm NULLS FIRST LIMIT {top:UInt8} BY stream, cgroup, kind"
)


class _Row(NamedTuple):
    """`in_all`: forks of all comms."""

    stream: str
    cgroup: int
    kind: str
    comm: str | None
    forks: int
    in_all: int


class ForkedBy(NamedTuple):
    """`stored`: forks of each counter source. `parents`: the comms with most processes."""

    stored: dict[SourceKey, int]
    parents: list[ParentRow]


def forked_by(context: ReadContext, pods: Sequence[int], among: Collection[SourceKey]) -> ForkedBy:
    by_kind: dict[SourceKey, dict[str, int]] = {}
    parents: list[ParentRow] = []
    for row in context.rows(_Row, _STATEMENT, pods=pods, top=_TOP):
        key = row.stream, row.cgroup
        if key not in among:
            continue
        by_kind.setdefault(key, {})[row.kind] = row.in_all
        if row.kind == "process":
            parents.append(ParentRow(counter_source_id(*key), row.comm, row.forks))
    return ForkedBy({key: sum(kinds.values()) for key, kinds in by_kind.items()}, parents)
