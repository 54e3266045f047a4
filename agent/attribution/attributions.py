"""Both directories made into one answer: whose is this cgroup? Asking is one look into a dict, and never waits.

Must not live here: requests, the kernel, and events that wait (enrich has those).
"""

from __future__ import annotations

from agent.attribution.cgroups import Cgroup, Cgroups
from agent.attribution.pods import Pods
from agent.model import Attribution, Container, Pod

__all__ = ["Attributions"]


class Attributions:
    """`api`: whether there is a Kubernetes API to hear from; without one nothing is worth waiting for."""

    def __init__(self, cgroups: Cgroups, pods: Pods, *, api: bool) -> None:
        self._cgroups = cgroups
        self._pods = pods
        self._api = api
        self._resolved: dict[int, Attribution] = {}
        self._final: dict[int, Attribution] = {}
        self._pods_version = -1

    def find(self, cgroup: int) -> Attribution | None:
        """None: not known yet, and it may be soon."""
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
        """What can be said now, without giving anything up."""
        return self.find(cgroup) or self._from_path(cgroup)

    def resolve_final(self, cgroup: int) -> Attribution:
        """Something has waited long enough. From here on nothing of this cgroup waits, until the API says more."""
        found = self.find(cgroup)
        if found is None:
            found = self._final[cgroup] = self._sandbox(cgroup) or self._from_path(cgroup)
        return found

    def cgroup_changed(self, cgroup: int) -> None:
        """Born, or forgotten: an id that comes again is another's."""
        self._resolved.pop(cgroup, None)
        self._final.pop(cgroup, None)

    def _pods_changed(self) -> None:
        self._pods_version = self._pods.version
        # What hangs on a pod is looked up anew, so that a label that changed shows; the rest can't have changed.
        for cgroup, attribution in list(self._resolved.items()):
            if attribution.pod_uid is not None and (
                attribution.pod is None or self._pods.get(attribution.pod_uid) is not attribution.pod
            ):
                del self._resolved[cgroup]
        for cgroup, attribution in list(self._final.items()):
            if attribution.pod_uid is None or self._pods.get(attribution.pod_uid) is not attribution.pod:
                # What was found to be a sandbox stays one until a status names it; the rest is worth waiting for again.
                sandbox = self._sandbox(cgroup) if attribution.by == "birth" and self._resolve(cgroup) is None else None
                if sandbox:
                    self._final[cgroup] = sandbox
                else:
                    del self._final[cgroup]

    def _resolve(self, number: int) -> Attribution | None:
        cgroup = self._cgroups.get(number)
        if cgroup is None:
            # A fork in a cgroup whose birth was not heard of: the walk that follows a loss will find it, or nobody will.
            return None
        identity = cgroup.identity
        if identity.pod is None:
            return Attribution(number, cgroup.path, "host", None)
        pod = self._pods.get(identity.pod)
        if pod is None:
            return None if self._api else self._from_path(number)
        if identity.container is None:
            return Attribution(number, cgroup.path, "resolved", "status", pod.uid, pod)
        container = pod.containers.get(identity.container)
        if container is None:
            return None
        return Attribution(number, cgroup.path, "resolved", "status", pod.uid, pod, container)

    def _from_path(self, number: int) -> Attribution:
        cgroup = self._cgroups.get(number)
        if cgroup is None:
            return Attribution(number, None, "unresolved", None)
        identity = cgroup.identity
        if identity.pod is None:
            return Attribution(number, cgroup.path, "host", None)
        pod: Pod | None = self._pods.get(identity.pod)
        container = Container(identity.container, runtime=identity.runtime) if identity.container else None
        return Attribution(number, cgroup.path, "unresolved", "cgroup", pod.uid if pod else identity.pod, pod, container)

    def _sandbox(self, number: int) -> Attribution | None:
        """The pod is known, the container is in none of its statuses, and it was born into an empty pod: the sandbox."""
        cgroup = self._cgroups.get(number)
        if cgroup is None or cgroup.identity.pod is None or cgroup.identity.container is None:
            return None
        pod = self._pods.get(cgroup.identity.pod)
        if pod is None or not self._born_into_an_empty_pod(cgroup):
            return None
        container = Container(cgroup.identity.container, kind="sandbox", runtime=cgroup.identity.runtime)
        return Attribution(number, cgroup.path, "resolved", "birth", pod.uid, pod, container)

    def _born_into_an_empty_pod(self, cgroup: Cgroup) -> bool:
        """No other container of the pod was there already. A sandbox that is made anew comes when the others are gone."""
        siblings = list(self._cgroups.containers_of_pod(cgroup))
        first = min((one for one in siblings if one.identity.container == cgroup.identity.container), key=lambda one: one.id)
        return not any(
            one.id < first.id and (one.removed is None or one.removed > first.created)  # kernfs gives ids in rising order
            for one in siblings
            if one.identity.container != cgroup.identity.container
        )
