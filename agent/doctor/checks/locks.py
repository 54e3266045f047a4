"""Which process holds a lock (flock) that an agent holds as long as it runs.

The lock is requested and released within microseconds. An agent that starts in just this moment is refused; its supervisor
starts it again.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LockOwner", "lock_owner"]


@dataclass(frozen=True)
class LockOwner:
    """`pid`: in this pid namespace; None: the process is in another one."""

    pid: int | None

    def __str__(self) -> str:
        return "a process in another pid namespace" if self.pid is None else f"process {self.pid}"


def lock_owner(path: Path) -> LockOwner | None:
    """None when the lock is free or the file does not exist. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return LockOwner(_pid(status))
        return None
    finally:
        os.close(descriptor)


def _pid(status: os.stat_result) -> int | None:
    """From /proc/locks: `1: FLOCK ADVISORY WRITE 812 00:1b:33 0 EOF`. It lists only processes of this pid namespace."""
    name = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and name in fields:
                return int(fields[4])
    return None
