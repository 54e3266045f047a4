"""The directory of cgroups: id -> path -> place, fed by the kernel's births and deaths and, at the start, by one walk.

Ids are unique within a hierarchy only, so one is chosen and never mixed with another. Dead cgroups stay resolvable for a while:
names outlive things. Must not live here: pods.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.attribution.cgroup_paths import PathIdentity, parse_cgroup_path

__all__ = ["Cgroup", "Cgroups", "Hierarchy", "NoHierarchy", "choose_hierarchy", "has_pods"]

KEEP_REMOVED_NS: Final = 600 * 10**9  # as long as an event may lie in a queue before it is asked about
MOST_NESTED: Final = 8192  # dead ones that containers made below themselves, by the thousand if they like: 5 MB
_TRUE_ROOT_INODE: Final = 1  # kernfs numbers a hierarchy's root first
_CONTROLLERS: Final = ("pids", "memory", "cpu", "freezer")  # kubelet enables all of them; the first that is there will do


class NoHierarchy(Exception):
    """No cgroup hierarchy is mounted where one was expected. The text says where."""


@dataclass(frozen=True)
class Hierarchy:
    """`number` as in /proc/self/cgroup; `controller` None for v2; `root` is where it is mounted."""

    number: int
    controller: str | None
    root: Path


@dataclass(frozen=True, slots=True)
class Cgroup:
    """`path` from the hierarchy's root, not valid UTF-8 shown as U+FFFD. `born` 0: before the agent. Times in boottime ns.
    `parent` 0: not known."""

    id: int
    path: str
    identity: PathIdentity
    created: int
    removed: int | None = None
    parent: int = 0


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
        # In a cgroup namespace the process's own part looks like a root, and the host's mount lies above it, as /../..
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
    """Whether kubelet's cgroups lie in this hierarchy."""
    try:
        return any("kubepods" in entry.name for entry in os.scandir(root))
    except OSError:
        return False


class Cgroups:
    """Every cgroup that was seen, by id."""

    def __init__(self) -> None:
        self._known: dict[int, Cgroup] = {}
        self._removed: dict[int, int] = {}
        self._containers: dict[str, set[int]] = {}  # by pod, as its path has it
        self.changed: set[int] = set()  # ids that became known, died or were forgotten since somebody last emptied this

    def __len__(self) -> int:
        return len(self._known)

    def ids(self) -> list[int]:
        return list(self._known)

    def get(self, cgroup: int) -> Cgroup | None:
        return self._known.get(cgroup)

    def add(self, cgroup: int, path: bytes, time: int, parent: int = 0) -> Cgroup:
        """A directory was made, or found. An id that comes again is another cgroup."""
        text = path.decode(errors="replace")
        return self.put(Cgroup(cgroup, text, parse_cgroup_path(text), time, None, parent))

    def put(self, cgroup: Cgroup) -> Cgroup:
        self._drop(cgroup.id)
        self._known[cgroup.id] = cgroup
        if cgroup.identity.pod and cgroup.identity.container:
            self._containers.setdefault(cgroup.identity.pod, set()).add(cgroup.id)
        if cgroup.removed is None:
            self._removed.pop(cgroup.id, None)
        else:
            self._removed[cgroup.id] = cgroup.removed
        self.changed.add(cgroup.id)
        return cgroup

    def mark_removed(self, cgroup: int, time: int) -> None:
        before = self._known.get(cgroup)
        if before and before.removed is None:
            self._known[cgroup] = replace(before, removed=time)
            self._removed[cgroup] = time
            self.changed.add(cgroup)

    def containers_of_pod(self, cgroup: Cgroup) -> Iterator[Cgroup]:
        """The containers' own directories in the same pod, dead ones included."""
        return (self._known[one] for one in self._containers.get(cgroup.identity.pod or "", ()))

    def removed_before(self, time: int) -> list[int]:
        """Ids of the cgroups that died before `time`."""
        return [cgroup for cgroup, removed in self._removed.items() if removed < time]

    def forget(self, now: int) -> list[int]:
        """Drops what has been dead for long, and the oldest of what containers had made when there is much of that; returns
        the ids."""
        gone = self.removed_before(now - KEEP_REMOVED_NS)
        if len(self._removed) > MOST_NESTED:
            inner = [cgroup for cgroup in self._removed if self._is_nested(self._known[cgroup])]
            gone += [cgroup for cgroup in inner[:-MOST_NESTED] if self._removed[cgroup] >= now - KEEP_REMOVED_NS]
        for cgroup in gone:
            self._drop(cgroup)
            del self._removed[cgroup]
            self.changed.add(cgroup)
        return gone

    def _is_nested(self, cgroup: Cgroup) -> bool:
        above = self._known.get(cgroup.parent)
        return above is not None and above.identity.container is not None and above.identity.pod == cgroup.identity.pod

    def _drop(self, cgroup: int) -> None:
        before = self._known.pop(cgroup, None)
        if before and before.identity.pod and before.identity.container:
            others = self._containers[before.identity.pod]
            others.discard(cgroup)
            if not others:
                del self._containers[before.identity.pod]

    def walk(self, root: Path, time: int) -> list[Cgroup]:
        """Reads the hierarchy as it is now: a directory's inode number is its id. One that vanishes meanwhile is normal.

        Returns what was not known; what is known and not there any more is marked as dead.
        """
        seen = set()
        fresh = []
        for number, path, parent in _directories(os.fsencode(root)):
            seen.add(number)
            before = self._known.get(number)
            if before is None or before.removed is not None or before.path != path.decode(errors="replace"):
                fresh.append(self.add(number, path, 0, parent))
        for number in [known for known, one in self._known.items() if one.removed is None and known not in seen]:
            # Born between the walk and this line, perhaps: its birth is in the ring and will say so.
            if self._known[number].created < time:
                self.mark_removed(number, time)
        return fresh


def _directories(root: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Id, path and the parent's id of each, parents first."""
    try:
        top = Path(os.fsdecode(root)).stat().st_ino
    except OSError as error:
        raise NoHierarchy(f"cannot read {os.fsdecode(root)}: {error.strerror}") from error
    yield top, b"/", 0
    left = [(root, top)]
    while left:
        folder, parent = left.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append((entry.path, entry.inode()))
                        yield entry.inode(), entry.path[len(root) :], parent
        except OSError:
            continue
