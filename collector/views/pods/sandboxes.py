"""Pods with a kernel of their own, of which their agent reported that it cannot see what they fork.

The agent reports such a pod by a gap whose reason is `not_observable`. Its counts are unknown, and not 0.
"""

from __future__ import annotations

from collections.abc import Iterable

from collector.model import LossRow
from wire.api import ContainerEntry, PodDetail, PodEntry
from wire.events import NOT_OBSERVABLE

__all__ = ["is_observable", "without_counts", "without_detail_counts"]


def is_observable(losses: Iterable[LossRow]) -> bool:
    """`losses` of one pod."""
    return not any(loss.reason == NOT_OBSERVABLE for loss in losses)


def without_counts(entry: PodEntry) -> PodEntry:
    """What the node counts of a pod that it cannot see is its sandbox's own, so it must not be shown as the pod's."""
    if entry["observable"]:
        return entry
    return {
        **entry,
        "processes": None,
        "threads": None,
        "emitted": None,
        "filtered": None,
        "suppressed": None,
        "lost": None,
        "entered": None,
        "delivered": None,
        "awaited": None,
        "since": None,
        "rate": None,
        "top": [],
        "history": [],
        "history_interval": None,
        "containers": [_container_without_counts(container) for container in entry["containers"]],
    }


def without_detail_counts(detail: PodDetail) -> PodDetail:
    return {**detail, **without_counts(detail)}


def _container_without_counts(container: ContainerEntry) -> ContainerEntry:
    return {
        **container,
        "processes": None,
        "threads": None,
        "emitted": None,
        "filtered": None,
        "suppressed": None,
        "lost": None,
        "entered": None,
        "delivered": None,
        "awaited": None,
        "since": None,
        "rate": None,
    }
