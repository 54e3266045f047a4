"""Decides which cgroups the BPF programs track: the kubelet's root, its QoS classes, pods and containers. Nothing deeper.

A pod's own cgroup is a root; its children are its containers. The programs track a child of a tracked cgroup by themselves
(bpf/cgroups.c, track_child), so the agent has to track only what was created before its parent was tracked. What is inside a
container is counted in the container.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from agent.attribution.cgroup_paths import pod_place, qos_classes
from agent.attribution.cgroups import Cgroup
from agent.model import CONTAINER, KUBELET_ROOT, POD, QOS_CLASS

__all__ = ["TrackedCgroup", "TrackedCgroups"]

Value = TypeVar("Value")


class TrackedCgroup(NamedTuple):
    """`pod`: the pod's own cgroup; `kind`: as in agent.model."""

    pod: int
    kind: int


class TrackedCgroups:
    """By cgroup id."""

    def __init__(self) -> None:
        self._tracked_cgroups: dict[int, TrackedCgroup] = {}
        self._counted_in: dict[int, set[int]] = {}  # pod -> the cgroups whose counters count its forks
        self._pod_of: dict[int, int] = {}  # of each cgroup in _counted_in

    def track(self, cgroup: Cgroup, root: str | None) -> TrackedCgroup | None:
        """To be called for each cgroup once, parents before their children. `root`: the kubelet's. None: the kernel need not
        track it."""
        place = pod_place(cgroup.path)
        if place is None or place.root != root:
            kind = KUBELET_ROOT if cgroup.path == root else QOS_CLASS if root and cgroup.path in qos_classes(root) else None
            return self._put(cgroup, TrackedCgroup(cgroup.id, kind)) if kind else None
        above = self._tracked_cgroups.get(cgroup.parent)
        pod = above.pod if above and above.kind in (POD, CONTAINER) else self._pod_of.get(cgroup.parent, cgroup.id)
        # Until the kernel tracks it, its own counters count.
        self._counted_in.setdefault(pod, set()).add(cgroup.id)
        self._pod_of[cgroup.id] = pod
        if place.owner is not None:
            return None
        return self._put(cgroup, TrackedCgroup(pod, POD if place.depth == 0 else CONTAINER))

    def _put(self, cgroup: Cgroup, tracked: TrackedCgroup) -> TrackedCgroup:
        self._tracked_cgroups[cgroup.id] = tracked
        return tracked

    def clear(self) -> list[int]:
        """Forgets all; returns the ids of those that the kernel tracks."""
        tracked = list(self._tracked_cgroups)
        self._tracked_cgroups.clear()
        self._counted_in.clear()
        self._pod_of.clear()
        return tracked

    def forget(self, cgroup: int) -> None:
        self._tracked_cgroups.pop(cgroup, None)
        pod = self._pod_of.pop(cgroup, None)
        if pod is not None:
            cgroups = self._counted_in.get(pod, set())
            cgroups.discard(cgroup)
            if not cgroups:
                self._counted_in.pop(pod, None)

    def pods(self) -> list[int]:
        """The cgroups of the pods that have counters."""
        return list(self._counted_in)

    def counters_of(self, pod: int, counters: Mapping[int, Value]) -> Iterable[Value]:
        """Those of `counters` (by cgroup) in which the pod's forks are counted."""
        return (counters[cgroup] for cgroup in self._counted_in.get(pod, ()) if cgroup in counters)
