"""A fork as a row of a table: on a pod's page and among the results of a search."""

from __future__ import annotations

from typing import Any

from collector.views.formatting import UNKNOWN, number, plain_number, visible
from collector.views.links import fork_pod_href, search_href
from collector.views.times import time_of_day
from wire.events import Fork

__all__ = ["fork_row"]


def fork_row(fork: Fork) -> dict[str, Any]:
    container, k8s, enrichment = fork["container"], fork["k8s"], fork["enrichment"]
    chain = " → ".join(UNKNOWN if pid is None else str(pid) for pid in fork["child_ns_pids"])
    is_thread = fork["kind"] == "thread"
    entity, parent = fork["process_entity_id"], fork["parent_entity_id"]
    has_name = k8s["namespace"] and k8s["pod"]
    state, lag = enrichment["state"], enrichment["lag_ms"]
    return {
        "key": fork["id"],
        "day": fork["timestamp"][:10],
        "time": time_of_day(fork["timestamp"]),
        "stamp": fork["timestamp"],
        "kind": "thread" if is_thread else "process",
        "comm": visible(fork["comm"]),
        "parent_comm": visible(fork["parent_comm"]),
        "pid": plain_number(fork["child_tid"] if is_thread else fork["child_pid"]),
        "ns_pid": plain_number(fork["child_ns_tid"] if is_thread else fork["child_ns_pid"]),
        "chain": f"in each pid namespace, the host first: {chain}" if chain else "",
        "parent_pid": plain_number(fork["parent_pid"]),
        "parent_ns_pid": plain_number(fork["parent_ns_pid"]),
        "uid": plain_number(fork["uid"]),
        "entity": visible(entity) if entity else "",
        "entity_href": search_href(entity=entity, from_="-7d") if entity else "",
        "parent_href": search_href(entity=parent, from_="-7d") if parent else "",
        "container": visible(container["name"] or container["id"][:12]) if container else "",
        "namespace": visible(k8s["namespace"]) if has_name else "",
        "pod": visible(k8s["pod"]) if has_name else "outside pods" if state == "host" else "not known",
        "pod_href": fork_pod_href(k8s),
        "node": visible(k8s["node"]),
        "state": state,
        "enrichment": f"{state}, {number(lag)} ms" if lag else state,
        "enrichment_title": f"identified by {enrichment['by']}" if enrichment["by"] else "",
    }
