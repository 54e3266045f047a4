"""The caches that attribution is made of: cgroups, attached tasks, pods. Updated here, and saved in the journal.

Removed cgroups and deleted pods cannot be listed again after a restart, while forks in the ring or in the journal still need
them; so they are saved with those.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from agent.attribution.attached_tasks import AttachedTasks
from agent.attribution.attributions import Attributions
from agent.attribution.cgroup_paths import parse_cgroup_path, pod_level
from agent.attribution.cgroups import Cgroup, Cgroups
from agent.attribution.kubelet_root import KubeletRoot
from agent.attribution.pods import Pods
from agent.attribution.tracked_cgroups import TrackedCgroups
from agent.interfaces import CgroupTracker, StateReader, StateWriter
from agent.model import CREATED, REMOVED, CgroupEvent
from agent.state_records import CGROUPS, KUBELET_ROOT, PODS, CgroupRecord, KubeletRootRecord, PodRecord

__all__ = ["MetadataCache"]

log = logging.getLogger(__name__)


class MetadataCache:
    """`root`: where the chosen cgroup hierarchy is mounted. `api`: whether there is a Kubernetes API.

    `annotations`: the keys of those that are kept of a pod. `kubelet_root`: the path of the kubelet's cgroup; None: it is
    learned.
    """

    def __init__(self, root: Path, annotations: Collection[str] = (), *, api: bool, kubelet_root: str | None = None) -> None:
        self.root = root
        self._annotations = annotations
        self.cgroups = Cgroups()
        self.attached_tasks = AttachedTasks()
        self.pods = Pods()
        self.tracked_cgroups = TrackedCgroups()
        self.kubelet_root = KubeletRoot(kubelet_root)
        self.cgroups.kubelet_root = kubelet_root
        self.attributions = Attributions(self.cgroups, self.pods, self.kubelet_root, api=api)
        self._pods_version = -1  # that the root was last learned from
        self._staged_root: str | None = None

    def restore(self, saved: StateReader, monotonic: float, *, cgroups: bool) -> None:
        """Loads what the last agent saved.

        `cgroups`: whether that was on this boot, so that the ids are those of the same cgroups. `monotonic`: the loop's clock,
        seconds; deleted pods are kept for their full time from now on.
        """
        for value in saved.table(KUBELET_ROOT).values():
            self.kubelet_root.restore(KubeletRootRecord.decode(value).path)
            self.cgroups.kubelet_root = self.kubelet_root.path
        for uid, value in saved.table(PODS).items():
            pod, deleted = PodRecord.decode(value)
            annotations = {name: text for name, text in pod.annotations.items() if name in self._annotations}
            self.pods.put(replace(pod, annotations=annotations))
            if deleted:
                self.pods.remove(str(uid), monotonic)
        if cgroups:
            for key, value in saved.table(CGROUPS).items():
                path, created, removed, parent = CgroupRecord.decode(value)
                self.cgroups.put(Cgroup(int(key), path, parse_cgroup_path(path), created, removed, parent))
        known = [one for number in self.cgroups.ids() if (one := self.cgroups.get(number))]
        # Release 0.1 has left no root, and an earlier boot's cgroups can't be walked.
        if self.kubelet_root.learn(known, self.pods) and self.kubelet_root.path is not None:
            self.cgroups.set_kubelet_root(self.kubelet_root.path)
        for one in sorted(known, key=lambda one: one.path.count("/")):  # parents first
            self.tracked_cgroups.track(one, self.kubelet_root.path)

    def apply_cgroup_events(self, events: Iterable[CgroupEvent], tracker: CgroupTracker) -> None:
        """`tracker`: gets the cgroups of pods that were created."""
        claims = False
        root_exists: bool | None = None  # None: the kubelet's root was neither created nor removed
        for event in events:
            if event.kind == CREATED:
                added = self.cgroups.add(event.cgroup, event.path, event.time, event.parent)
                claims |= added is not None and added.identity.pod is not None and not self.kubelet_root.known
                self._track(event.cgroup, added, tracker)
                if added and added.path == self.kubelet_root.path:
                    root_exists = True
            elif event.kind == REMOVED:
                before = self.cgroups.get(event.cgroup)
                if before and before.path == self.kubelet_root.path:
                    root_exists = False
                self.cgroups.mark_removed(event.cgroup, event.time)
            else:
                # Of a cgroup inside a container that is not known, the event has the container as its parent.
                cgroup = event.cgroup if self.cgroups.get(event.cgroup) else event.parent
                self.attached_tasks.add(event.tid, event.start, cgroup, event.time)
        if root_exists is not None:
            # After all its pods in these events are tracked: until then each counts for itself (bpf/cgroups.c).
            self._set_pod_level(tracker, exists=root_exists)
        if claims or self._pods_version != self.pods.version:
            self._learn_root(tracker)

    def walk(self, tracker: CgroupTracker, now: int) -> None:
        """Reads the hierarchy from the file system, down to containers. `now`: ns of the boot clock."""
        self.cgroups.walk(self.root, now)
        self._learn_root(tracker)
        self._track_all(tracker)

    def _learn_root(self, tracker: CgroupTracker) -> None:
        self._pods_version = self.pods.version
        known = (cgroup for number in self.cgroups.ids() if (cgroup := self.cgroups.get(number)))
        if not self.kubelet_root.learn(known, self.pods) or self.kubelet_root.path is None:
            return
        log.info("the kubelet's cgroups are in %s", self.kubelet_root.path)
        self.cgroups.set_kubelet_root(self.kubelet_root.path)
        self.attributions.root_changed()
        for number in self.tracked_cgroups.clear():
            tracker.untrack(number)
        self._track_all(tracker)

    def _track_all(self, tracker: CgroupTracker) -> None:
        present = [one for number in self.cgroups.ids() if (one := self.cgroups.get(number)) and one.removed is None]
        for cgroup in sorted(present, key=lambda one: one.path.count("/")):  # parents first
            self._track(cgroup.id, cgroup, tracker)
        # At the end: until then what is not tracked yet is counted for itself, and not for a cgroup outside pods.
        self._set_pod_level(tracker, exists=self.kubelet_root.exists(present))

    def _set_pod_level(self, tracker: CgroupTracker, *, exists: bool) -> None:
        """`exists`: the kubelet's root is there. While it is not, the pods of the next one would count for the host."""
        root = self.kubelet_root.path
        tracker.set_pod_level(pod_level(root) if root and exists else 0)

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
        return {uid for cgroup in present if (uid := self.attributions.resolve_now(cgroup.id).pod_uid)}

    def unknown_pods(self, before: int) -> int:
        """How many pods have a container here since then, when the API has none of them; else 0. `before`: boottime ns."""
        found = set()
        for number in self.cgroups.ids():
            cgroup = self.cgroups.get(number)
            if cgroup is None or cgroup.removed is not None or not cgroup.identity.pod or not cgroup.identity.container:
                continue
            if self.kubelet_root.is_elsewhere(cgroup.path) or max(cgroup.created, self.cgroups.walked) > before:
                continue
            if self.pods.get(cgroup.identity.pod) is not None:
                return 0
            found.add(cgroup.identity.pod)
        return len(found)

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
        root = self.kubelet_root
        if root.known and root.path and not root.is_set and (everything or root.path != self._staged_root):
            journal.put(KUBELET_ROOT, "path", KubeletRootRecord(root.path).encode())
            self._staged_root = root.path
        for uid in self.pods.uids() if everything else self.pods.changed:
            pod = self.pods.get(uid)
            journal.put(PODS, uid, PodRecord(pod, self.pods.is_deleted(uid)).encode() if pod else None)
        self.pods.changed.clear()

    def _track(self, number: int, cgroup: Cgroup | None, tracker: CgroupTracker) -> None:
        """`cgroup` None: it is not kept."""
        self.attributions.cgroup_changed(number)
        if cgroup and (found := self.tracked_cgroups.track(cgroup, self.kubelet_root.path)):
            tracker.track(number, found.pod, found.kind)
