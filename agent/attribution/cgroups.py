"""The cgroups of one hierarchy: id -> path -> pod and container. From the kernel's events and, at the start, one walk.

Ids are unique within a hierarchy only, so one is chosen and never mixed with another. Removed cgroups stay resolvable for a
while: names outlive things.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.attribution.cgroup_paths import PathIdentity, outside_container, parse_cgroup_path, pod_place, qos_classes
from agent.attribution.hierarchy import Walk

__all__ = ["KEEP_REMOVED_NS", "MOST_INSIDE", "MOST_NESTED", "Cgroup", "Cgroups"]

KEEP_REMOVED_NS: Final = 600 * 10**9  # the longest that a fork may wait before its cgroup is looked up
MOST_NESTED: Final = 8192  # removed cgroups inside others, which may make thousands of them: 5 MB
MOST_INSIDE: Final = 64  # cgroups that are kept inside one container, or outside pods inside one cgroup of level 2
_HOST_LEVEL: Final = 2  # HOST_LEVEL in bpf/counters.c


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
    """The cgroups of the host, of pods and of containers, by id; of those inside a container the first MOST_INSIDE.

    `kubelet_root`: its path; None: not known. `unread`: how many directories the last walk left out. `walked`: when it began,
    boottime ns; every cgroup that was created since has been reported.
    """

    def __init__(self) -> None:
        self.kubelet_root: str | None = None
        self.unread = 0
        self.walked = 0
        self._forgotten: dict[str, int] = {}  # by pod, while it has containers: when the latest one that was forgotten ended
        self._inside: dict[str, set[int]] = {}  # by owner's path, those that are there
        self._known: dict[int, Cgroup] = {}
        self._removed: dict[int, int] = {}
        self._containers: dict[str, set[int]] = {}  # by pod, as its path has it
        self._outside: dict[str, set[int]] = {}  # by container, its cgroups outside pods
        self.changed: set[int] = set()  # ids that were added, removed or forgotten since the caller last cleared it

    def __len__(self) -> int:
        return len(self._known)

    def ids(self) -> list[int]:
        return list(self._known)

    def get(self, cgroup: int) -> Cgroup | None:
        return self._known.get(cgroup)

    def add(self, cgroup: int, path: bytes, time: int, parent: int = 0) -> Cgroup | None:
        """A cgroup that was created, or found. An id that comes again is another cgroup. None: its owner has too many."""
        text = path.decode(errors="replace")
        return self.put(Cgroup(cgroup, text, parse_cgroup_path(text), time, None, parent))

    def put(self, cgroup: Cgroup) -> Cgroup | None:
        """None: it is not kept, because its owner has too many."""
        self._drop(cgroup.id)
        self._removed.pop(cgroup.id, None)
        self.changed.add(cgroup.id)
        owner = self._owner_of(cgroup.path)
        if owner is not None and cgroup.removed is None:
            inside = self._inside.setdefault(owner, set())
            if len(inside) >= MOST_INSIDE:
                return None
            inside.add(cgroup.id)
        self._known[cgroup.id] = cgroup
        if cgroup.identity.pod and cgroup.identity.container:
            self._containers.setdefault(cgroup.identity.pod, set()).add(cgroup.id)
        outside = outside_container(cgroup.path)
        if outside and outside.path == cgroup.path:
            self._outside.setdefault(outside.id, set()).add(cgroup.id)
        if cgroup.removed is not None:
            self._removed[cgroup.id] = cgroup.removed
        return cgroup

    def mark_removed(self, cgroup: int, time: int) -> None:
        """With all that was inside: a directory that is removed has none below it."""
        before = self._known.get(cgroup)
        if before is None or before.removed is not None:
            return
        self._leave_owner(before)
        self._known[cgroup] = replace(before, removed=time)
        self._removed[cgroup] = time
        self.changed.add(cgroup)
        for inner in list(self._inside.get(before.path, ())):
            self.mark_removed(inner, time)

    def set_kubelet_root(self, root: str) -> None:
        """What was inside which owner is decided anew."""
        self.kubelet_root, self._inside = root, {}
        for one in list(self._known.values()):
            if one.removed is None:
                self.put(one)

    def containers_of_pod(self, uid: str) -> Iterator[Cgroup]:
        """The cgroups of all its containers and of what is nested in them, removed ones included. `uid`: as in their paths."""
        return (self._known[one] for one in self._containers.get(uid, ()))

    def outside_pods(self, container: str) -> Iterator[Cgroup]:
        """The cgroups of a container that are outside pods, removed ones included, without those nested in them."""
        return (self._known[one] for one in self._outside.get(container, ()))

    def seen_since(self, cgroup: Cgroup) -> int:
        """Every container of the same pod that was created later than this is known, boottime ns."""
        return max(self.walked, self._forgotten.get(cgroup.identity.pod or "", 0))

    def removed_before(self, time: int) -> list[int]:
        """Ids of the cgroups that were removed before `time`."""
        return [cgroup for cgroup, removed in self._removed.items() if removed < time]

    def forget(self, now: int) -> list[int]:
        """Drops cgroups that were removed long ago, and the oldest removed ones that containers had made when there are too
        many of them. Returns the ids."""
        forgotten = self.removed_before(now - KEEP_REMOVED_NS)
        if len(self._removed) > MOST_NESTED:
            nested = [cgroup for cgroup in self._removed if self._owner_of(self._known[cgroup].path) is not None]
            forgotten += [cgroup for cgroup in nested[:-MOST_NESTED] if self._removed[cgroup] >= now - KEEP_REMOVED_NS]
        for cgroup in forgotten:
            pod = self._known[cgroup].identity.pod
            self._drop(cgroup)
            if pod in self._containers:
                self._forgotten[pod] = max(self._removed[cgroup], self._forgotten.get(pod, 0))
            del self._removed[cgroup]
            self.changed.add(cgroup)
        return forgotten

    def _leave_owner(self, cgroup: Cgroup) -> None:
        owner = self._owner_of(cgroup.path)
        if owner in self._inside:
            _discard(self._inside, owner, cgroup.id)

    def _drop(self, cgroup: int) -> None:
        before = self._known.pop(cgroup, None)
        if before is None:
            return
        self._leave_owner(before)
        if before.identity.pod and before.identity.container:
            _discard(self._containers, before.identity.pod, cgroup)
            if before.identity.pod not in self._containers:
                self._forgotten.pop(before.identity.pod, None)
        outside = outside_container(before.path)
        if outside and outside.path == before.path:
            _discard(self._outside, outside.id, cgroup)

    def walk(self, root: Path, time: int) -> list[Cgroup]:
        """Reads the hierarchy as it is now. Directories may vanish on the way.

        `time`: when the walk began, ns of the boot clock. Marks cgroups that are not there any more as removed; returns those
        that were not known. Raises NoHierarchy.
        """
        walk, seen = Walk(root, self._owner_of, MOST_INSIDE), set()
        self.walked = time
        added = []
        for number, path, parent in walk.directories():
            seen.add(number)
            before = self._known.get(number)
            if before is None or before.removed is not None or before.path != path.decode(errors="replace"):
                fresh = self.add(number, path, 0, parent)
                added += [fresh] if fresh else []
        for number in [known for known, one in self._known.items() if one.removed is None and known not in seen]:
            one = self._known[number]
            # One that was created after the walk began is not removed: the walk may have missed it.
            if one.created < time and walk.is_removed(one.path):
                self.mark_removed(number, time)
        self.unread = walk.unread
        return added

    def _owner_of(self, path: str) -> str | None:
        """The path of the container that this one is inside of, or outside pods of the cgroup of level 2. None: it is inside
        neither, or above the kubelet's root."""
        place = pod_place(path)
        if place and (self.kubelet_root is None or place.root == self.kubelet_root):
            return place.owner
        parts = path.split("/")
        if len(parts) <= _HOST_LEVEL + 1:
            return None
        root = self.kubelet_root
        if root and (root.startswith(path + "/") or path == root or path in qos_classes(root)):
            return None
        return "/".join(parts[: _HOST_LEVEL + 1])


def _discard(index: dict[str, set[int]], key: str, cgroup: int) -> None:
    index[key].discard(cgroup)
    if not index[key]:
        del index[key]
