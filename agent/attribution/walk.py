"""Walks the directories of a cgroup hierarchy by descriptors, so that no path is too long.

It goes down to containers. Of what is inside one container, and inside one cgroup of level 2 outside pods, it reads so much as
the caller keeps: a container may make 100,000 cgroups.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from agent.attribution.hierarchy import NoHierarchy

__all__ = ["Directory", "Walk"]

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST: Final = 64  # a descriptor is open for each level


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
