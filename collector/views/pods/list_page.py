"""The page of pods as text: its template only puts these strings into their places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from collector.model import Filter, Snapshot
from collector.views.formatting import number, per_second, visible
from collector.views.links import FIELDS, SORTS, PodListQuery, node_href, pod_href, workload_href
from collector.views.nodes.ledger import node_entries
from collector.views.nodes.node_card import expected_numbers, node_verdict
from collector.views.pods.entries import host_entries, pod_entries
from collector.views.pods.pod_text import (
    completeness_text,
    display_name,
    missing_badges,
    rate_tooltip,
    storm_mark,
    unknown_share_text,
    workload_text,
)
from collector.views.pods.sandboxes import without_counts
from collector.views.timeline.sparkline import area_path, line_path
from wire.api import HostEntry, NodeEntry, PodEntry

__all__ = ["pod_row", "pods_model"]

MAX_ROWS: Final = 200  # pods on the page; the filters find the others
MAX_OFFERED: Final = 50  # values of a filter
MAX_UNHEALTHY: Final = 5  # nodes that are named
COLUMNS: Final = (
    ("name", "pod", "by name"),
    ("node", "node", "by node"),
    ("rate", "rate now", "by forks a second in the last interval"),
    ("forks", "forks", "by processes forked, exact, since they were first counted"),
    ("threads", "threads", "by threads created, exact"),
    ("", "forks most", "the command that forked most"),
    ("missing", "missing", "by how many forks are missing"),
)


def pods_model(snapshot: Snapshot, list_query: PodListQuery, now: int) -> dict[str, Any]:
    """`snapshot`: of the pods that the filter finds, the most recently seen. `now` in ns."""
    pods = [without_counts(pod) for pod in pod_entries(snapshot, now)]
    nodes = node_entries(snapshot.ledger, now)
    shown = _sorted(pods, list_query)[:MAX_ROWS]
    unfiltered = list_query.filter == Filter()
    rows = [pod_row(pod) for pod in shown]
    return {
        "rows": rows,
        "outside": [_host_row(host) for host in host_entries(snapshot, now)] if unfiltered else [],
        "empty": unfiltered and not pods and not nodes,
        "none": "" if rows else ("No pod has forked yet." if unfiltered else "No pod matches these filters."),
        "count": _count(len(shown), len(pods), snapshot.pods_in_all, unfiltered=unfiltered),
        "forks": number(sum(pod["processes"] or 0 for pod in pods)),
        "columns": [_column(*column, list_query) for column in COLUMNS],
        "chips": _chips(list_query),
        "fields": [_field(name, list_query, pods, nodes) for name in FIELDS if name != "text"],
        "labels": [f"{name}={value}" for name, value in list_query.filter.labels],
        "text": list_query.filter.text,
        "sort": "" if list_query.sort == PodListQuery().sort else list_query.sort,
        "order": "" if list_query.order == SORTS[list_query.sort] else list_query.order,
        "nodes": _nodes(nodes, now),
        "storms": "; ".join(f"{row['namespace']}/{row['name']}: {row['mark']}" for row in rows if row["mark_state"] == "now"),
    }


def pod_row(pod: PodEntry) -> dict[str, Any]:
    unknown_share = sum(pod["unknown_share"].values())
    return {
        **_numbers(pod, unknown_share, observable=pod["observable"]),
        "key": f"p{pod['key']}",
        "href": pod_href(pod["namespace"], pod["pod"], pod["cluster"], pod["pod_uid"], pod["key"]),
        "namespace": visible(pod["namespace"]),
        "namespace_href": PodListQuery(Filter(namespace=pod["namespace"])).href() if pod["namespace"] else "",
        "name": display_name(pod),
        "workload": workload_text(pod),
        "workload_href": workload_href(pod["cluster"], pod["namespace"], pod["workload"]),
        **storm_mark(pod["storm"], pod["storms_in_all"]),
    }


def _host_row(host: HostEntry) -> dict[str, Any]:
    return {
        **_numbers(host, 0, observable=True),
        "key": f"h{host['cluster']}/{host['node']}",
        "href": node_href(host["cluster"], host["node"]),
        "namespace": "outside pods",
        "namespace_href": "",
        "name": visible(host["node"]),
        "workload": "",
        "workload_href": "",
        **storm_mark(None, 0),
    }


def _numbers(entry: PodEntry | HostEntry, unknown_share: int, *, observable: bool) -> dict[str, Any]:
    top = entry["top"][0] if entry["top"] else None
    return {
        "state": "live" if entry["rate"] else "quiet",
        "node": visible(entry["node"]),
        "node_href": node_href(entry["cluster"], entry["node"]),
        "rate": per_second(entry["rate"]),
        "rate_title": rate_tooltip(entry, observable=observable),
        "line": line_path(entry["history"]),
        "area": area_path(entry["history"]),
        "forks": number(entry["processes"]),
        "since": f"+{number(entry['since'])}" if entry["since"] else "",
        "threads": number(entry["threads"]),
        "top": visible(top["comm"]) if top else "",
        "top_forks": number(top["forks"]) if top else "",
        "missing": missing_badges(entry, observable=observable),
        "complete": completeness_text(entry, unknown_share, observable=observable),
        "share": unknown_share_text(unknown_share),
        "share_title": f"forks of {visible(entry['node'])} that were not counted by pod while this one may have been running",
    }


def _sorted(pods: Sequence[PodEntry], list_query: PodListQuery) -> list[PodEntry]:
    """Equal ones by name, so that no two rows swap places from one refresh to the next."""

    def name(pod: PodEntry) -> tuple[str, str, str]:
        return pod["namespace"] or "", pod["pod"] or "", pod["pod_uid"] or ""

    keys: dict[str, Callable[[PodEntry], Any]] = {
        "name": name,
        "node": lambda pod: (pod["cluster"], pod["node"]),
        "rate": lambda pod: -1.0 if pod["rate"] is None else pod["rate"],
        "forks": lambda pod: -1 if pod["processes"] is None else pod["processes"],
        "threads": lambda pod: -1 if pod["threads"] is None else pod["threads"],
        "missing": lambda pod: sum(pod["missing"].values()),
    }
    return sorted(sorted(pods, key=name), key=keys[list_query.sort], reverse=list_query.order == "desc")


def _column(sort: str, text: str, title: str, list_query: PodListQuery) -> dict[str, str]:
    direction = ("ascending" if list_query.order == "asc" else "descending") if sort == list_query.sort else ""
    href = list_query.href_sorted_by(sort) if sort else ""
    return {"name": sort or "top", "text": text, "title": title, "href": href, "sorted": direction}


def _chips(list_query: PodListQuery) -> list[dict[str, str]]:
    """The filters in use, each with the address without it."""
    pods = list_query.filter
    chips = []
    for name, value in pods._asdict().items():
        if value and name != "labels":
            without: dict[str, Any] = {name: ""}
            href = list_query._replace(filter=pods._replace(**without)).href()
            chips.append({"name": name.replace("_", " "), "value": visible(value), "href": href})
    for label in pods.labels:
        rest = tuple(other for other in pods.labels if other != label)
        href = list_query._replace(filter=pods._replace(labels=rest)).href()
        chips.append({"name": "label", "value": visible("=".join(label)), "href": href})
    return chips


def _field(name: str, list_query: PodListQuery, pods: Sequence[PodEntry], nodes: Sequence[NodeEntry]) -> dict[str, Any]:
    """A filter with its current value and those that the listed pods and nodes have."""
    values: dict[str, set[str | None]] = {
        "cluster": {entry["cluster"] for entry in [*pods, *nodes]},
        "node": {entry["node"] for entry in [*pods, *nodes]},
        "namespace": {pod["namespace"] for pod in pods},
        "workload": {f"{pod['workload']['kind']}/{pod['workload']['name']}" for pod in pods if pod["workload"]},
    }
    offered = sorted(value for value in values[name] if value)
    return {"name": name, "value": getattr(list_query.filter, name), "offered": offered[:MAX_OFFERED]}


def _nodes(nodes: Sequence[NodeEntry], now: int) -> dict[str, Any]:
    """All nodes in one line, and those that are unhealthy by name."""
    verdicts = [(node, *node_verdict(node, now)) for node in nodes]
    unhealthy = [(node, text) for node, state, text in verdicts if state == "bad"]
    given, received = (
        sum(expected_numbers(node["account"]) for node in nodes),
        sum(node["account"]["received"] for node in nodes),
    )
    return {
        "count": f"{number(len(nodes))} node{'' if len(nodes) == 1 else 's'}",
        "state": "bad" if unhealthy else "warn" if any(state == "warn" for _, state, _ in verdicts) else "ok",
        "received": f"received {number(received)} of {number(given)}" if given else "",
        "unhealthy": [
            {
                "key": f"{node['cluster']}/{node['node']}",
                "href": node_href(node["cluster"], node["node"]),
                "name": visible(node["node"]),
                "verdict": text,
            }
            for node, text in unhealthy[:MAX_UNHEALTHY]
        ],
        "more": f"and {number(len(unhealthy) - MAX_UNHEALTHY)} more" if len(unhealthy) > MAX_UNHEALTHY else "",
    }


def _count(shown: int, snapshotted: int, in_all: int, *, unfiltered: bool) -> str:
    """`shown` of `snapshotted` (the most recently seen) of `in_all`."""
    pods = "1 pod" if in_all == 1 else f"{number(in_all)} pods"
    text = pods if unfiltered else f"{pods} found"
    if shown == in_all:
        return text
    of_those = f", of the {number(snapshotted)} seen last" if snapshotted < in_all else ""
    return f"{text}, {number(shown)} shown{of_those}"
