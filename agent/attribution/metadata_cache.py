"""The caches that attribution is made of: cgroups, attached tasks, pods. Updated here, and saved in the journal.

Removed cgroups and deleted pods cannot be listed again after a restart, while forks in the ring or in the journal still need
them; so they are saved with those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from agent.attribution.attached_tasks import AttachedTasks
from agent.attribution.attributions import Attributions
from agent.attribution.cgroup_paths import parse_cgroup_path
from agent.attribution.cgroups import Cgroup, Cgroups
from agent.attribution.pods import Pods
from agent.attribution.tracked_cgroups import TrackedCgroups
from agent.interfaces import CgroupTracker, StateReader, StateWriter
from agent.model import CREATED, REMOVED, CgroupEvent
from agent.state_records import CGROUPS, PODS, CgroupRecord, PodRecord

__all__ = ["MetadataCache"]


class MetadataCache:
    """`root`: where the chosen cgroup hierarchy is mounted. `api`: whether there is a Kubernetes API.

    `annotations`: the keys of those that are kept of a pod.
    """

    def __init__(self, root: Path, annotations: Collection[str] = (), *, api: bool) -> None:
        self.root = root
        self._annotations = annotations
        self.cgroups = Cgroups()
        self.attached_tasks = AttachedTasks()
        self.pods = Pods()
        self.tracked_cgroups = TrackedCgroups()
        self.attributions = Attributions(self.cgroups, self.pods, api=api)

    def restore(self, saved: StateReader, monotonic: float, *, cgroups: bool) -> None:
        """Loads what the last agent saved.

        `cgroups`: whether that was on this boot, so that the ids are those of the same cgroups. `monotonic`: the loop's clock,
        seconds; deleted pods are kept for their full time from now on.
        """
        for key, value in saved.table(CGROUPS).items() if cgroups else ():
            path, created, removed, parent = CgroupRecord.decode(value)
            cgroup = self.cgroups.put(Cgroup(int(key), path, parse_cgroup_path(path), created, removed, parent))
            self.tracked_cgroups.track(cgroup)
        for uid, value in saved.table(PODS).items():
            pod, deleted = PodRecord.decode(value)
            annotations = {name: text for name, text in pod.annotations.items() if name in self._annotations}
            self.pods.put(replace(pod, annotations=annotations))
            if deleted:
                self.pods.remove(str(uid), monotonic)

    def apply_cgroup_events(self, events: Iterable[CgroupEvent], tracker: CgroupTracker) -> None:
        """`tracker`: gets the cgroups of pods that were created."""
        for event in events:
            if event.kind == CREATED:
                self._track(self.cgroups.add(event.cgroup, event.path, event.time, event.parent), tracker)
            elif event.kind == REMOVED:
                self.cgroups.mark_removed(event.cgroup, event.time)
            else:
                self.attached_tasks.add(event.tid, event.start, event.cgroup, event.time)

    def walk(self, tracker: CgroupTracker, now: int) -> None:
        """Reads the whole hierarchy from the file system. `now`: ns of the boot clock."""
        self.cgroups.walk(self.root, now)
        for number in self.cgroups.ids():
            cgroup = self.cgroups.get(number)
            if cgroup and cgroup.removed is None:
                self._track(cgroup, tracker)

    def forget(self, now: int, monotonic: float) -> list[int]:
        """Drops cgroups and pods that were removed long ago; returns the cgroups.

        `now`: ns of the boot clock; `monotonic`: seconds of the loop's clock.
        """
        forgotten = self.cgroups.forget(now)
        for cgroup in forgotten:
            self.attributions.cgroup_changed(cgroup)
            self.tracked_cgroups.forget(cgroup)
        self.pods.forget(monotonic)
        return forgotten

    def pods_with_cgroups(self) -> set[str]:
        """The uids of pods that have a cgroup: the API's where it knows the pod, else the path's."""
        present = (cgroup for number in self.cgroups.ids() if (cgroup := self.cgroups.get(number)) and cgroup.removed is None)
        return {uid for cgroup in present if cgroup.identity.pod and (uid := self.attributions.resolve_now(cgroup.id).pod_uid)}

    def sandboxed_pods(self, classes: Collection[str]) -> list[int]:
        """The cgroups of pods that have a kernel of their own. `classes`: patterns of the names of RuntimeClasses."""
        found = []
        for number in self.tracked_cgroups.pods():
            cgroup, pod = self.cgroups.get(number), self.attributions.resolve_now(number).pod
            name = pod.runtime_class if pod else None
            if cgroup and cgroup.removed is None and name and any(fnmatchcase(name.lower(), one.lower()) for one in classes):
                found.append(number)
        return found

    def stage(self, journal: StateWriter, *, everything: bool = False) -> None:
        """Stages what changed since the last time, or everything."""
        for number in self.cgroups.ids() if everything else self.cgroups.changed:
            cgroup = self.cgroups.get(number)
            record = cgroup and CgroupRecord(cgroup.path, cgroup.created, cgroup.removed, cgroup.parent)
            journal.put(CGROUPS, number, record.encode() if record else None)
        self.cgroups.changed.clear()
        for uid in self.pods.uids() if everything else self.pods.changed:
            pod = self.pods.get(uid)
            journal.put(PODS, uid, PodRecord(pod, self.pods.is_deleted(uid)).encode() if pod else None)
        self.pods.changed.clear()

    def _track(self, cgroup: Cgroup, tracker: CgroupTracker) -> None:
        self.attributions.cgroup_changed(cgroup.id)
        if found := self.tracked_cgroups.track(cgroup):
            tracker.track(cgroup.id, found.counted, found.pod, is_pod=found.is_pod)
