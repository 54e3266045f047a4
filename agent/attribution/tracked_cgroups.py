"""Decides for each cgroup of a pod which cgroup's counters count its forks, and which pod's storm limit holds.

A pod's own cgroup is a root; its children are its containers; all cgroups below belong to the container. The BPF program
applies the same rule to each cgroup that is created below a tracked one (bpf/fork.c, on_cgroup_mkdir), so the agent has to
track only the roots, and what was created before its root was tracked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from agent.attribution.cgroups import Cgroup

__all__ = ["TrackedCgroup", "TrackedCgroups"]

Value = TypeVar("Value")


class TrackedCgroup(NamedTuple):
    """`counted`: the cgroup whose counters count; `pod`: the pod's own cgroup."""

    counted: int
    pod: int
    is_pod: bool


class TrackedCgroups:
    """By cgroup id."""

    def __init__(self) -> None:
        self._tracked_cgroups: dict[int, TrackedCgroup] = {}
        self._counted_in: dict[int, set[int]] = {}  # pod -> the cgroups whose counters count its forks

    def track(self, cgroup: Cgroup) -> TrackedCgroup | None:
        """To be called for each cgroup once, parents before their children. None: it is in no pod."""
        above = self._tracked_cgroups.get(cgroup.parent)
        if above:
            tracked = TrackedCgroup(cgroup.id, above.pod, False) if above.is_pod else above
        elif cgroup.identity.pod is not None:
            tracked = TrackedCgroup(cgroup.id, cgroup.id, cgroup.identity.container is None)
        else:
            return None
        self._tracked_cgroups[cgroup.id] = tracked
        # Until the kernel tracks it, its own counters count.
        self._counted_in.setdefault(tracked.pod, set()).update((tracked.counted, cgroup.id))
        return tracked

    def forget(self, cgroup: int) -> None:
        tracked = self._tracked_cgroups.pop(cgroup, None)
        if tracked:
            cgroups = self._counted_in.get(tracked.pod, set())
            cgroups.discard(cgroup)
            if not cgroups:
                self._counted_in.pop(tracked.pod, None)

    def pods(self) -> list[int]:
        """The cgroups of the pods that have counters."""
        return list(self._counted_in)

    def counters_of(self, pod: int, counters: Mapping[int, Value]) -> Iterable[Value]:
        """Those of `counters` (by cgroup) in which the pod's forks are counted."""
        return (counters[cgroup] for cgroup in self._counted_in.get(pod, ()) if cgroup in counters)
