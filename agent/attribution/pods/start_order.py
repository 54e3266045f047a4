"""Which container of its pod's spec a cgroup is, while no status names it: only where nothing else is possible. Pure.

What it follows from (Kubernetes' kuberuntime_manager.go and kuberuntime_container.go; containerd, cri-dockerd):

* The sandbox is created in an empty pod: before it, all that ran in the pod was stopped.
* Init containers start one after another. One that is not restartable has ended with exit code 0 before the next one starts,
  and then never runs again in this sandbox; a restartable one (a sidecar) has started before the next one does.
* Containers start when all init containers have. Their order decides nothing: one whose image can't be pulled is passed over.
* No container runs twice at once. containerd and Docker remove the cgroup of one that ended before they say that it has.
* Ephemeral containers start at any time after the sandbox, and never again.

CRI-O may leave out the sandbox, and may keep the cgroup of a container that ended; a RuntimeClass may bring a runtime that is
unknown here. Of those nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from agent.attribution.cgroups import Cgroup
from agent.model import PlannedContainer, Pod

__all__ = ["created_in_empty_pod", "planned_container", "sandbox_is_certain"]

_CRI_O: Final = "cri-o"


def created_in_empty_pod(cgroup: Cgroup, siblings: Iterable[Cgroup]) -> bool:
    """Whether no other container of the pod can have existed then. `siblings`: the first cgroup of each container of it."""
    # kernfs gives ids in rising order.
    return not any(one.id < cgroup.id and (one.removed is None or one.removed > cgroup.created) for one in siblings)


def sandbox_is_certain(cgroup: Cgroup, pod: Pod) -> bool:
    """Whether the cgroup, created in an empty pod and in no status, can only be the sandbox. With CRI-O: when it exists while
    the statuses name all containers, or it could be the first of them."""
    if cgroup.identity.runtime != _CRI_O:
        return True
    named = {one.name for one in pod.containers.values()}
    return cgroup.removed is None and bool(pod.planned) and all(one.name in named for one in pod.planned)


def planned_container(cgroup: Cgroup, siblings: Sequence[Cgroup], pod: Pod, seen_since: int) -> PlannedContainer | None:
    """None: several are possible, or too little is known.

    `cgroup`: a container's, in no status. `siblings`: as above, in the order of their creation, those that were removed, too.
    `seen_since`: from this moment on every creation in this pod is among them, boottime ns.
    """
    if pod.runtime_class or any(one.identity.runtime == _CRI_O for one in siblings):
        return None
    sandbox = _sandbox_before(cgroup, siblings)
    if sandbox is None or sandbox.identity.container in pod.containers or not sandbox.created > seen_since:
        return None
    since = [one for one in siblings if sandbox.id < one.id < cgroup.id]
    names = [pod.containers[one.identity.container or ""].name for one in since if one.identity.container in pod.containers]
    if len(names) < len(since):
        return None  # one that no status has named: what it was, and what could follow it, is not known
    candidates = _candidates(pod, {one.name for one in pod.containers.values()}, set(names), _running(cgroup, since, pod))
    return candidates[0] if len(candidates) == 1 else None


def _candidates(pod: Pod, named: set[str | None], ran: set[str | None], running: set[str | None]) -> list[PlannedContainer]:
    """`named`: by a status, ever; `ran`: in this sandbox before the cgroup was created; `running`: still, at that moment."""
    if any(one.kind == "ephemeral" and one.name not in named for one in pod.planned):
        return []
    for one in pod.planned:
        if one.kind == "init":
            satisfied = one.name in ran and one.succeeded
        elif one.kind == "sidecar":
            satisfied = one.name in running
        else:
            continue
        if not satisfied:
            # One that ran may run again, or may have ended so that the next one could start.
            return [] if one.name in named else [one]
    return [one for one in pod.planned if one.kind == "app" and one.name not in running]


def _sandbox_before(cgroup: Cgroup, siblings: Sequence[Cgroup]) -> Cgroup | None:
    """The last one before this cgroup that was created in an empty pod. None: it has certainly not been there any more."""
    empty = [one for one in siblings if one.id < cgroup.id and created_in_empty_pod(one, siblings)]
    return empty[-1] if empty and _existed(empty[-1], cgroup) else None


def _existed(one: Cgroup, cgroup: Cgroup) -> bool:
    """Whether it was certainly there when the cgroup, a later one, was created."""
    return one.removed is None or (cgroup.created > 0 and one.removed > cgroup.created)


def _running(cgroup: Cgroup, since: Iterable[Cgroup], pod: Pod) -> set[str | None]:
    return {pod.containers[one.identity.container or ""].name for one in since if _existed(one, cgroup)}
