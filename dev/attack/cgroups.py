"""Directories of cgroups that attacks make, and their end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.attribution.hierarchy import Hierarchy, choose_hierarchy

__all__ = ["container_script", "directories", "hierarchy", "made", "remove_below"]


def hierarchy() -> Hierarchy:
    """The one that an agent of this machine watches."""
    return choose_hierarchy(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())


def container_script() -> str:
    """Python for a privileged container: mounts that hierarchy; `mine` is then the directory of its own cgroup."""
    here = hierarchy()
    kind, options = (b"cgroup", here.controller.encode()) if here.controller else (b"cgroup2", b"")
    is_own = f'"{here.controller}" in line.split(":")[1].split(",")' if here.controller else 'line.startswith("0:")'
    return f"""
assert libc.mount(b"none", b"/tmp", {kind!r}, 0, {options!r}) == 0, os.strerror(ctypes.get_errno())
mine = "/tmp" + [line.split(":", 2)[2] for line in open("/proc/self/cgroup").read().splitlines() if {is_own}][0]
"""


@contextmanager
def made(path: str) -> Iterator[Path]:
    """A directory at this path in that hierarchy, with those above it; what was not there before is removed at the end."""
    folder = hierarchy().root / path.lstrip("/")
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        remove_below(folder)
        for one in missing:
            with suppress(OSError):
                one.rmdir()


def directories(folder: Path, count: int) -> None:
    """So many below this one."""
    for number in range(count):
        (folder / f"x{number}").mkdir()


def remove_below(folder: Path) -> None:
    """All directories below this one, however long their paths are. One that is in use stays; any may vanish meanwhile."""
    with suppress(FileNotFoundError):
        for _, names, _, descriptor in os.fwalk(folder, topdown=False):
            for name in names:
                with suppress(OSError):
                    os.rmdir(name, dir_fd=descriptor)
