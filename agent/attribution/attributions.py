"""The attribution of a cgroup, from the cgroups of the kernel and the pods of the API. A lookup is one dict access."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from agent.attribution.cgroup_paths import OutsideContainer, outside_container
from agent.attribution.cgroups import Cgroup, Cgroups
from agent.attribution.kubelet_root import KubeletRoot
from agent.attribution.pods import Pods
from agent.attribution.pods.start_order import created_in_empty_pod, planned_container, sandbox_is_certain
from agent.model import Attribution, Container, Pod
from wire.limits import MAX_CGROUP_PATH

__all__ = ["Attributions"]

_MOST_FOLDED: Final = 1024  # attributions of cgroups that are not known themselves; the encoders keep the text of each


class Attributions:
    """An AttributionSource. `api`: whether there is a Kubernetes API; without one, waiting is no use."""

    def __init__(self, cgroups: Cgroups, pods: Pods, root: KubeletRoot, *, api: bool) -> None:
        self._root = root
        self._folded: dict[tuple[int, int], tuple[Attribution, Attribution]] = {}
        self._cgroups = cgroups
        self._pods = pods
        self._api = api
        self._resolved: dict[int, Attribution] = {}
        self._final: dict[int, Attribution] = {}
        self._pods_version = -1

    def find(self, cgroup: int) -> Attribution | None:
        """None: not known yet, but it may be known soon."""
        if self._pods_version != self._pods.version:
            self._pods_changed()
        found = self._resolved.get(cgroup)
        if found is None:
            found = self._resolve(cgroup)
            if found is None:
                return self._final.get(cgroup)
            self._resolved[cgroup] = found
        return found

    def resolve_now(self, cgroup: int) -> Attribution:
        """The best answer at this moment; a better one may follow."""
        return self.find(cgroup) or self._from_path(cgroup)

    def resolve_final(self, cgroup: int) -> Attribution:
        """The best answer, for forks that have waited long enough. `find` returns it until the API knows more."""
        found = self.find(cgroup)
        if found is None:
            found = self._final[cgroup] = self._final_of(cgroup) or self._from_path(cgroup)
        return found

    def is_known(self, cgroup: int) -> bool:
        """Whether the cgroup itself is known; else only that which counts it may be."""
        return self._cgroups.get(cgroup) is not None

    def folded(self, cgroup: int, owner: Attribution) -> Attribution:
        """Of a cgroup that is not known itself, inside the container (or cgroup outside pods) `owner`: with its own id, no
        path."""
        key = (cgroup, owner.cgroup)
        found = self._folded.get(key)
        if found is None or found[0] is not owner:
            if len(self._folded) >= _MOST_FOLDED:
                self._folded.clear()
            found = self._folded[key] = (owner, replace(owner, cgroup=cgroup, path=None))
        return found[1]

    def root_changed(self) -> None:
        """The kubelet's root is another one."""
        self._resolved.clear()
        self._final.clear()

    def cgroup_changed(self, cgroup: int) -> None:
        """It was created or forgotten. An id that comes again is another cgroup."""
        self._resolved.pop(cgroup, None)
        self._final.pop(cgroup, None)

    def _pods_changed(self) -> None:
        self._pods_version = self._pods.version
        # Drops the attributions whose pod changed (a new label, for instance). The others cannot have changed.
        for cgroup, attribution in list(self._resolved.items()):
            if attribution.pod_uid is not None and (
                attribution.pod is None or self._pods.get(attribution.pod_uid) is not attribution.pod
            ):
                del self._resolved[cgroup]
        for cgroup, attribution in list(self._final.items()):
            if attribution.pod_uid is None or self._pods.get(attribution.pod_uid) is not attribution.pod:
                # What was certain stays so, until a status names it; other forks may wait again for the API's answer.
                pod = self._pods.get(attribution.pod_uid) if attribution.pod_uid and attribution.state == "resolved" else None
                if pod and self._resolve(cgroup) is None:
                    self._final[cgroup] = replace(attribution, pod=pod)
                else:
                    del self._final[cgroup]

    def _resolve(self, number: int) -> Attribution | None:
        cgroup = self._cgroups.get(number)
        if cgroup is None:
            # Its event was lost. The walk that follows a loss will find the cgroup, unless it was removed before.
            return None
        identity = cgroup.identity
        if identity.pod is None or self._root.is_elsewhere(cgroup.path):
            outside = outside_container(cgroup.path) if self._api else None
            return self._outside(cgroup, outside) if outside else Attribution(number, _sent_path(cgroup), "host", None)
        pod = self._pods.get(identity.pod)
        if pod is None or not self._root.known:
            return None if self._api else self._from_path(number)
        if identity.container is None:
            return Attribution(number, _sent_path(cgroup), "resolved", "status", pod.uid, pod)
        container = pod.containers.get(identity.container)
        if container is None:
            return None
        return Attribution(number, _sent_path(cgroup), "resolved", "status", pod.uid, pod, container)

    def _outside(self, cgroup: Cgroup, outside: OutsideContainer) -> Attribution | None:
        """Of a container outside pods: by its id alone. Of several cgroups with one id that in its pod is the container's, or
        the oldest one."""
        pod = self._pods.of_container(outside.id)
        if pod is None:
            return None
        in_pod = (one for uid in pod.aliases for one in self._cgroups.containers_of_pod(uid))
        others = (one for one in self._cgroups.outside_pods(outside.id) if one.path != outside.path)
        own = min((one.id for one in self._cgroups.outside_pods(outside.id) if one.path == outside.path), default=cgroup.id)
        if any(one.id < own for one in others) or any(
            one.identity.container == outside.id and not self._root.is_elsewhere(one.path) for one in in_pod
        ):
            return Attribution(cgroup.id, _sent_path(cgroup), "host", None)
        return Attribution(cgroup.id, _sent_path(cgroup), "resolved", "status", pod.uid, pod, pod.containers[outside.id])

    def _from_path(self, number: int) -> Attribution:
        cgroup = self._cgroups.get(number)
        if cgroup is None:
            return Attribution(number, None, "unresolved", None)
        identity = cgroup.identity
        if identity.pod is None or self._root.is_elsewhere(cgroup.path):
            outside = outside_container(cgroup.path) if self._api else None
            if outside is None:
                return Attribution(number, _sent_path(cgroup), "host", None)
            container = Container(outside.id, runtime=outside.runtime)
            return Attribution(number, _sent_path(cgroup), "unresolved", "cgroup", container=container)
        pod: Pod | None = self._pods.get(identity.pod) if self._root.known else None
        of_path = Container(identity.container, runtime=identity.runtime) if identity.container else None
        return Attribution(number, _sent_path(cgroup), "unresolved", "cgroup", pod.uid if pod else identity.pod, pod, of_path)

    def _final_of(self, number: int) -> Attribution | None:
        """The sandbox, or the only container of the pod's spec that it can be. None: neither is certain."""
        cgroup = self._cgroups.get(number)
        if cgroup is None or cgroup.identity.pod is None or cgroup.identity.container is None:
            return None
        pod = self._pods.get(cgroup.identity.pod)
        if pod is None or not self._root.known or self._root.is_elsewhere(cgroup.path):
            return None
        identity, siblings = cgroup.identity, self._containers_of_pod(cgroup)
        first = next(one for one in siblings if one.identity.container == identity.container)
        if created_in_empty_pod(first, siblings):
            if not sandbox_is_certain(first, pod):
                return None
            sandbox = Container(first.identity.container or "", kind="sandbox", runtime=identity.runtime)
            return Attribution(number, _sent_path(cgroup), "resolved", "birth", pod.uid, pod, sandbox)
        # A spec that is older than the container may lack an ephemeral one, which this could be.
        planned = planned_container(first, siblings, pod, self._cgroups.seen_since(first)) if self._pods.current else None
        if planned is None:
            return None
        container = Container(identity.container or "", planned.name, planned.image, None, planned.kind, identity.runtime)
        by: Literal["spec", "order"] = "spec" if len(pod.planned) == 1 else "order"
        return Attribution(number, _sent_path(cgroup), "resolved", by, pod.uid, pod, container)

    def _containers_of_pod(self, cgroup: Cgroup) -> list[Cgroup]:
        """The cgroup of each container that the pod has or had, in the order of their creation."""
        found: dict[str | None, Cgroup] = {}
        for one in self._cgroups.containers_of_pod(cgroup.identity.pod or ""):
            before = found.get(one.identity.container)
            if not self._root.is_elsewhere(one.path) and (before is None or one.id < before.id):
                found[one.identity.container] = one
        return sorted(found.values(), key=lambda one: one.id)


def _sent_path(cgroup: Cgroup) -> str | None:
    """None when it is longer than what a collector takes: a container may nest directories without an end."""
    return cgroup.path if len(cgroup.path) <= MAX_CGROUP_PATH else None
