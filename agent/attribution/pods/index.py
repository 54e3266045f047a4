"""The pods of this node, by every uid that a cgroup path may have. Pure: `watch` keeps it up to date.

Deleted pods stay resolvable for a while: names outlive things.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from agent.model import Container, Pod

__all__ = ["KEEP_DELETED_S", "Pods"]

KEEP_DELETED_S: Final = 600.0  # forks of a deleted pod may still wait in a queue for so long
_FORMER_CONTAINERS: Final = 50  # kept of a pod whose containers restart again and again


class Pods:
    """Pods that exist, and pods that were deleted less than KEEP_DELETED_S ago. `len` counts the first.

    `version` changes whenever an answer of `get` may have changed. `changed`: uids that were put, removed or forgotten since
    the caller last cleared it. `current`: a stream of the API's changes is open, so that no spec is older than that.
    """

    def __init__(self) -> None:
        self._by_uid: dict[str, Pod] = {}
        self._by_alias: dict[str, str] = {}
        self._by_container: dict[str, str] = {}
        self._deleted: dict[str, float] = {}
        self.version = 0
        self.current = False
        self.changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._by_uid) - len(self._deleted)

    def uids(self) -> list[str]:
        return list(self._by_uid)

    def is_deleted(self, uid: str) -> bool:
        return uid in self._deleted

    def get(self, uid: str) -> Pod | None:
        """`uid`: the API's, or the one that a static pod has on its node."""
        # The API's uid first: anybody can write an annotation, and must not get another pod's forks by it.
        return self._by_uid.get(uid) or self._by_uid.get(self._by_alias.get(uid, uid))

    def of_container(self, container: str) -> Pod | None:
        """The pod whose status names the container, by its id."""
        return self._by_uid.get(self._by_container.get(container, ""))

    def put(self, pod: Pod) -> None:
        before = self._by_uid.get(pod.uid)
        if before:
            pod = replace(pod, containers=_with_former(before.containers, pod.containers))
            self._drop_containers(before)
        self._by_uid[pod.uid] = pod
        for alias in pod.aliases - {pod.uid}:
            owner = self._by_alias.get(alias)
            if owner is None or owner in self._deleted:  # the first pod with an alias keeps it while it exists
                self._by_alias[alias] = pod.uid
        for container in pod.containers:
            self._by_container.setdefault(container, pod.uid)
        self._deleted.pop(pod.uid, None)
        self.version += 1
        self.changed.add(pod.uid)

    def remove(self, uid: str, now: float) -> None:
        """The pod was deleted. `now`: seconds of any clock that never goes back, the same as for `forget`."""
        if uid in self._by_uid:
            self._deleted.setdefault(uid, now)
            self.changed.add(uid)

    def replace(self, pods: list[Pod], now: float) -> None:
        """`pods`: all that exist, by a list of the API. The others were deleted."""
        present = {pod.uid for pod in pods}
        for uid in self._by_uid.keys() - present:  # before the puts, so that a deleted pod's aliases are free
            self.remove(uid, now)
        for pod in pods:
            self.put(pod)

    def forget(self, now: float) -> None:
        """Drops pods that were deleted more than KEEP_DELETED_S ago."""
        for uid in [uid for uid, since in self._deleted.items() if now - since > KEEP_DELETED_S]:
            pod = self._by_uid.pop(uid)
            del self._deleted[uid]
            self.changed.add(uid)
            self._drop_containers(pod)
            for alias in pod.aliases:
                if self._by_alias.get(alias) == uid:
                    del self._by_alias[alias]
            self.version += 1

    def _drop_containers(self, pod: Pod) -> None:
        for container in pod.containers:
            if self._by_container.get(container) == pod.uid:
                del self._by_container[container]


def _with_former(before: Mapping[str, Container], now: Mapping[str, Container]) -> dict[str, Container]:
    """The containers that the status names now, and a few that it no longer names (from before the last restart).

    Where the status has less of a container than before, the earlier facts stay.
    """
    former = {key: one for key, one in before.items() if key not in now}
    kept = dict(list(former.items())[-_FORMER_CONTAINERS:])
    return kept | {key: before[key] if one.image is None and key in before else one for key, one in now.items()}
