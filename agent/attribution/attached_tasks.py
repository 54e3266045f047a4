"""Tasks that were moved into a container's cgroup after their fork: `kubectl exec`, exec probes, a runtime's own set-up.

The kernel reports a move a moment after the fork. So the pipeline holds each fork back for one turn.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

__all__ = ["AttachedTasks"]

_KEEP_NS: Final = 10 * 10**9  # the fork of a task that is moved later than this was emitted long ago
_MOST: Final = 10_000


class _Move(NamedTuple):
    time: int
    tid: int
    start: int


class AttachedTasks:
    """The cgroup that a task was moved to. A task is identified by its tid and its start, ns of the boot clock."""

    def __init__(self) -> None:
        self._cgroups: dict[tuple[int, int], int] = {}
        self._order: deque[_Move] = deque()

    def __len__(self) -> int:
        return len(self._cgroups)

    def add(self, tid: int, start: int, cgroup: int, time: int) -> None:
        """`time`: of the move, ns of the boot clock."""
        self._cgroups[tid, start] = cgroup
        self._order.append(_Move(time, tid, start))
        while self._order and (len(self._order) > _MOST or self._order[0].time < time - _KEEP_NS):
            oldest = self._order.popleft()
            self._cgroups.pop((oldest.tid, oldest.start), None)

    def cgroup_of(self, tid: int, start: int) -> int | None:
        """None: it was not moved."""
        return self._cgroups.get((tid, start))
