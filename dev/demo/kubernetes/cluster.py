"""A cluster's pods, their resource versions and the history of their changes, as in etcd and the watch cache.

For one event loop. `api_server` serves it over HTTP; `workloads` and tests change it.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from dev.demo.kubernetes import pod_objects
from dev.demo.kubernetes.pod_objects import Json, Pod

Change = Literal["ADDED", "MODIFIED", "DELETED"]
FIRST_VERSION = 1000  # above 1, so that a test can request an expired version without any history
HISTORY = 10_000  # changes kept; a real server keeps about five minutes' worth


class ExpiredError(Exception):
    """The requested resource version is older than the history."""


@dataclass(frozen=True)
class Event:
    """One change. `pod` is the object after it (for DELETED: the last one), `before` the one it replaced."""

    change: Change
    version: int
    pod: Json
    before: Json | None


class Cluster:
    """Pods by uid. Every change gets the next resource version and wakes all watchers.

    Objects are never modified: each change replaces one.
    """

    def __init__(self) -> None:
        self.version = FIRST_VERSION
        self._pods: dict[str, Json] = {}
        self._history: list[Event] = []
        self._oldest = FIRST_VERSION  # the history has everything after this version
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Json]:
        """The pods, by namespace and name, as a list gives them."""
        return iter(sorted(self._pods.values(), key=lambda pod: (pod["metadata"]["namespace"], pod["metadata"]["name"])))

    def pod(self, uid: str) -> Json:
        """Raises KeyError for an unknown uid."""
        return self._pods[uid]

    def add_pod(self, pod: Pod | Json) -> str:
        """Adds one, from its description or as a whole API object (a recorded one, say); returns its uid."""
        document = pod_objects.scheduled(pod, _now()) if isinstance(pod, Pod) else pod
        self._record("ADDED", document)
        return str(document["metadata"]["uid"])

    def replace_pod(self, pod: Json) -> None:
        """Any other change: a whole API object whose uid is known."""
        self._record("MODIFIED", pod)

    def container_running(self, uid: str, container: str, container_id: str) -> None:
        """Its status has the id from now on; if it had ended before, this is a restart."""
        self._record("MODIFIED", pod_objects.running(self._pods[uid], container, container_id, _now()))

    def container_terminated(self, uid: str, container: str, exit_code: int = 0, container_id: str | None = None) -> None:
        """The id is needed only for a container that was never reported as running."""
        self._record("MODIFIED", pod_objects.terminated(self._pods[uid], container, exit_code, _now(), container_id))

    def delete_pod(self, uid: str) -> None:
        """First sets a deletionTimestamp, then deletes it: two changes, as a real API server reports."""
        self._record("MODIFIED", pod_objects.being_deleted(self._pods[uid], _now()))
        self._record("DELETED", self._pods[uid])

    def compact(self) -> None:
        """Forgets the history: a watch from any version before the current one gets 410."""
        self._history.clear()
        self._oldest = self.version

    def events_after(self, version: int) -> tuple[Event, ...]:
        """The changes after this version, oldest first. Raises ExpiredError."""
        if version < self._oldest:
            raise ExpiredError(f"too old resource version: {version} ({self._oldest})")
        return tuple(event for event in self._history if event.version > version)

    async def wait_past(self, version: int) -> None:
        """Returns once the cluster's version is higher than this one."""
        while self.version <= version:
            await self._changed.wait()

    def _record(self, change: Change, pod: Json) -> None:
        self.version += 1
        pod = {**pod, "metadata": {**pod["metadata"], "resourceVersion": str(self.version)}}
        uid = pod["metadata"]["uid"]
        before = self._pods.get(uid)
        if (before is None) != (change == "ADDED"):
            raise KeyError(f"{uid}: {change}, but it is {'not there' if before is None else 'there already'}")
        if change == "DELETED":
            del self._pods[uid]
        else:
            self._pods[uid] = pod
        self._history.append(Event(change, self.version, pod, before))
        if len(self._history) > HISTORY:
            self._oldest = self._history.pop(0).version
        self._changed.set()  # wakes the current waiters
        self._changed = asyncio.Event()  # later ones wait for the next change


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
