"""Counts of tasks, and what is in none. Must not live here: whose they are."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["HOST", "NOTHING", "UNNUMBERED", "TaskCounts"]

HOST: Final = -1  # stands in a holder's key for a cgroup's id: everything of a node that is outside pods
# Why a gap's forks never had a number and are in no tally: capture was away, it only counted, the probe was skipped, the kernel
# did not call it.
UNNUMBERED: Final = ("restart", "orphaned", "recursion", "unseen")


class TaskCounts(NamedTuple):
    """Tasks, as in `wire.events.Counts`, in that order."""

    processes: int
    threads: int
    emitted: int
    filtered: int
    suppressed: int
    lost: int
    entered: int

    def plus(self, other: TaskCounts) -> TaskCounts:
        return TaskCounts(*(a + b for a, b in zip(self, other, strict=True)))


NOTHING: Final = TaskCounts(0, 0, 0, 0, 0, 0, 0)
