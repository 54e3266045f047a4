"""A second count of new tasks, independent of the BPF programs: ftrace's `task:task_newtask`, in a buffer of its own.

A task that /proc/stat counts and neither of the two counts has called no tracepoint. perf's counters of a tracepoint would be
simpler, but on a 6.18 they stopped when another process closed its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from agent.kernel.programs import forks_since_boot

__all__ = ["Witness"]

# What is in the buffer, what was overwritten, and what was dropped: together all events ever.
_COUNTS: Final = re.compile(r"^(?:entries|overrun|dropped events): (\d+)$", re.MULTILINE)


class Witness:
    """Counts while its context is open. tracefs is mounted for that time, in a folder of its own."""

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="forklore-tracefs-"))
        subprocess.run(["mount", "-t", "tracefs", "tracefs", str(self._folder)], check=True)
        self._mine = self._folder / "instances" / f"forklore-{os.getpid()}-{time.monotonic_ns()}"
        self._mine.mkdir()
        (self._mine / "buffer_size_kb").write_text("64")
        (self._mine / "events/task/task_newtask/enable").write_text("1")
        self._begun_before = forks_since_boot()
        self._before = self._read()
        self._begun = forks_since_boot()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        (self._mine / "events/task/task_newtask/enable").write_text("0")
        self._mine.rmdir()
        subprocess.run(["umount", str(self._folder)], check=True)
        self._folder.rmdir()

    def unseen(self) -> int:
        """The tasks of /proc/stat that have called no tracepoint so far; a lower bound."""
        made = forks_since_boot() - self._begun
        return max(0, made - (self._read() - self._before))

    def unseen_at_most(self) -> int:
        """The same; an upper bound."""
        seen = self._read() - self._before
        return max(0, forks_since_boot() - self._begun_before - seen)

    def _read(self) -> int:
        return sum(
            int(count) for stats in self._mine.glob("per_cpu/cpu*/stats") for count in _COUNTS.findall(stats.read_text())
        )
