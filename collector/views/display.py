"""What the page shows, in words: the page's template and its script only put these strings into their places.

One model serves both, so the first page and every update of it say the same. Lists carry a `key` by which the script knows
an item again. Pure. Must not live here: HTML, and the numbers themselves (`pods`, `ledger`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from collector.rows import Snapshot
from collector.views.ledger import ledger_json, node_entries
from collector.views.nodecards import node_card
from collector.views.pods import host_entries, pod_entries
from collector.views.reasons import reason_badge
from collector.views.times import clock
from collector.views.words import number, per_second, visible

__all__ = ["SORTS", "Wish", "missing_badges", "page_model", "pod_name", "share_said", "spark"]

ROWS: Final = 200  # pods on the page; the filter finds the others
SORTS: Final = ("forks", "rate", "threads", "name")
WIDTH, HEIGHT = 88, 22  # of a rate's line, in its own units


class Wish(NamedTuple):
    """What the address asks for. `pod`: a row's key, such as p17 or h:demo/node1."""

    pod: str = ""
    sort: str = "forks"
    find: str = ""

    def href(self, **changes: str) -> str:
        """The address with some of it changed; what is as usual is left out."""
        wish = self._replace(**changes)
        return "?" + urlencode(
            {key: value for key, value in wish._asdict().items() if value and (key, value) != ("sort", "forks")}
        )


def page_model(snapshot: Snapshot, wish: Wish, detail: Mapping[str, Any] | None, now: int) -> dict[str, Any]:
    """`detail` as made by `details.pod_detail`, for the chosen pod."""
    pods, hosts = pod_entries(snapshot, now), host_entries(snapshot, now)
    nodes = node_entries(snapshot.ledger, now)
    streams = {(node["cluster"], node["node"]): node["streams"] for node in ledger_json(snapshot.ledger, now)["nodes"]}
    cards = [node_card(node, streams[node["cluster"], node["node"]], now) for node in nodes]
    sought = [pod for pod in pods if _found(pod, wish.find)]
    sought.sort(key=_order(wish.sort))
    shown = sought[:ROWS]
    rows = [_row(pod, f"p{pod['key']}", wish, now) for pod in shown]
    outside = [
        _row({**host, "pod": None}, f"h:{host['cluster']}/{host['node']}", wish, now)
        for host in hosts
        if _found(host, wish.find)
    ]
    return {
        "nodes": cards,
        "rows": rows,
        "outside": outside,
        "empty": not pods and not hosts and not nodes,
        "none": _none(pods, nodes, wish) if not rows else "",
        "count": _count(len(shown), snapshot.pods_in_all, wish),
        "forks": number(sum(one["processes"] for one in pods)),
        "sorts": {name: {"href": wish.href(sort=name), "current": "true" if wish.sort == name else ""} for name in SORTS},
        "close": wish.href(pod=""),
        "detail": detail,
        "bad": [
            *(f"{card['key']}: {card['verdict']}" for card in cards if card["state"] == "bad"),
            *(f"{row['namespace']}/{row['name']}: {row['mark']}" for row in rows if row["mark_state"] == "now"),
        ],
    }


def spark(history: Sequence[float | None], width: int = WIDTH, height: int = HEIGHT) -> str:
    """The `points` of a polyline: rates from 0 at the bottom to the highest at the top; where nothing is known, none."""
    known = [rate for rate in history if rate is not None]
    if len(known) < 2:
        return ""
    top, step = max(*known, 1e-9), width / max(1, len(history) - 1)
    return " ".join(
        f"{place * step:.1f},{height - 1.5 - rate / top * (height - 3):.1f}"
        for place, rate in enumerate(history)
        if rate is not None
    )


def missing_badges(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """One badge for each reason; never silent."""
    return [reason_badge(reason, count) for reason, count in entry["missing"].items()]


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


def _row(entry: Mapping[str, Any], key: str, wish: Wish, now: int) -> dict[str, Any]:
    top = entry["top"][0] if entry["top"] else None
    workload = entry.get("workload")
    host = key.startswith("h:")
    return {
        "key": key,
        "href": wish.href(pod="" if wish.pod == key else key),
        "current": "true" if wish.pod == key else "",
        "state": "live" if entry["rate"] else "quiet",
        "namespace": "outside pods" if host else visible(entry["namespace"]),
        "name": visible(entry["node"]) if host else pod_name(entry),
        "workload": visible(f"{workload['kind']} {workload['name']}") if workload else "",
        "node": visible(entry["node"]),
        "rate": per_second(entry["rate"]),
        "rate_title": "forks a second in the last interval" if entry["rate"] is not None else "no summary for three intervals",
        "line": spark(entry["history"]),
        "forks": number(entry["processes"]),
        "threads": number(entry["threads"]),
        "entered": number(entry["entered"]),
        "top": visible(top["comm"]) if top else "",
        "top_forks": number(top["forks"]) if top else "",
        "missing": missing_badges(entry),
        "complete": _complete(entry),
        "share": share_said(entry),
        "share_title": f"forks of {visible(entry['node'])} that nobody counted by pod, while this one may have lived",
        **_mark(entry),
    }


def _mark(entry: Mapping[str, Any]) -> dict[str, str]:
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


def _complete(entry: Mapping[str, Any]) -> str:
    """Said where no badge is: a pod is complete when all that the kernel handed out is here."""
    if entry["missing"]:
        return ""
    if not entry["summed"]:
        return "not summed up yet"
    if entry["awaited"]:
        return f"{number(entry['awaited'])} not here yet"
    return "" if share_said(entry) else "complete"


def _found(entry: Mapping[str, Any], sought: str) -> bool:
    words = sought.lower().split()
    if not words:
        return True
    workload = entry.get("workload") or {}
    names = [entry["node"], entry.get("namespace"), entry.get("pod"), entry.get("pod_uid"), *workload.values()]
    names += [one["comm"] for one in entry["top"]]
    text = "\n".join(name for name in names if name).lower()
    return all(word in text for word in words)


def _order(sort: str) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    def name(pod: Mapping[str, Any]) -> tuple[str, str, str]:
        return pod["namespace"] or "", pod["pod"] or "", pod["pod_uid"] or ""

    by: dict[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]] = {
        "rate": lambda pod: (-(pod["rate"] or 0.0), name(pod)),
        "threads": lambda pod: (-pod["threads"], name(pod)),
        "name": name,
    }
    return by.get(sort, lambda pod: (-pod["processes"], name(pod)))


def _count(shown: int, in_all: int, wish: Wish) -> str:
    pods = "1 pod" if in_all == 1 else f"{number(in_all)} pods"
    if wish.find:
        return f"{number(shown)} of {pods}"
    return pods if shown == in_all else f"{pods}, {number(shown)} shown"


def _none(pods: Sequence[Any], nodes: Sequence[Any], wish: Wish) -> str:
    if wish.find and pods:
        return f"No pod, workload, node or process is called “{visible(wish.find)}”."
    return "No pod has forked yet." if nodes else ""
