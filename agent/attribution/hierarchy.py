"""Chooses the cgroup hierarchy that is watched, from the mounts of this machine, and walks its directories.

A walk goes by descriptors, so that no path is too long, and down to containers. Of what is inside one container, and inside one
cgroup of level 2 outside pods, it reads so much as the caller keeps: a container may make 100,000 cgroups.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Directory", "Hierarchy", "NoHierarchy", "Walk", "choose_hierarchy", "has_pods", "writable_mounts"]

_TRUE_ROOT_INODE: Final = 1  # kernfs numbers a hierarchy's root first
_CONTROLLERS: Final = ("pids", "memory", "cpu", "freezer")  # kubelet enables all of them; the first that is there will do
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST: Final = 64  # a descriptor is open for each level


class NoHierarchy(Exception):
    """No cgroup hierarchy is mounted where one was expected. The text names the place."""


@dataclass(frozen=True)
class Hierarchy:
    """`number` as in /proc/self/cgroup; `controller` None for v2; `root` is where it is mounted. `part`: the id of the cgroup
    that is mounted there, when the node is a container with a cgroup namespace of its own; 0: the whole hierarchy is."""

    number: int
    controller: str | None
    root: Path
    part: int = 0


def choose_hierarchy(mountinfo: str, own_cgroups: str) -> Hierarchy:
    """v2 when it is the only one or has the pods, else v1's `pids` or the next best. When none is mounted whole, the part of v2
    that the cgroup namespace of the node has (kind, k3d, minikube), if the pods are in it.

    `mountinfo`, `own_cgroups`: the texts of /proc/self/mountinfo and /proc/self/cgroup. Raises NoHierarchy.
    """
    numbers = {}
    for line in own_cgroups.splitlines():
        number, controllers, _path = line.split(":", 2)
        for controller in controllers.split(","):
            numbers[controller] = int(number)
    unified: Path | None = None
    parts: dict[int, Path] = {}  # by how many levels they are above this process's namespace
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        dash = fields.index("-")
        kind, options = fields[dash + 1], fields[-1].split(",")
        where = Path(fields[4].replace("\\040", " "))
        # In a cgroup namespace the process's own part looks like a root, and the host's mount is above it, as /../..
        if _inode(where) != _TRUE_ROOT_INODE:
            if kind == "cgroup2" and set(fields[3].split("/")) <= {"", ".."}:
                parts.setdefault(fields[3].count(".."), where)
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
    if legacy is None and parts and _has_kubelet(highest := parts[max(parts)]):
        return Hierarchy(0, None, highest, _inode(highest) or 0)
    if legacy is None:
        raise NoHierarchy("no cgroup hierarchy is mounted whole: mount the host's /sys/fs/cgroup, read-only")
    return legacy


def writable_mounts(mountinfo: str) -> list[Path]:
    """Where cgroups can be written although a mount above is read-only: a runtime that can't mount recursively read-only leaves
    cgroup v1's controllers so. `mountinfo`: as above."""
    read_only: list[Path] = []
    found = []
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        where, options, kind = Path(fields[4].replace("\\040", " ")), fields[5].split(","), fields[fields.index("-") + 1]
        if "ro" in options:
            read_only.append(where)
        elif kind in ("cgroup", "cgroup2") and any(above in where.parents for above in read_only):
            found.append(where)
    return found


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _has_kubelet(root: Path) -> bool:
    """Whether the kubelet's cgroups are there, or one level below (kind: /kubelet.slice or /kubelet). A part without
    them is the agent's own, not the node's."""
    try:
        return has_pods(root) or any(has_pods(Path(entry.path)) for entry in os.scandir(root) if entry.is_dir())
    except OSError:
        return False


def has_pods(root: Path) -> bool:
    """Whether kubelet's cgroups are in this hierarchy."""
    try:
        return any("kubepods" in entry.name for entry in os.scandir(root))
    except OSError:
        return False


class Directory(NamedTuple):
    """`id`: its inode number, which is the cgroup's id. `path`: from the hierarchy's root."""

    id: int
    path: bytes
    parent: int


class Walk:
    """`owner_of`: a path (decoded) -> that of the container or cgroup that it is inside of; None: it is inside none.
    `most`: how many directories are visited inside one owner.

    `unread`: how many directories are known not to have been visited.
    """

    def __init__(self, root: Path, owner_of: Callable[[str], str | None], most: int) -> None:
        self._root = root
        self._owner_of = owner_of
        self._most = most
        self._inside: Counter[str] = Counter()
        self._visited: set[str] = set()
        self._complete: set[str] = set()
        self.unread = 0

    def directories(self) -> Iterator[Directory]:
        """Parents first. A directory may vanish on the way. Raises NoHierarchy: the root can't be read."""
        try:
            top = os.open(self._root, _OPEN)
        except OSError as error:
            raise NoHierarchy(f"cannot read {self._root}: {error.strerror}") from error
        number = os.fstat(top).st_ino
        yield Directory(number, b"/", 0)
        yield from self._below(top, number, b"", 1)

    def is_removed(self, path: str) -> bool:
        """Whether a directory that the walk did not visit is not there: what was above it was read to the end without it."""
        while path not in self._visited:
            if path == "/":
                return False
            path = path.rpartition("/")[0] or "/"
        return path in self._complete

    def _below(self, directory: int, number: int, path: bytes, depth: int) -> Iterator[Directory]:
        """Closes the descriptor `directory`."""
        here = path.decode(errors="replace") or "/"
        self._visited.add(here)
        try:
            children, whole = self._children(directory, path)
            for name, child in children:
                below = path + b"/" + name
                yield Directory(child, below, number)
                try:
                    opened = os.open(name, _OPEN, dir_fd=directory) if depth < _DEEPEST else -1
                except OSError:  # it vanished, or it can't be read: what is below it is not known
                    opened = -1
                if opened >= 0:
                    yield from self._below(opened, child, below, depth + 1)
                else:
                    self._visited.add(below.decode(errors="replace"))
            if whole:
                self._complete.add(here)
        finally:
            os.close(directory)

    def _children(self, directory: int, path: bytes) -> tuple[list[tuple[bytes, int]], bool]:
        """Name and inode number of each directory in it that is to be kept, and whether these are all."""
        found: list[tuple[bytes, int]] = []
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        continue
                    name = os.fsencode(entry.name)
                    owner = self._owner_of((path + b"/" + name).decode(errors="replace"))
                    if owner is not None:
                        if self._inside[owner] >= self._most:
                            # A directory of a cgroup file system has two links, and one for each directory in it.
                            self.unread += max(1, os.fstat(directory).st_nlink - 2 - len(found))
                            return found, False
                        self._inside[owner] += 1
                    found.append((name, entry.inode()))
        except OSError:
            return found, False
        return found, True
