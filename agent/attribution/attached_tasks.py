"""Processes that came into a container after their fork: `kubectl exec`, exec probes, a runtime's own set-up.

The kernel tells of each move a moment after the fork; for that moment the fork's event waits in the pipeline. Must not live
here: what the cgroup is.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["AttachedTasks"]

_KEEP_NS: Final = 10 * 10**9  # the fork of a task that was moved later than this has long been told
_MOST: Final = 10_000


class AttachedTasks:
    """Where a task was moved to. A task is its number and its start, ns of the boot clock: no two have both."""

    def __init__(self) -> None:
        self._cgroups: dict[tuple[int, int], int] = {}
        self._order: deque[tuple[int, tuple[int, int]]] = deque()

    def __len__(self) -> int:
        return len(self._cgroups)

    def add(self, tid: int, start: int, cgroup: int, time: int) -> None:
        self._cgroups[tid, start] = cgroup
        self._order.append((time, (tid, start)))
        while self._order and (len(self._order) > _MOST or self._order[0][0] < time - _KEEP_NS):
            self._cgroups.pop(self._order.popleft()[1], None)

    def cgroup_of(self, tid: int, start: int) -> int | None:
        """None: it stayed where it was made."""
        return self._cgroups.get((tid, start))
