"""What the kernel is told of cgroups: in whose row each one's forks are counted, and whose limit holds.

A pod's own directory is a root; its children are its containers; all that is made deeper belongs to the container. The
probe applies the same rule at each birth below a marked directory (bpf/fork.c, on_cgroup_mkdir), so this only has to find
the roots, and to catch up with what was born before its root was marked. Must not live here: writing to the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from agent.attribution.cgroups import Cgroup

__all__ = ["TrackedCgroup", "TrackedCgroups"]

Value = TypeVar("Value")


class TrackedCgroup(NamedTuple):
    """`counted`: the cgroup whose row counts; `pod`: the pod's directory, by its cgroup id."""

    counted: int
    pod: int
    is_pod: bool


class TrackedCgroups:
    """The marks of this node's cgroups, by id."""

    def __init__(self) -> None:
        self._tracked_cgroups: dict[int, TrackedCgroup] = {}
        self._counted_in: dict[int, set[int]] = {}

    def track(self, cgroup: Cgroup) -> TrackedCgroup | None:
        """Decides, when the cgroup is first heard of; parents come before their children. None: no pod's."""
        above = self._tracked_cgroups.get(cgroup.parent)
        if above:
            mark = TrackedCgroup(cgroup.id, above.pod, False) if above.is_pod else above
        elif cgroup.identity.pod is not None:
            mark = TrackedCgroup(cgroup.id, cgroup.id, cgroup.identity.container is None)
        else:
            return None
        self._tracked_cgroups[cgroup.id] = mark
        # Counted in its own row for as long as the kernel had not been told.
        self._counted_in.setdefault(mark.pod, set()).update((mark.counted, cgroup.id))
        return mark

    def forget(self, cgroup: int) -> None:
        mark = self._tracked_cgroups.pop(cgroup, None)
        if mark:
            rows = self._counted_in.get(mark.pod, set())
            rows.discard(cgroup)
            if not rows:
                self._counted_in.pop(mark.pod, None)

    def pods(self) -> list[int]:
        """The pods that have rows."""
        return list(self._counted_in)

    def counters_of(self, pod: int, rows: Mapping[int, Value]) -> Iterable[Value]:
        """The rows, of all these, in which the pod's forks are counted."""
        return (rows[cgroup] for cgroup in self._counted_in.get(pod, ()) if cgroup in rows)
