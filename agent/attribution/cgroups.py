"""The cgroups of one hierarchy: id -> path -> pod and container. From the kernel's events and, at the start, one walk.

Ids are unique within a hierarchy only, so one is chosen and never mixed with another. Removed cgroups stay resolvable for a
while: names outlive things.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.attribution.cgroup_paths import PathIdentity, parse_cgroup_path
from agent.attribution.hierarchy import NoHierarchy

__all__ = ["KEEP_REMOVED_NS", "MOST_NESTED", "Cgroup", "Cgroups"]

KEEP_REMOVED_NS: Final = 600 * 10**9  # the longest that a fork may wait before its cgroup is looked up
MOST_NESTED: Final = 8192  # removed cgroups below containers, which may make thousands of them: 5 MB


@dataclass(frozen=True, slots=True)
class Cgroup:
    """`path` from the hierarchy's root, not valid UTF-8 shown as U+FFFD. `created` 0: before the agent. Times in boottime ns.
    `parent` 0: not known."""

    id: int
    path: str
    identity: PathIdentity
    created: int
    removed: int | None = None
    parent: int = 0


class Cgroups:
    """Every cgroup that was seen, by id."""

    def __init__(self) -> None:
        self._known: dict[int, Cgroup] = {}
        self._removed: dict[int, int] = {}
        self._containers: dict[str, set[int]] = {}  # by pod, as its path has it
        self.changed: set[int] = set()  # ids that were added, removed or forgotten since the caller last cleared it

    def __len__(self) -> int:
        return len(self._known)

    def ids(self) -> list[int]:
        return list(self._known)

    def get(self, cgroup: int) -> Cgroup | None:
        return self._known.get(cgroup)

    def add(self, cgroup: int, path: bytes, time: int, parent: int = 0) -> Cgroup:
        """A cgroup that was created, or found. An id that comes again is another cgroup."""
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
        """The cgroups of all containers in the same pod, removed ones included, without those nested in them."""
        return (self._known[one] for one in self._containers.get(cgroup.identity.pod or "", ()))

    def removed_before(self, time: int) -> list[int]:
        """Ids of the cgroups that were removed before `time`."""
        return [cgroup for cgroup, removed in self._removed.items() if removed < time]

    def forget(self, now: int) -> list[int]:
        """Drops cgroups that were removed long ago, and the oldest removed ones that containers had made when there are too
        many of them. Returns the ids."""
        forgotten = self.removed_before(now - KEEP_REMOVED_NS)
        if len(self._removed) > MOST_NESTED:
            nested = [cgroup for cgroup in self._removed if self._is_nested(self._known[cgroup])]
            forgotten += [cgroup for cgroup in nested[:-MOST_NESTED] if self._removed[cgroup] >= now - KEEP_REMOVED_NS]
        for cgroup in forgotten:
            self._drop(cgroup)
            del self._removed[cgroup]
            self.changed.add(cgroup)
        return forgotten

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
        """Reads the hierarchy as it is now: a directory's inode number is its id. Directories may vanish on the way.

        `time`: when the walk began, ns of the boot clock. Marks cgroups that are not there any more as removed; returns those
        that were not known.
        """
        seen = set()
        added = []
        for number, path, parent in _directories(os.fsencode(root)):
            seen.add(number)
            before = self._known.get(number)
            if before is None or before.removed is not None or before.path != path.decode(errors="replace"):
                added.append(self.add(number, path, 0, parent))
        for number in [known for known, one in self._known.items() if one.removed is None and known not in seen]:
            # One that was created after the walk began is not removed: the walk may have missed it.
            if self._known[number].created < time:
                self.mark_removed(number, time)
        return added


def _directories(root: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Id, path and the parent's id of each directory, parents first."""
    try:
        top = Path(os.fsdecode(root)).stat().st_ino
    except OSError as error:
        raise NoHierarchy(f"cannot read {os.fsdecode(root)}: {error.strerror}") from error
    yield top, b"/", 0
    left = [(root, top)]
    while left:
        directory, parent = left.pop()
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append((entry.path, entry.inode()))
                        yield entry.inode(), entry.path[len(root) :], parent
        except OSError:
            continue
