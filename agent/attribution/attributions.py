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
        self._settled: dict[int, Attribution] = {}
        self._given_up: dict[int, Attribution] = {}
        self._pods_version = -1

    def find(self, cgroup: int) -> Attribution | None:
        """None: not known yet, and it may be soon."""
        if self._pods_version != self._pods.version:
            self._pods_changed()
        found = self._settled.get(cgroup)
        if found is None:
            found = self._look(cgroup)
            if found is None:
                return self._given_up.get(cgroup)
            self._settled[cgroup] = found
        return found

    def resolve_now(self, cgroup: int) -> Attribution:
        """What can be said now, without giving anything up."""
        return self.find(cgroup) or self._from_path(cgroup)

    def resolve_final(self, cgroup: int) -> Attribution:
        """Something has waited long enough. From here on nothing of this cgroup waits, until the API says more."""
        found = self.find(cgroup)
        if found is None:
            found = self._given_up[cgroup] = self._sandbox(cgroup) or self._from_path(cgroup)
        return found

    def cgroup_changed(self, cgroup: int) -> None:
        """Born, or forgotten: an id that comes again is another's."""
        self._settled.pop(cgroup, None)
        self._given_up.pop(cgroup, None)

    def _pods_changed(self) -> None:
        self._pods_version = self._pods.version
        # What hangs on a pod is looked up anew, so that a label that changed shows; the rest can't have changed.
        for cgroup, attribution in list(self._settled.items()):
            if attribution.pod_uid is not None and (
                attribution.pod is None or self._pods.get(attribution.pod_uid) is not attribution.pod
            ):
                del self._settled[cgroup]
        for cgroup, attribution in list(self._given_up.items()):
            if attribution.pod_uid is None or self._pods.get(attribution.pod_uid) is not attribution.pod:
                # What was found to be a sandbox stays one until a status names it; the rest is worth waiting for again.
                sandbox = self._sandbox(cgroup) if attribution.by == "birth" and self._look(cgroup) is None else None
                if sandbox:
                    self._given_up[cgroup] = sandbox
                else:
                    del self._given_up[cgroup]

    def _look(self, number: int) -> Attribution | None:
        cgroup = self._cgroups.get(number)
        if cgroup is None:
            # A fork in a cgroup whose birth was not heard of: the walk that follows a loss will find it, or nobody will.
            return None
        place = cgroup.place
        if place.pod is None:
            return Attribution(number, cgroup.path, "host", None)
        pod = self._pods.get(place.pod)
        if pod is None:
            return None if self._api else self._from_path(number)
        if place.container is None:
            return Attribution(number, cgroup.path, "resolved", "status", pod.uid, pod)
        container = pod.containers.get(place.container)
        if container is None:
            return None
        return Attribution(number, cgroup.path, "resolved", "status", pod.uid, pod, container)

    def _from_path(self, number: int) -> Attribution:
        cgroup = self._cgroups.get(number)
        if cgroup is None:
            return Attribution(number, None, "unresolved", None)
        place = cgroup.place
        if place.pod is None:
            return Attribution(number, cgroup.path, "host", None)
        pod: Pod | None = self._pods.get(place.pod)
        container = Container(place.container, runtime=place.runtime) if place.container else None
        return Attribution(number, cgroup.path, "unresolved", "cgroup", pod.uid if pod else place.pod, pod, container)

    def _sandbox(self, number: int) -> Attribution | None:
        """The pod is known, the container is in none of its statuses, and it was born into an empty pod: the sandbox."""
        cgroup = self._cgroups.get(number)
        if cgroup is None or cgroup.place.pod is None or cgroup.place.container is None:
            return None
        pod = self._pods.get(cgroup.place.pod)
        if pod is None or not self._born_into_an_empty_pod(cgroup):
            return None
        container = Container(cgroup.place.container, kind="sandbox", runtime=cgroup.place.runtime)
        return Attribution(number, cgroup.path, "resolved", "birth", pod.uid, pod, container)

    def _born_into_an_empty_pod(self, cgroup: Cgroup) -> bool:
        """No other container of the pod was there already. A sandbox that is made anew comes when the others are gone."""
        siblings = list(self._cgroups.siblings(cgroup))
        first = min((one for one in siblings if one.place.container == cgroup.place.container), key=lambda one: one.id)
        return not any(
            one.id < first.id and (one.died is None or one.died > first.born)  # kernfs gives ids in rising order
            for one in siblings
            if one.place.container != cgroup.place.container
        )
