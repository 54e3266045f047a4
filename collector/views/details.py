"""One pod, or one host, as the page's panel shows it.

Pure. Must not live here: the table of all pods (`display`), JSON of the API (`pods`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from collector.views.bands import bands_of, gap_words, line_words, storm_words
from collector.views.display import missing_badges, pod_name, share_said, spark
from collector.views.nodecards import BAR
from collector.views.reasons import reason_badge
from collector.views.times import clock
from collector.views.words import UNKNOWN, number, per_second, visible

__all__ = ["host_detail", "pod_detail"]

LINE: Final = (320, 56)  # the rate's line in its own units


def pod_detail(pod: Mapping[str, Any], key: str) -> dict[str, Any]:
    """`pod` as made by `pods.pod_json`."""
    workload = pod["workload"]
    facts = [
        ("workload", f"{workload['kind']} {workload['name']}" if workload else None),
        ("node", pod["node"]),
        ("cluster", pod["cluster"]),
        ("qos class", pod["qos"]),
        ("service account", pod["service_account"]),
        ("uid", pod["pod_uid"]),
    ]
    return {
        **_shared(pod, key),
        "namespace": visible(pod["namespace"]),
        "name": pod_name(pod),
        "facts": [{"key": name, "name": name, "value": visible(value)} for name, value in facts if value],
        "labels": [{"key": name, "text": visible(f"{name}={value}")} for name, value in sorted((pod["labels"] or {}).items())],
        "containers": [_container(one, place) for place, one in enumerate(pod["containers"])],
        "others": [
            {
                "key": str(other["pod_uid"]),
                "text": f"{visible(other['pod_uid'])}, last seen {visible(other['last_seen'])[:19]}Z",
            }
            for other in pod["others"]
        ],
    }


def host_detail(host: Mapping[str, Any], key: str) -> dict[str, Any]:
    """`host` as made by `pods.host_json`."""
    return {
        **_shared(host, key),
        "namespace": "outside pods",
        "name": visible(host["node"]),
        "facts": [{"key": "cluster", "name": "cluster", "value": visible(host["cluster"])}],
        "labels": [],
        "containers": [],
        "others": [],
    }


def _shared(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    most = max((one["forks"] for one in entry["top"]), default=1)
    awaited, storm = entry["awaited"], entry["storm"]
    return {
        "key": key,
        "rate": per_second(entry["rate"]),
        "forks": number(entry["processes"]),
        "threads": number(entry["threads"]),
        "entered": number(entry["entered"]),
        "delivered": number(entry["delivered"]),
        "awaited": f"{number(awaited)} not here yet" if awaited else "",
        "line": spark(entry["history"], *LINE),
        "bands": bands_of(entry, *LINE),
        "line_says": line_words(entry),
        "storm": f"In a storm since {clock(storm['interval']['start'])[:8]} UTC: its forks are only counted, exactly."
        if storm
        else "",
        "storms": [storm_words(one) for one in entry["storms"]],
        "gaps": [gap_words(gap) for gap in entry["gaps"]],
        "node_gaps": [gap_words(gap, of=entry["node"]) for gap in entry["node_gaps"]],
        "missing": missing_badges(entry),
        "elsewhere": [
            {**reason_badge(reason, count), "key": f"{sink} {reason}", "text": f"{number(count)} missing at {visible(sink)}"}
            for sink, reasons in entry["missing_elsewhere"].items()
            for reason, count in reasons.items()
        ],
        "complete": _complete(entry),
        "share": share_said(entry),
        "parents": [
            {
                "key": f"={one['comm']}" if one["comm"] is not None else "unknown",
                "comm": visible(one["comm"]),
                "forks": number(one["forks"]),
                "width": f"{max(4.0, one['forks'] / most * BAR):.0f}",
            }
            for one in entry["top"]
        ],
        "latest": [_fork(fork) for fork in entry["latest"]],
    }


def _complete(entry: Mapping[str, Any]) -> str:
    if entry["missing"] or entry["awaited"]:
        return ""  # told by badges, and by `awaited`
    if share_said(entry):
        return ""
    return "Nothing is missing." if entry["summed"] else "Not summed up yet."


def _container(one: Mapping[str, Any], place: int) -> dict[str, Any]:
    return {
        "key": str(one["id"] or place),
        "name": visible(one["name"]) if one["name"] else visible((one["id"] or "no container")[:12]),
        "kind": visible(one["kind"]) if one["kind"] else "",
        "image": visible(one["image"]) if one["image"] else "",
        "title": visible(one["id"]) if one["id"] else "",
        "rate": per_second(one["rate"]),
        "forks": number(one["processes"]),
        "threads": number(one["threads"]),
        "entered": number(one["entered"]),
        "lost": number(one["lost"]) if one["lost"] else "",
    }


def _fork(fork: Mapping[str, Any]) -> dict[str, Any]:
    container = fork["container"] or {}
    chain = " → ".join(UNKNOWN if pid is None else str(pid) for pid in fork["child_ns_pids"])
    said = fork["enrichment"]
    state = said["state"] if not said["lag_ms"] else f"{said['state']} {number(said['lag_ms'])} ms"
    return {
        "key": fork["id"],
        "time": clock(fork["timestamp"]),
        "stamp": fork["timestamp"],
        "kind": fork["kind"],
        "comm": visible(fork["comm"]),
        "parent_comm": visible(fork["parent_comm"]),
        "pid": _plain(fork["child_tid"] if fork["kind"] == "thread" else fork["child_pid"]),
        "ns_pid": _plain(fork["child_ns_tid"] if fork["kind"] == "thread" else fork["child_ns_pid"]),
        "chain": f"in each pid namespace, the host first: {chain}" if chain else "",
        "parent_pid": _plain(fork["parent_pid"]),
        "parent_ns_pid": _plain(fork["parent_ns_pid"]),
        "uid": _plain(fork["uid"]),
        "container": visible(container.get("name") or (container.get("id") or "")[:12]),
        "state": said["state"],
        "enrichment": state,
        "enrichment_title": f"identified by {said['by']}" if said["by"] else "",
    }


def _plain(value: int | None) -> str:
    """A pid: no commas in it."""
    return UNKNOWN if value is None else str(value)
