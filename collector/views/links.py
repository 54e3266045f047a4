"""What an address asks for, and the addresses of things: the whole state of a page is in its link.

Addresses are relative to the collector's root, so that a proxy may put it anywhere. Pure. Must not live here: what is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from collector.model import Filter

__all__ = [
    "CHOICES",
    "FIELDS",
    "SORTS",
    "PodListQuery",
    "exactly",
    "filter_pairs",
    "node_href",
    "pod_href",
    "query",
    "search_href",
    "workload_href",
]

FIELDS: Final = ("cluster", "namespace", "workload", "node", "text")  # filters of one value, as the page offers them
SORTS: Final = {  # and which way each goes first
    "name": "asc",
    "node": "asc",
    "rate": "desc",
    "forks": "desc",
    "threads": "desc",
    "missing": "desc",
}
USUAL: Final = "forks"
CHOICES: Final = (("-15m", "15 min"), ("-1h", "1 h"), ("-6h", "6 h"), ("-24h", "24 h"), ("-7d", "7 d"))  # of a range

Pairs = Iterable[tuple[str, str]]


class PodListQuery(NamedTuple):
    """What the page of pods shall show, and how sorted. `order`: asc or desc."""

    filter: Filter = Filter()
    sort: str = USUAL
    order: str = SORTS[USUAL]

    def href(self) -> str:
        """Its address; what is as usual is left out."""
        pairs = filter_pairs(self.filter)
        if self.sort != USUAL:
            pairs.append(("sort", self.sort))
        if self.order != SORTS[self.sort]:
            pairs.append(("order", self.order))
        return query(pairs) or "?"

    def turned(self, sort: str) -> str:
        """The address that sorts by that column, or the other way round where it already does."""
        usual = SORTS[sort]
        other = "asc" if usual == "desc" else "desc"
        return self._replace(sort=sort, order=other if self.sort == sort and self.order == usual else usual).href()


def filter_pairs(wish: Filter) -> list[tuple[str, str]]:
    pairs = [(key, value) for key, value in zip(Filter._fields, wish, strict=True) if isinstance(value, str) and value]
    return pairs + [("label", f"{name}={value}") for name, value in wish.labels]


def query(pairs: Pairs) -> str:
    """`?a=b&c=d`, or nothing. Values may hold any text, lone surrogates too."""
    text = urlencode(list(pairs), errors="replace", quote_via=quote, safe="/:,")
    return f"?{text}" if text else ""


def pod_href(entry: Mapping[str, Any]) -> str:
    """This very pod, also when another has its name. `entry` without a `key`: a fork's `k8s`; nothing where it has no name."""
    namespace, name = entry.get("namespace"), entry.get("pod")
    if _fits(namespace) and _fits(name) and (entry.get("pod_uid") or "key" not in entry):
        return f"pods/{_segment(namespace)}/{_segment(name)}{query(exactly(entry))}"
    return f"pod/{entry['key']}" if "key" in entry else ""


def exactly(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What tells a pod apart from others of its name."""
    return [(name, entry[name]) for name in ("cluster", "pod_uid") if entry.get(name)]


def workload_href(entry: Mapping[str, Any]) -> str:
    """Nothing where no workload is known."""
    workload, namespace = entry.get("workload") or {}, entry.get("namespace")
    parts = [namespace, workload.get("kind"), workload.get("name")]
    if not all(_fits(part) for part in parts):
        return ""
    return f"workloads/{'/'.join(_segment(part) for part in parts)}{query([('cluster', entry['cluster'])])}"


def node_href(cluster: str, node: str) -> str:
    if not _fits(node):
        return "nodes"
    return f"nodes/{_segment(node)}{query([('cluster', cluster)] if cluster else [])}"


def search_href(**fork_query: str | None) -> str:
    return f"search{query((key.rstrip('_'), value) for key, value in fork_query.items() if value)}"


def _fits(part: str | None) -> bool:
    """A browser takes dots for a way up, wherever they come from."""
    return bool(part) and part not in (".", "..")


def _segment(part: str | None) -> str:
    return quote(part or "", safe="", errors="replace")
