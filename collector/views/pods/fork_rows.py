"""A fork as a row of a table, on a pod's page and among what was found.

Pure. Must not live here: which forks are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collector.views.links import pod_href, search_href
from collector.views.times import clock
from collector.views.words import UNKNOWN, number, visible

__all__ = ["fork_row"]


def fork_row(fork: Mapping[str, Any]) -> dict[str, Any]:
    """`fork`: the event as it was sent."""
    container, k8s, said = fork["container"] or {}, fork["k8s"], fork["enrichment"]
    chain = " → ".join(UNKNOWN if pid is None else str(pid) for pid in fork["child_ns_pids"])
    is_thread = fork["kind"] == "thread"
    entity, parent = fork["process_entity_id"], fork["parent_entity_id"]
    named = k8s["namespace"] and k8s["pod"]
    return {
        "key": fork["id"],
        "day": fork["timestamp"][:10],
        "time": clock(fork["timestamp"]),
        "stamp": fork["timestamp"],
        "kind": "thread" if is_thread else "process",
        "comm": visible(fork["comm"]),
        "parent_comm": visible(fork["parent_comm"]),
        "pid": _plain(fork["child_tid"] if is_thread else fork["child_pid"]),
        "ns_pid": _plain(fork["child_ns_tid"] if is_thread else fork["child_ns_pid"]),
        "chain": f"in each pid namespace, the host first: {chain}" if chain else "",
        "parent_pid": _plain(fork["parent_pid"]),
        "parent_ns_pid": _plain(fork["parent_ns_pid"]),
        "uid": _plain(fork["uid"]),
        "entity": visible(entity) if entity else "",
        "entity_href": search_href(entity=entity, from_="-7d") if entity else "",
        "parent_href": search_href(entity=parent, from_="-7d") if parent else "",
        "container": visible(container.get("name") or (container.get("id") or "")[:12]) if container else "",
        "namespace": visible(k8s["namespace"]) if named else "",
        "pod": visible(k8s["pod"]) if named else "outside pods" if said["state"] == "host" else "not known",
        "pod_href": pod_href(k8s),
        "node": visible(k8s["node"]),
        "state": said["state"],
        "enrichment": said["state"] if not said["lag_ms"] else f"{said['state']}, {number(said['lag_ms'])} ms",
        "enrichment_title": f"identified by {said['by']}" if said["by"] else "",
    }


def _plain(value: int | None) -> str:
    """A pid: no commas in it."""
    return UNKNOWN if value is None else str(value)
