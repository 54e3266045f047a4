"""The page of pods, in words: its template only puts these strings into their places.

Pure. Must not live here: HTML, and the numbers themselves (`pods`, `ledger`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from collector.model import Filter, Snapshot
from collector.views.links import FIELDS, SORTS, PodListQuery, node_href, pod_href, workload_href
from collector.views.nodes.cards import verdict_of
from collector.views.nodes.ledger import node_entries
from collector.views.nodes.reasons import reason_badge
from collector.views.pods.entries import host_entries, pod_entries
from collector.views.pods.sandboxes import without_counts
from collector.views.timeline.sparkline import drawn, filled
from collector.views.times import clock
from collector.views.words import number, per_second, visible
from wire.events import NOT_OBSERVABLE

__all__ = ["complete_words", "missing_badges", "pod_name", "pods_model", "rate_title", "row_of", "share_said", "storm_mark"]

ROWS: Final = 200  # pods on the page; the filters find the others
OFFERED: Final = 50  # values of a filter
_UNSEEN: Final = "the pod has a kernel of its own, so its node does not see what it forks"
COLUMNS: Final = (
    ("name", "pod", "by name"),
    ("node", "node", "by node"),
    ("rate", "rate now", "by forks a second in the last interval"),
    ("forks", "forks", "by processes forked, exact, since they were first counted"),
    ("threads", "threads", "by threads made, exact"),
    ("", "forks most", "the command that forked most"),
    ("missing", "missing", "by how many forks are missing"),
)


def pods_model(snapshot: Snapshot, wish: PodListQuery, now: int) -> dict[str, Any]:
    """`snapshot`: of the pods that the filter finds, the most recently seen. `now` in ns."""
    pods = [without_counts(pod) for pod in pod_entries(snapshot, now)]
    nodes = node_entries(snapshot.ledger, now)
    shown = _sorted(pods, wish)[:ROWS]
    plain = wish.filter == Filter()
    rows = [row_of(pod) for pod in shown]
    return {
        "rows": rows,
        "outside": [_host_row(host) for host in host_entries(snapshot, now)] if plain else [],
        "empty": plain and not pods and not nodes,
        "none": "" if rows else ("No pod has forked yet." if plain else "No pod of that kind has been heard of."),
        "count": _count(len(shown), len(pods), snapshot.pods_in_all, plain=plain),
        "forks": number(sum(pod["processes"] or 0 for pod in pods)),
        "columns": [_column(*column, wish) for column in COLUMNS],
        "chips": _chips(wish),
        "fields": [_field(name, wish, pods, nodes) for name in FIELDS if name != "text"],
        "labels": [f"{name}={value}" for name, value in wish.filter.labels],
        "text": wish.filter.text,
        "sort": "" if wish.sort == PodListQuery().sort else wish.sort,
        "order": "" if wish.order == SORTS[wish.sort] else wish.order,
        "strip": _strip(nodes, now),
        "said": "; ".join(f"{row['namespace']}/{row['name']}: {row['mark']}" for row in rows if row["mark_state"] == "now"),
    }


def row_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A pod's row."""
    workload = entry.get("workload")
    return {
        **_numbers(entry),
        "key": f"p{entry['key']}",
        "href": pod_href(entry),
        "namespace": visible(entry["namespace"]),
        "namespace_href": PodListQuery(Filter(namespace=entry["namespace"])).href() if entry["namespace"] else "",
        "name": pod_name(entry),
        "workload": visible(f"{workload['kind']} {workload['name']}") if workload else "",
        "workload_href": workload_href(entry),
        **storm_mark(entry),
    }


def is_seen(entry: Mapping[str, Any]) -> bool:
    """False: its agent said that it can't see what the pod forks, so its counts are unknown, and not 0."""
    return bool(entry.get("observable", True))


def missing_badges(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """One badge for each reason; never silent."""
    if not is_seen(entry):
        return [{"key": NOT_OBSERVABLE, "text": "not observable", "title": _UNSEEN, "mark": "quiet"}]
    return [reason_badge(reason, count) for reason, count in entry["missing"].items()]


def rate_title(entry: Mapping[str, Any]) -> str:
    if not is_seen(entry):
        return _UNSEEN
    return "forks a second in the last interval" if entry["rate"] is not None else "no summary for three intervals"


def share_said(entry: Mapping[str, Any]) -> str:
    """What its node lost track of while the pod lived, and no one can say whose it was."""
    shared = sum(entry.get("unknown_share", {}).values())
    return f"its share of {number(shared)} is not known" if shared else ""


def pod_name(pod: Mapping[str, Any]) -> str:
    """The best there is: its name, its uid, its cgroup. The agent's cgroup 0 is the sum of those its table had no room for."""
    cgroup = pod["cgroup"] or {"id": 0}
    return (
        visible(pod["pod"] or pod["pod_uid"])
        if pod["pod"] or pod["pod_uid"]
        else (f"cgroup {cgroup['id']}" if cgroup["id"] else "all other cgroups")
    )


def complete_words(entry: Mapping[str, Any]) -> str:
    """Said where no badge is: a pod is complete when all that the kernel handed out is here."""
    if entry["missing"] or not is_seen(entry):
        return ""
    if not entry["summed"]:
        return "not summed up yet"
    if entry["awaited"]:
        return f"{number(entry['awaited'])} not here yet"
    return "" if share_said(entry) else "nothing"


def storm_mark(entry: Mapping[str, Any]) -> dict[str, str]:
    storm, in_all = entry.get("storm"), entry.get("storms_in_all", 0)
    if storm:
        begun = clock(storm["interval"]["start"])[:8]
        title = f"since {begun} UTC its forks are only counted: over {number(storm['limit'])} a second"
        return {"mark": "in a storm", "mark_state": "now", "mark_title": title}
    title = "times that its forks were only counted, being too many a second"
    return {
        "mark": f"{number(in_all)} storm{'s' if in_all > 1 else ''}" if in_all else "",
        "mark_state": "past",
        "mark_title": title,
    }


def _numbers(entry: Mapping[str, Any]) -> dict[str, Any]:
    top = entry["top"][0] if entry["top"] else None
    return {
        "state": "live" if entry["rate"] else "quiet",
        "node": visible(entry["node"]),
        "node_href": node_href(entry["cluster"], entry["node"]),
        "rate": per_second(entry["rate"]),
        "rate_title": rate_title(entry),
        "line": drawn(entry["history"]),
        "area": filled(entry["history"]),
        "forks": number(entry["processes"]),
        "since": f"+{number(entry['since'])}" if entry["since"] else "",
        "threads": number(entry["threads"]),
        "top": visible(top["comm"]) if top else "",
        "top_forks": number(top["forks"]) if top else "",
        "missing": missing_badges(entry),
        "complete": complete_words(entry),
        "share": share_said(entry),
        "share_title": f"forks of {visible(entry['node'])} that nobody counted by pod, while this one may have lived",
    }


def _host_row(host: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **_numbers(host),
        "key": f"h{host['cluster']}/{host['node']}",
        "href": node_href(host["cluster"], host["node"]),
        "namespace": "outside pods",
        "namespace_href": "",
        "name": visible(host["node"]),
        "workload": "",
        "workload_href": "",
        **storm_mark(host),
    }


def _sorted(pods: Sequence[Mapping[str, Any]], wish: PodListQuery) -> list[Mapping[str, Any]]:
    """Equal ones by name, so that no two rows change places from one moment to the next."""

    def name(pod: Mapping[str, Any]) -> tuple[str, str, str]:
        return pod["namespace"] or "", pod["pod"] or "", pod["pod_uid"] or ""

    by: dict[str, Callable[[Mapping[str, Any]], Any]] = {
        "name": name,
        "node": lambda pod: (pod["cluster"], pod["node"]),
        "rate": lambda pod: -1.0 if pod["rate"] is None else pod["rate"],
        "forks": lambda pod: -1 if pod["processes"] is None else pod["processes"],
        "threads": lambda pod: -1 if pod["threads"] is None else pod["threads"],
        "missing": lambda pod: sum(count or 0 for count in pod["missing"].values()),
    }
    return sorted(sorted(pods, key=name), key=by[wish.sort], reverse=wish.order == "desc")


def _column(sort: str, text: str, title: str, wish: PodListQuery) -> dict[str, str]:
    turned = ("ascending" if wish.order == "asc" else "descending") if sort == wish.sort else ""
    return {"name": sort or "top", "text": text, "title": title, "href": wish.turned(sort) if sort else "", "sorted": turned}


def _chips(wish: PodListQuery) -> list[dict[str, str]]:
    """What is filtered by, each with the address without it."""
    asked = wish.filter
    chips = []
    for name, value in asked._asdict().items():
        if value and name != "labels":
            without: dict[str, Any] = {name: ""}
            href = wish._replace(filter=asked._replace(**without)).href()
            chips.append({"name": name.replace("_", " "), "value": visible(value), "href": href})
    for label in asked.labels:
        rest = tuple(other for other in asked.labels if other != label)
        href = wish._replace(filter=asked._replace(labels=rest)).href()
        chips.append({"name": "label", "value": visible("=".join(label)), "href": href})
    return chips


def _field(
    name: str, wish: PodListQuery, pods: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A filter with what may be chosen, out of the pods that were looked at."""
    if name == "workload":
        said = (pod["workload"] for pod in pods)
        values = {f"{one['kind']}/{one['name']}" for one in said if one}
    else:
        values = {entry[name] for entry in [*pods, *(nodes if name in ("cluster", "node") else [])] if entry[name]}
    return {"name": name, "value": getattr(wish.filter, name), "offered": sorted(values)[:OFFERED]}


def _strip(nodes: Sequence[Mapping[str, Any]], now: int) -> dict[str, Any]:
    """All nodes in one line, and each with which something is wrong."""
    told = [(node, *verdict_of(node, now)) for node in nodes]
    bad = [(node, verdict) for node, state, verdict in told if state == "bad"]
    given, received = (sum(node["account"][part] for node in nodes) for part in ("given", "received"))
    return {
        "nodes": f"{number(len(nodes))} node{'' if len(nodes) == 1 else 's'}",
        "state": "bad" if bad else "warn" if any(state == "warn" for _, state, _ in told) else "ok",
        "came": f"received {number(received)} of {number(given)}" if given else "",
        "bad": [
            {
                "key": f"{node['cluster']}/{node['node']}",
                "href": node_href(node["cluster"], node["node"]),
                "name": visible(node["node"]),
                "verdict": verdict,
            }
            for node, verdict in bad[:5]
        ],
        "more": f"and {number(len(bad) - 5)} more" if len(bad) > 5 else "",
    }


def _count(shown: int, looked_at: int, in_all: int, *, plain: bool) -> str:
    pods = "1 pod" if in_all == 1 else f"{number(in_all)} pods"
    said = pods if plain else f"{pods} found"
    if shown == in_all:
        return said
    of_those = f", of the {number(looked_at)} seen last" if looked_at < in_all else ""
    return f"{said}, {number(shown)} shown{of_those}"
