"""The storms of a pod: what was only counted, from when to when, and whether it still is.

Pure. Must not live here: words for people (`details`), counts outside storms (`pods`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.model import NodeRow, StormRow
from collector.views.nodes.ledger import is_silent
from collector.views.times import stamp

__all__ = ["NOW", "storm_now", "storms_json"]

NOW: Final = "now"
_OVER: Final = "over"
_UNTOLD: Final = "end not told"  # its agent is silent or was followed by another before it could say so

Nodes = Mapping[tuple[str, str], NodeRow]  # by cluster and node: the newest word


def storms_json(storms: Sequence[StormRow], nodes: Nodes, now: int) -> list[dict[str, Any]]:
    """Storms of one pod, newest first; only the first of them can be going on. `now` in ns."""
    return [_storm(storm, _state(storm, nodes, now, newest=place == 0)) for place, storm in enumerate(storms)]


def storm_now(newest: StormRow | None, nodes: Nodes, now: int) -> dict[str, Any] | None:
    """The storm that a pod is in."""
    if newest is None or (state := _state(newest, nodes, now, newest=True)) != NOW:
        return None
    return _storm(newest, state)


def _state(storm: StormRow, nodes: Nodes, now: int, *, newest: bool) -> str:
    if storm.is_over:
        return _OVER
    node = nodes.get((storm.cluster, storm.node))
    if not newest:
        return _UNTOLD
    if node is None:
        return NOW
    if node.stream != storm.stream:
        return NOW if storm.start > node.end else _UNTOLD  # a new agent may tell of a storm before its first heartbeat
    return _UNTOLD if is_silent(node, now) else NOW


def _storm(storm: StormRow, state: str) -> dict[str, Any]:
    """`end` null: not told. `as_of`: the moment that the counts are of."""
    return {
        "storm": storm.number,
        "state": state,
        "interval": {"start": stamp(storm.start), "end": stamp(storm.end) if storm.is_over else None},
        "as_of": stamp(storm.end),
        "limit": storm.limit,
        "hold_s": storm.hold,
        "counts": storm.counts._asdict(),
        "totals": storm.totals._asdict(),
    }
