"""Counts of tasks, and the reasons for which forks are in none."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["HOST", "NOTHING", "UNNUMBERED", "TaskCounts"]

HOST: Final = -1  # in place of a cgroup's id in a counter source's key: everything of a node that is outside pods
# Reasons of losses whose forks never got a number and are in no counters: no capture, capture without an agent, the program was
# skipped, the kernel did not call it.
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
