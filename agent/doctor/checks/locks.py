"""Whether somebody holds a lock that agents hold for life (flock), and who.

Asked for and let go of within microseconds; an agent that starts in just these would be refused, and is started anew by
whoever starts it. Must not live here: what is locked.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Holder", "holder"]


@dataclass(frozen=True)
class Holder:
    """`pid`: as seen from here; None: in another pid namespace."""

    pid: int | None

    def __str__(self) -> str:
        return "process elsewhere" if self.pid is None else f"process {self.pid}"


def holder(place: Path) -> Holder | None:
    """None: nobody, or nothing is there. Raises OSError."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Holder(_pid(status))
        return None
    finally:
        os.close(descriptor)


def _pid(status: os.stat_result) -> int | None:
    """From /proc/locks, which leaves out what this pid namespace does not see: `1: FLOCK ADVISORY WRITE 812 00:1b:33 0 EOF`."""
    name = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and name in fields:
                return int(fields[4])
    return None
