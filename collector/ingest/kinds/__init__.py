"""The check of each kind of event: a parsed line in, a checked event out, or `Refused`.

A new kind is one module here and one line in `CHECKS`. A field that is not in the contract is left out rather than refused,
so that a newer agent can send more than this collector knows; an absent field that may be unknown is `null`, so that an
older agent can send less. This package must not do I/O; checks of single values are in `collector.ingest.fields`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from collector.http.quoting import quoted
from collector.ingest.fields import Refused
from collector.ingest.kinds.fork import check_fork
from collector.ingest.kinds.gap import check_gap
from collector.ingest.kinds.node_summary import check_node_summary
from collector.ingest.kinds.storm import check_storm
from collector.ingest.kinds.summary import check_summary
from collector.model import CheckedBatch
from wire.events import FORK, FORK_STORM, FORK_SUMMARY, GAP, NODE_SUMMARY

__all__ = ["CHECKS", "check"]


def check(line: object, into: CheckedBatch) -> None:
    """Adds one parsed line to the list of its kind. Raises `Refused`."""
    if type(line) is not dict:
        raise Refused(f"a line is one JSON object, not {quoted(line)}")
    kind = line.get("event")
    chosen = CHECKS.get(kind) if type(kind) is str else None
    if chosen is None:
        raise Refused(f"event: {quoted(kind)} is a kind that this collector does not know; it knows {', '.join(CHECKS)}")
    chosen(line, into)


CHECKS: Final[dict[str, Callable[[dict[str, Any], CheckedBatch], None]]] = {
    FORK: lambda line, into: into.forks.append(check_fork(line)),
    FORK_SUMMARY: lambda line, into: into.summaries.append(check_summary(line)),
    NODE_SUMMARY: lambda line, into: into.nodes.append(check_node_summary(line)),
    GAP: lambda line, into: into.gaps.append(check_gap(line)),
    FORK_STORM: lambda line, into: into.storms.append(check_storm(line)),
}
