"""Chooses the cgroup hierarchy that is watched, from the mounts of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Hierarchy", "NoHierarchy", "choose_hierarchy", "has_pods"]

_TRUE_ROOT_INODE: Final = 1  # kernfs numbers a hierarchy's root first
_CONTROLLERS: Final = ("pids", "memory", "cpu", "freezer")  # kubelet enables all of them; the first that is there will do


class NoHierarchy(Exception):
    """No cgroup hierarchy is mounted where one was expected. The text names the place."""


@dataclass(frozen=True)
class Hierarchy:
    """`number` as in /proc/self/cgroup; `controller` None for v2; `root` is where it is mounted."""

    number: int
    controller: str | None
    root: Path


def choose_hierarchy(mountinfo: str, own_cgroups: str) -> Hierarchy:
    """v2 when it is the only one or has the pods, else v1's `pids` or the next best.

    `mountinfo`, `own_cgroups`: the texts of /proc/self/mountinfo and /proc/self/cgroup. Raises NoHierarchy.
    """
    numbers = {}
    for line in own_cgroups.splitlines():
        number, controllers, _path = line.split(":", 2)
        for controller in controllers.split(","):
            numbers[controller] = int(number)
    unified: Path | None = None
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        dash = fields.index("-")
        kind, options = fields[dash + 1], fields[-1].split(",")
        where = Path(fields[4].replace("\\040", " "))
        # In a cgroup namespace the process's own part looks like a root, and the host's mount is above it, as /../..
        if _inode(where) != _TRUE_ROOT_INODE:
            continue
        if kind == "cgroup2":
            unified = unified or where
        elif kind == "cgroup":
            for controller in _CONTROLLERS:
                if controller in options:
                    found.setdefault(controller, where)
    usable = [name for name in _CONTROLLERS if name in found and name in numbers]
    legacy = Hierarchy(numbers[usable[0]], usable[0], found[usable[0]]) if usable else None
    if unified and (legacy is None or (has_pods(unified) and not has_pods(legacy.root))):
        return Hierarchy(0, None, unified)
    if legacy is None:
        raise NoHierarchy("no cgroup hierarchy is mounted whole: mount the host's /sys/fs/cgroup, read-only")
    return legacy


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def has_pods(root: Path) -> bool:
    """Whether kubelet's cgroups are in this hierarchy."""
    try:
        return any("kubepods" in entry.name for entry in os.scandir(root))
    except OSError:
        return False
