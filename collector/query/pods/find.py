"""Which pods fit a filter."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from collector.model import Filter, PodRow
from collector.query.filters import Condition, counter_sources, filter_condition, of_pods
from collector.query.read_context import ReadContext

__all__ = ["FoundPods", "find_pods", "pod_row"]

_ATTRIBUTION: Final = (
    "Tuple(rank UInt8, said Int64, owner UInt64, cluster String, node String, namespace String, pod String, uid String, "
    "subject UInt64)"
)
# Where else pods are named: in gaps that are of a pod as a whole, and in storms.
_GAPS_AND_STORMS: Final = (
    f"SELECT CAST((0, 0, owner, cluster, node, namespace, pod, uid, 0) AS {_ATTRIBUTION}) AS w, end AS first, end AS last "
    "FROM gap WHERE owner != 0 AND toUnixTimestamp64Nano(received) >= {since:Int64} UNION ALL "
    f"SELECT CAST((0, 0, o.owner, o.cluster, o.node, o.namespace, o.pod, o.uid, 0) AS {_ATTRIBUTION}), n.start, n.end "
    "FROM (SELECT max(whose) AS o, max(newest) AS n FROM storm GROUP BY stream, cgroup, number "
    "HAVING toUnixTimestamp64Nano(max(seen)) >= {since:Int64})"
)
Order = Literal["last_seen", "first_seen"]


class FoundPods(NamedTuple):
    """`in_all`: how many fit, of which `pods` are the first."""

    pods: list[PodRow]
    in_all: int


class _Row(NamedTuple):
    """As `PodRow`, and how many pods fit."""

    id: int
    cluster: str
    node: str
    namespace: str | None
    name: str | None
    uid: str | None
    first_seen: int
    last_seen: int
    in_all: int

    def pod(self) -> PodRow:
        return PodRow(self.id, self.cluster, self.node, self.namespace, self.name, self.uid, self.first_seen, self.last_seen)


class _Id(NamedTuple):
    id: int


def find_pods(context: ReadContext, pod_filter: Filter, limit: int, order: Order = "last_seen") -> FoundPods:
    """The pods that fit, the most recently (first) seen first."""
    condition, values = filter_condition(pod_filter)
    if pod_filter.pod or pod_filter.pod_uid:  # few, so that what is stored of others need not be read
        fitting = [row.id for row in context.rows(_Id, _fitting(condition), **values)]
        return _find(context, _both(condition, of_pods), of_pods, order, limit, values | {"pods": fitting})
    return _find(context, condition, None, order, limit, values)


def pod_row(context: ReadContext, pod: int) -> PodRow | None:
    """The pod of that id."""
    found = _find(context, of_pods, of_pods, "last_seen", 1, {"pods": [pod]})
    return found.pods[0] if found.pods else None


def _find(
    context: ReadContext, fits: Condition | None, among: Condition | None, order: Order, limit: int, values: dict[str, Any]
) -> FoundPods:
    rows = context.rows(_Row, _pods(fits, among, order), limit=limit, **values)
    return FoundPods([row.pod() for row in rows], rows[0].in_all if rows else 0)


def _pods(fits: Condition | None, among: Condition | None, order: Order) -> str:
    """`among`: the counter sources that are read."""
    return (
        "SELECT w.owner AS owner, max(w.cluster), argMax(w.node, last), nullIf(max(w.namespace), ''), nullIf(max(w.pod), ''), "
        "nullIf(max(w.uid), ''), min(first) AS first_seen, max(last) AS last_seen, count() OVER () "
        f"FROM ({_named(among)}) WHERE owner != 0 "
        f"GROUP BY owner HAVING max({fits('w') if fits else 1}) ORDER BY {order} DESC, owner LIMIT {{limit:UInt32}}"
    )


def _fitting(condition: Condition | None) -> str:
    return f"SELECT DISTINCT w.owner FROM ({_named(condition)}) WHERE {condition('w') if condition else 1}"


def _named(among: Condition | None) -> str:
    """Every attribution to a pod: of its counter sources, its gaps and its storms."""
    return f"SELECT w, first, last FROM ({counter_sources(among)}) UNION ALL {_GAPS_AND_STORMS}"


def _both(one: Condition | None, other: Condition) -> Condition:
    return other if one is None else lambda column: f"{one(column)} AND {other(column)}"
