"""Pods with a kernel of their own, of which their agent said that it cannot see what they fork.

Their counts are unknown, and not 0. Pure. Must not live here: which pods those are; that is the agent's word, a gap whose
reason is not_observable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from collector.model import LossRow, TaskCounts
from wire.events import NOT_OBSERVABLE

__all__ = ["is_observable", "without_counts"]

_COUNTS: Final = (*TaskCounts._fields, "delivered", "awaited", "since", "rate")


def is_observable(losses: Iterable[LossRow]) -> bool:
    """`losses` of one pod."""
    return not any(loss.reason == NOT_OBSERVABLE for loss in losses)


def without_counts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A pod (or a host) as `pods` tells it. What the node counts of one that it can't see is the sandbox's own: nobody must
    take it for the pod's."""
    if entry.get("observable", True):
        return dict(entry)
    nothing = dict.fromkeys(_COUNTS)
    containers = [{**container, **nothing} for container in entry.get("containers", ())]
    return {**entry, **nothing, "top": [], "history": [], "history_interval": None, "containers": containers}
