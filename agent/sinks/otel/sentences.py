"""An event in words, for the many places that show a log record's body and nothing else.

Must not live here: facts that are in no attribute.
"""

from __future__ import annotations

from typing import Final

from agent.nouns import Event, Origin
from agent.sinks.printable import printable
from wire.events import FORK_STORM, GAP

__all__ = ["caller", "sentence"]

_MOST_COMM: Final = 64  # signs: 15 bytes, of which each may be an escape


def caller(origin: Origin) -> str:
    """Who forked: `sh (6039)`. A `?` stands for what is unknown."""
    pid = origin.parent.pid
    comm = "?" if origin.parent_comm is None else printable(origin.parent_comm, _MOST_COMM)
    return f"{comm} ({'?' if pid is None else pid})"


def sentence(event: Event, where: str) -> str:
    """Of an event of the agent's own."""
    if event["event"] == GAP:
        sink = f" (sink {event['sink']})" if event["sink"] else ""
        return f"{event['count']} {event['missing']} missing {where}: {event['reason']}{sink}"
    if event["event"] == FORK_STORM:
        if event["phase"] == "start":
            return f"fork storm {where}: more than {event['limit']} forks a second, from here on only counted"
        return f"fork storm {where} is over: {event['counts']['suppressed']} forks were only counted"
    counts = event["counts"]
    lost = f", {counts['lost']} of them lost" if counts["lost"] else ""
    return f"{counts['processes']} processes and {counts['threads']} threads forked {where}{lost}"
