"""Where the kubelet's cgroups are. A path elsewhere that looks like a pod's is not one: whoever may make cgroups can make it.

A container's id is random and not known before the runtime has made its cgroup. So of several cgroups with the id of one
container of the API, the oldest is the real one, and shows where the root is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from agent.attribution.cgroup_paths import pod_place
from agent.attribution.cgroups import Cgroup
from agent.attribution.pods import Pods

__all__ = ["KubeletRoot"]


class KubeletRoot:
    """`path`: as cgroup_paths.PodPlace has it; None: no cgroup of a pod was seen. `known`: it is set or learned; else `path` is
    that of the oldest cgroup that looks like a pod's, and provisional. `is_set`: by the settings."""

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self.known = self.is_set = path is not None

    def is_elsewhere(self, path: str) -> bool:
        """Whether a path that looks like a pod's is not below the root."""
        place = pod_place(path)
        return place is not None and self.path is not None and place.root != self.path

    def restore(self, path: str) -> None:
        """As an agent before has learned it."""
        if not self.is_set:
            self.path, self.known = path, True

    def learn(self, cgroups: Iterable[Cgroup], pods: Pods) -> bool:
        """From all cgroups that are known, and the API's pods. True: `path` is another now."""
        if self.is_set:
            return False
        cgroups = list(cgroups)
        if self.known and self.exists(cgroups):
            return False  # while it is there nothing else can become the root
        before = self.path
        oldest: dict[str, int] = {}
        real: dict[str, tuple[int, str]] = {}
        for cgroup in cgroups:
            place = pod_place(cgroup.path)
            if place is None:
                continue
            if cgroup.removed is None:
                oldest[place.root] = min(cgroup.id, oldest.get(place.root, cgroup.id))
            # A container may have ended before the API names it: its cgroup shows the root all the same.
            pod = pods.get(cgroup.identity.pod or "")
            container = cgroup.identity.container
            if pod and container and place.owner is None and container in pod.containers:
                real[container] = min((cgroup.id, place.root), real.get(container, (cgroup.id, place.root)))
        votes = Counter(root for _, root in real.values())
        if votes:
            self.path, self.known = max(votes, key=lambda root: votes[root]), True
        elif not self.known and oldest:
            self.path = min(oldest, key=lambda root: oldest[root])
        return self.path != before

    def exists(self, cgroups: Iterable[Cgroup]) -> bool:
        """Whether one of the cgroups is there and is the root, or is below it."""
        path = self.path
        present = (one.path for one in cgroups if one.removed is None)
        return path is not None and any(one == path or one.startswith(path + "/") for one in present)
