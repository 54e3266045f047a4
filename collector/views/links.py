"""The addresses of the pages: the whole state of a page is in its address.

Addresses are relative to the collector's root, so that a proxy may serve it under any path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode

from collector.model import Filter
from wire.events import K8s, Workload

__all__ = [
    "FIELDS",
    "RANGES",
    "SORTS",
    "PodListQuery",
    "filter_parameters",
    "fork_pod_href",
    "node_href",
    "pod_href",
    "pod_parameters",
    "query_string",
    "search_href",
    "workload_href",
]

FIELDS: Final = ("cluster", "namespace", "workload", "node", "text")  # filters of one value that the page offers
SORTS: Final = {  # each column's usual order
    "name": "asc",
    "node": "asc",
    "rate": "desc",
    "forks": "desc",
    "threads": "desc",
    "missing": "desc",
}
DEFAULT_SORT: Final = "forks"
# `from`, and the name of the link.
RANGES: Final = (("-15m", "15 min"), ("-1h", "1 h"), ("-6h", "6 h"), ("-24h", "24 h"), ("-7d", "7 d"))

Parameters = list[tuple[str, str]]


class PodListQuery(NamedTuple):
    """What the page of pods shows, and in which order. `order`: asc or desc."""

    filter: Filter = Filter()
    sort: str = DEFAULT_SORT
    order: str = SORTS[DEFAULT_SORT]

    def href(self) -> str:
        """Its address; default values are left out."""
        parameters = filter_parameters(self.filter)
        if self.sort != DEFAULT_SORT:
            parameters.append(("sort", self.sort))
        if self.order != SORTS[self.sort]:
            parameters.append(("order", self.order))
        return query_string(parameters) or "?"

    def href_sorted_by(self, sort: str) -> str:
        """Sorted by that column, or in the opposite order where it already is."""
        usual = SORTS[sort]
        opposite = "asc" if usual == "desc" else "desc"
        is_sorted = self.sort == sort and self.order == usual
        return self._replace(sort=sort, order=opposite if is_sorted else usual).href()


def filter_parameters(pods: Filter) -> Parameters:
    fields = [(key, value) for key, value in zip(Filter._fields, pods, strict=True) if isinstance(value, str) and value]
    return fields + [("label", f"{name}={value}") for name, value in pods.labels]


def query_string(parameters: Iterable[tuple[str, str]]) -> str:
    """`?a=b&c=d`, or nothing. Values may hold any text, lone surrogates too."""
    text = urlencode(list(parameters), errors="replace", quote_via=quote, safe="/:,")
    return f"?{text}" if text else ""


def pod_href(namespace: str | None, pod: str | None, cluster: str, pod_uid: str | None, key: int) -> str:
    """The page of this very pod, also when another has its name. `key`: where it has no name or uid."""
    if _is_segment(namespace) and _is_segment(pod) and pod_uid:
        return _named_pod_href(namespace, pod, cluster, pod_uid)
    return f"pod/{key}"


def fork_pod_href(k8s: K8s) -> str:
    """The page of a fork's pod; "" where it has no name."""
    if _is_segment(k8s["namespace"]) and _is_segment(k8s["pod"]):
        return _named_pod_href(k8s["namespace"], k8s["pod"], k8s["cluster"], k8s["pod_uid"])
    return ""


def pod_parameters(cluster: str | None, pod_uid: str | None) -> Parameters:
    """What distinguishes a pod from others of its name."""
    return [(name, value) for name, value in (("cluster", cluster), ("pod_uid", pod_uid)) if value]


def workload_href(cluster: str, namespace: str | None, workload: Workload | None) -> str:
    """ "" where no workload is known."""
    parts: Sequence[str | None] = (namespace, workload["kind"], workload["name"]) if workload else ()
    if not parts or not all(_is_segment(part) for part in parts):
        return ""
    return f"workloads/{'/'.join(_segment(part) for part in parts)}{query_string([('cluster', cluster)])}"


def node_href(cluster: str, node: str) -> str:
    if not _is_segment(node):
        return "nodes"
    return f"nodes/{_segment(node)}{query_string([('cluster', cluster)] if cluster else [])}"


def search_href(**parameters: str | None) -> str:
    """`from_` is `from`. Empty parameters are left out."""
    return f"search{query_string((key.rstrip('_'), value) for key, value in parameters.items() if value)}"


def _named_pod_href(namespace: str | None, pod: str | None, cluster: str, pod_uid: str | None) -> str:
    return f"pods/{_segment(namespace)}/{_segment(pod)}{query_string(pod_parameters(cluster, pod_uid))}"


def _is_segment(part: str | None) -> bool:
    """A browser resolves dots as a way up, even when they are escaped."""
    return bool(part) and part not in (".", "..")


def _segment(part: str | None) -> str:
    return quote(part or "", safe="", errors="replace")
