"""An event as one sentence, for ECS's and OCSF's `message` and OpenTelemetry's body: many tools show nothing else.

A message has no facts that no field has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.model import Event, ParentContext
from agent.sinks.printable import printable
from wire.events import FORK_STORM, GAP, NOT_OBSERVABLE

__all__ = ["caller_name", "event_message", "location"]

_MAX_COMM: Final = 64  # characters: 15 bytes, each of which may become an escape
_MAX_TEXT: Final = 400  # characters: a namespace, a pod and a container have at most 63 + 253 + 63


def caller_name(parent_context: ParentContext) -> str:
    """The task that forked: `sh (6039)`. A `?` stands for what is unknown."""
    pid = parent_context.parent.pid
    comm = "?" if parent_context.parent_comm is None else printable(parent_context.parent_comm, _MAX_COMM)
    return f"{comm} ({'?' if pid is None else pid})"


def event_message(event: Event, where: str) -> str:
    """The sentence of an event of the agent itself. `where`: its `location`."""
    if event["event"] == GAP:
        if event["reason"] == NOT_OBSERVABLE:
            return f"what is forked {where} is not observable: it has a kernel of its own"
        sink = f" (sink {event['sink']})" if event["sink"] else ""
        return f"{event['count']} {event['missing']} missing {where}: {event['reason']}{sink}"
    if event["event"] == FORK_STORM:
        if event["phase"] == "start":
            if event["reason"] == "ring":
                return f"fork storm {where}: more than its share of a ring that is over half full, from here on only counted"
            what = "forks" if event["reason"] == "limit" else "new parents and cgroups"
            return f"fork storm {where}: more than {event['limit']} {what} a second, from here on only counted"
        return f"fork storm {where} is over: {event['counts']['suppressed']} forks were only counted"
    counts = event["counts"]
    lost = f", {counts['lost']} of them lost" if counts["lost"] else ""
    return f"{counts['processes']} processes and {counts['threads']} threads forked {where}{lost}"


def location(k8s: Mapping[str, Any], container: Mapping[str, Any] | None) -> str:
    """Where an event was, with a preposition: `in shop/cart-7d9/app`, `on node1`. Takes the native event's objects."""
    if k8s["pod"] is not None:
        inside = f"/{container['name']}" if container and container["name"] else ""
        return printable(f"in {k8s['namespace']}/{k8s['pod']}{inside}", _MAX_TEXT)
    return printable(f"on {k8s['node']}" if k8s["pod_uid"] is None else f"in pod {k8s['pod_uid']}", _MAX_TEXT)
