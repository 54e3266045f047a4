"""Everything that is asked whose a fork is: cgroups, what entered them, pods, and the answer made of them. Refreshed here
and kept.

The dead ones can't be listed any more, so they go into the journal with the forks that ask for them. Must not live here:
how any of the directories works (identity).
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
    """`root`: where the chosen cgroup hierarchy is mounted. `api`: whether there is a Kubernetes API to hear from.
    `annotations`: those of pods that are kept, by their keys."""

    def __init__(self, root: Path, annotations: Collection[str] = (), *, api: bool) -> None:
        self.root = root
        self._annotations = annotations
        self.cgroups = Cgroups()
        self.attached_tasks = AttachedTasks()
        self.pods = Pods()
        self.tracked_cgroups = TrackedCgroups()
        self.attributions = Attributions(self.cgroups, self.pods, api=api)

    def restore(self, kept: StateReader, monotonic: float, *, cgroups: bool) -> None:
        """What the last agent knew. `cgroups`: whether it ran on this boot, whose cgroups have these ids. `monotonic`: the
        loop's clock, s: pods that were gone stay for as long from here on."""
        for key, value in kept.table(CGROUPS).items() if cgroups else ():
            path, created, removed, parent = CgroupRecord.decode(value)
            cgroup = self.cgroups.put(Cgroup(int(key), path, parse_cgroup_path(path), created, removed, parent))
            self.tracked_cgroups.track(cgroup)
        for uid, value in kept.table(PODS).items():
            pod, gone = PodRecord.decode(value)
            annotations = {name: text for name, text in pod.annotations.items() if name in self._annotations}
            self.pods.put(replace(pod, annotations=annotations))
            if gone:
                self.pods.remove(str(uid), monotonic)

    def apply_cgroup_events(self, changes: Iterable[CgroupEvent], tracker: CgroupTracker) -> None:
        for change in changes:
            if change.change == CREATED:
                self._track(self.cgroups.add(change.cgroup, change.path, change.time, change.parent), tracker)
            elif change.change == REMOVED:
                self.cgroups.mark_removed(change.cgroup, change.time)
            else:
                self.attached_tasks.add(change.tid, change.start, change.cgroup, change.time)

    def walk(self, tracker: CgroupTracker, now: int) -> None:
        """Reads the hierarchy as it is. `now`: boot clock ns."""
        self.cgroups.walk(self.root, now)
        for number in self.cgroups.ids():
            cgroup = self.cgroups.get(number)
            if cgroup and cgroup.removed is None:
                self._track(cgroup, tracker)

    def forget(self, now: int, monotonic: float) -> list[int]:
        """Drops what has been gone for long; returns the cgroups. Times: boot clock ns, loop's clock s."""
        gone = self.cgroups.forget(now)
        for cgroup in gone:
            self.attributions.cgroup_changed(cgroup)
            self.tracked_cgroups.forget(cgroup)
        self.pods.forget(monotonic)
        return gone

    def pods_with_cgroups(self) -> set[str]:
        """The uids of pods that have a cgroup, as the API calls them where it is known to."""
        living = (cgroup for number in self.cgroups.ids() if (cgroup := self.cgroups.get(number)) and cgroup.removed is None)
        return {uid for cgroup in living if cgroup.identity.pod and (uid := self.attributions.resolve_now(cgroup.id).pod_uid)}

    def sandboxed_pods(self, classes: Collection[str]) -> list[int]:
        """The directories of living pods with a kernel of their own, by cgroup id. `classes`: patterns of RuntimeClasses."""
        found = []
        for number in self.tracked_cgroups.pods():
            cgroup, pod = self.cgroups.get(number), self.attributions.resolve_now(number).pod
            name = pod.runtime_class if pod else None
            if cgroup and cgroup.removed is None and name and any(fnmatchcase(name.lower(), one.lower()) for one in classes):
                found.append(number)
        return found

    def stage(self, journal: StateWriter, *, everything: bool = False) -> None:
        """Stages what changed since the last time, or all there is."""
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
