"""SQL conditions, and which counter sources fulfil them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from collector.model import Filter

__all__ = ["Condition", "Conditions", "add_forks_of", "counter_sources", "filter_condition", "of_pods", "of_pods_or_hosts"]

# A condition on an attribution, in SQL. Its argument: the column that holds the attribution, `whose` or `w`, its greatest.
Condition = Callable[[str], str]

# Each counter source once. Times in ns; `since`: older ones have expired.
_COUNTER_SOURCES: Final = (
    "SELECT stream, cgroup, whose AS w, newest AS n, first_seen AS first, last_seen AS last FROM holder FINAL "
    "WHERE toUnixTimestamp64Nano(seen) >= {since:Int64}"
)


# Names of a filter, and the field of an attribution that each is compared with.
_FIELDS: Final = {"cluster": "cluster", "namespace": "namespace", "node": "node", "pod": "pod", "pod_uid": "uid"}


class Conditions:
    """Terms that must all hold, and the values of their parameters."""

    def __init__(self, *terms: str, **values: object) -> None:
        self.terms: list[str] = list(terms)
        self.values: dict[str, Any] = values

    def add(self, term: str, **values: object) -> Conditions:
        self.terms.append(term)
        self.values |= values
        return self

    def with_(self, *terms: str, **values: object) -> Conditions:
        """A copy with these terms and values added; a value replaces an earlier one of the same name."""
        return Conditions(*self.terms, *terms, **(self.values | values))

    def __str__(self) -> str:
        return " AND ".join(self.terms) or "1"


def of_pods(column: str) -> str:
    return f"tupleElement({column}, 'owner') IN {{pods:Array(UInt64)}}"


def of_pods_or_hosts(column: str) -> str:
    return f"(tupleElement({column}, 'owner') = 0 OR {of_pods(column)})"


def counter_sources(condition: Condition | None = None) -> str:
    """Those whose best attribution fulfils it. First those are chosen that ever had one which does: they are found quickly."""
    if condition is None:
        return _COUNTER_SOURCES
    ever = f"SELECT stream, cgroup FROM holder WHERE {condition('whose')}"
    return f"SELECT * FROM ({_COUNTER_SOURCES} AND (stream, cgroup) IN ({ever})) WHERE {condition('w')}"


def filter_condition(pod_filter: Filter) -> tuple[Condition | None, dict[str, Any]]:
    """The condition of a filter, None for everything; and the values of its parameters."""
    values: dict[str, Any] = {}
    parts: list[Condition] = [
        *_equal(pod_filter, values),
        *_of_bodies(pod_filter, values),
        *_with_text(pod_filter, values),
    ]
    return (lambda column: " AND ".join(part(column) for part in parts)) if parts else None, values


def add_forks_of(pod_filter: Filter, conditions: Conditions) -> None:
    """Restricts forks to those of the pods and hosts, by what their counter sources are known as now."""
    condition, values = filter_condition(pod_filter)
    if condition is None:
        return
    chosen = counter_sources(condition)
    conditions.add(f"(cluster, namespace, pod) IN ({_keys(chosen)})", **values)
    conditions.add(f"(stream, holder) IN (SELECT stream, cgroup FROM ({chosen}))")


def _keys(chosen: str) -> str:
    """What forks of these counter sources may be stored under: their names now, and what stood for them before (of builds of
    0.1 the uid)."""
    return (
        "SELECT DISTINCT tupleElement(w, 'cluster'), k.1, k.2 FROM (SELECT w, arrayJoin([(tupleElement(w, 'namespace'), "
        "tupleElement(w, 'pod')), ('', tupleElement(w, 'uid')), ('', concat('cgroup-', toString(cgroup)))]) AS k "
        f"FROM ({chosen}))"
    )


def _equal(pod_filter: Filter, values: dict[str, Any]) -> list[Condition]:
    """By the fields of an attribution that must be just so."""
    parts: list[Condition] = []
    for name, field in _FIELDS.items():
        if value := getattr(pod_filter, name):
            values[f"filter_{name}"] = value
            parts.append(_field_is(field, f"filter_{name}"))
    return parts


def _field_is(field: str, parameter: str) -> Condition:
    return lambda column: f"tupleElement({column}, '{field}') = {{{parameter}:String}}"


def _of_bodies(pod_filter: Filter, values: dict[str, Any]) -> list[Condition]:
    """By what is beside the attributions' bodies: workload and labels."""
    terms: list[str] = []
    if pod_filter.workload:
        kind, slash, name = pod_filter.workload.partition("/")
        values["filter_workload"] = name if slash else kind
        terms.append("workload = {filter_workload:String}")
        if slash:
            values["filter_kind"] = kind
            terms.append("workload_kind = {filter_kind:String}")
    for place, (key, value) in enumerate(pod_filter.labels):
        values[f"filter_key{place}"], values[f"filter_label{place}"] = key, value
        terms.append(
            f"mapContains(labels, {{filter_key{place}:String}}) AND "
            f"labels[{{filter_key{place}:String}}] = {{filter_label{place}:String}}"
        )
    if not terms:
        return []
    chosen = f"SELECT id FROM subject WHERE {' AND '.join(terms)}"
    return [lambda column: f"tupleElement({column}, 'subject') IN ({chosen})"]


def _with_text(pod_filter: Filter, values: dict[str, Any]) -> list[Condition]:
    if not pod_filter.text:
        return []
    values["filter_text"] = pod_filter.text

    def found_in(expression: str) -> str:
        return f"positionCaseInsensitiveUTF8({expression}, {{filter_text:String}}) > 0"

    def condition(column: str) -> str:
        names = [found_in(f"tupleElement({column}, '{field}')") for field in ("cluster", "node", "namespace", "pod", "uid")]
        bodies = f"SELECT id FROM subject WHERE {found_in('workload')} OR {found_in('container')}"
        return f"({' OR '.join(names)} OR tupleElement({column}, 'subject') IN ({bodies}))"

    return [condition]
