"""An event in words, as ECS's and OCSF's `message` and OpenTelemetry's body have it: many places show nothing else.

Must not live here: facts that are in no attribute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.model import Event, ParentContext
from agent.sinks.printable import printable
from wire.events import FORK_STORM, GAP, NOT_OBSERVABLE

__all__ = ["caller", "sentence", "where"]

_MOST_COMM: Final = 64  # signs: 15 bytes, of which each may be an escape
_MOST_WORDS: Final = 400  # signs: a namespace, a pod and a container have at most 63 + 253 + 63


def caller(parent_context: ParentContext) -> str:
    """Who forked: `sh (6039)`. A `?` stands for what is unknown."""
    pid = parent_context.parent.pid
    comm = "?" if parent_context.parent_comm is None else printable(parent_context.parent_comm, _MOST_COMM)
    return f"{comm} ({'?' if pid is None else pid})"


def sentence(event: Event, where: str) -> str:
    """Of an event of the agent's own."""
    if event["event"] == GAP:
        if event["reason"] == NOT_OBSERVABLE:
            return f"what is forked {where} is not observable: it has a kernel of its own"
        sink = f" (sink {event['sink']})" if event["sink"] else ""
        return f"{event['count']} {event['missing']} missing {where}: {event['reason']}{sink}"
    if event["event"] == FORK_STORM:
        if event["phase"] == "start":
            return f"fork storm {where}: more than {event['limit']} forks a second, from here on only counted"
        return f"fork storm {where} is over: {event['counts']['suppressed']} forks were only counted"
    counts = event["counts"]
    lost = f", {counts['lost']} of them lost" if counts["lost"] else ""
    return f"{counts['processes']} processes and {counts['threads']} threads forked {where}{lost}"


def where(k8s: Mapping[str, Any], container: Mapping[str, Any] | None) -> str:
    """From the native event's objects."""
    if k8s["pod"] is not None:
        inside = f"/{container['name']}" if container and container["name"] else ""
        return printable(f"in {k8s['namespace']}/{k8s['pod']}{inside}", _MOST_WORDS)
    return printable(f"on {k8s['node']}" if k8s["pod_uid"] is None else f"in pod {k8s['pod_uid']}", _MOST_WORDS)
