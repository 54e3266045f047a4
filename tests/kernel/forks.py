"""Forks that this process makes itself, one by one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["fork_one", "forking_beside", "make_forks"]


def fork_one() -> int:
    """Forks once, and returns the child's pid when it has ended.

    posix_spawn shares this process's memory until the child's exec (CLONE_VM, CLONE_VFORK): 1 ms. fork() copies the page tables
    of all that the tests have imported: 40 ms when all of them were collected.
    """
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    return pid


def make_forks(times: int) -> list[int]:
    """Forks so often, one after another. Returns the children's pids."""
    return [fork_one() for _ in range(times)]


@contextmanager
def forking_beside() -> Iterator[None]:
    """Another process forks all the time, until the block ends, also by an error."""
    with subprocess.Popen(["sh", "-c", "while :; do true | true; done"]) as forker:
        try:
            yield
        finally:
            forker.kill()
