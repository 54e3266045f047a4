"""Which programs of a pod forked which, by comm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from collector.model import PairRow, Span
from collector.query.history.forks_of import FORKS_OF_POD, Keys, parameters
from collector.query.pods.counter_sources import SourceKey
from collector.query.read_context import ReadContext

__all__ = ["pairs"]

_STATEMENT: Final = (
    "SELECT parent, if(named, child, NULL), count() AS forks, min(at), max(at) FROM (SELECT f.parent_comm AS parent, "
    "f.at AS at, notEmpty(n.child) AS named, n.child[1] AS child FROM (SELECT entity, parent_comm, "
    f"toUnixTimestamp64Nano(time) AS at {FORKS_OF_POD} AND kind = 'process' LIMIT 1 BY stream, cpu, sequence) AS f "
    f"LEFT JOIN (SELECT parent_entity, [argMin(tuple(parent_comm), time).1] AS child {FORKS_OF_POD} "
    "AND parent_entity IS NOT NULL AND parent_comm IS NOT NULL GROUP BY parent_entity) AS n ON f.entity = n.parent_entity) "
    "GROUP BY 1, 2 ORDER BY forks DESC, max(at) DESC, 1, 2 LIMIT {limit:UInt32}"
)


def pairs(context: ReadContext, sources: Iterable[SourceKey], keys: Keys, span: Span, limit: int) -> list[PairRow]:
    """Processes by the comm of the parent and the child's comm when it first forked itself; most forks first."""
    return context.rows(PairRow, _STATEMENT, limit=limit, **parameters(sources, keys, span))
