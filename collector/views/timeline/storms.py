"""The storms of a pod: when its forks were only counted, how many those were, and whether the storm goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from collector.model import NodeRow, StormRow, TaskCounts
from collector.views.nodes.ledger import is_silent
from collector.views.times import stamp
from wire.api import StormEntry, StormState
from wire.events import Counts

__all__ = ["NOW", "counts_json", "storm_now", "storms_json"]

NOW: Final = "now"
_OVER: Final = "over"
_END_NOT_REPORTED: Final = "end not told"  # its agent is silent, or another agent came before it reported the end

Nodes = Mapping[tuple[str, str], NodeRow]  # by cluster and node: the newest heartbeat


def storms_json(storms: Sequence[StormRow], nodes: Nodes, now: int) -> list[StormEntry]:
    """Storms of one pod, newest first; only the first of them can be going on. `now` in ns."""
    return [_storm(storm, _state(storm, nodes, now, newest=place == 0)) for place, storm in enumerate(storms)]


def storm_now(newest: StormRow | None, nodes: Nodes, now: int) -> StormEntry | None:
    """The storm of a pod that goes on."""
    if newest is None or (state := _state(newest, nodes, now, newest=True)) != NOW:
        return None
    return _storm(newest, state)


def counts_json(counts: TaskCounts) -> Counts:
    return {
        "processes": counts.processes,
        "threads": counts.threads,
        "emitted": counts.emitted,
        "filtered": counts.filtered,
        "suppressed": counts.suppressed,
        "lost": counts.lost,
        "entered": counts.entered,
    }


def _state(storm: StormRow, nodes: Nodes, now: int, *, newest: bool) -> StormState:
    if storm.is_over:
        return _OVER
    node = nodes.get((storm.cluster, storm.node))
    if not newest:
        return _END_NOT_REPORTED
    if node is None:
        return NOW
    if node.stream != storm.stream:  # a new agent may report a storm before its first heartbeat
        return NOW if storm.start > node.end else _END_NOT_REPORTED
    return _END_NOT_REPORTED if is_silent(node, now) else NOW


def _storm(storm: StormRow, state: StormState) -> StormEntry:
    return {
        "storm": storm.number,
        "state": state,
        "reason": storm.reason,
        "interval": {"start": stamp(storm.start), "end": stamp(storm.end) if storm.is_over else None},
        "as_of": stamp(storm.end),
        "limit": storm.limit,
        "hold_s": storm.hold,
        "counts": counts_json(storm.counts),
        "totals": counts_json(storm.totals),
    }
