"""The workloads: pods from their manifests, and the script that forks, counts and marks its forks. Pure."""

from __future__ import annotations

import copy
import hashlib
import re
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import yaml

from dev.demo.kubernetes.pod_objects import QOS_CLASS

__all__ = ["KINDS", "SCRIPT", "Forks", "WorkloadPod", "forks_of", "pods", "qos_of", "waiting"]

_MANIFESTS: Final = Path(__file__).with_name("workloads.yaml")
_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"  # of Kubernetes' random names
_COMM: Final = 15  # bytes that the kernel keeps of a command's name
_STATIC: Final = "kubernetes.io/config.source"

# What each number is, as the table names it.
KINDS: Final = {
    "01": "init container", "02": "sidecar", "03": "Deployment, 2 replicas", "04": "StatefulSet", "05": "DaemonSet",
    "06": "CronJob", "07": "crash loop", "08": "one-shot Pod", "09": "static pod, hostPID", "10": "ephemeral container",
    "11": "exec", "12": "postStart that blocks", "13": "shared pid namespace", "14": "deleted within a second",
}  # fmt: skip

# A copy of busybox under a name of its own marks the forks: the parent's comm of each is the number of the workload and the end
# of the pod's name, whatever cgroup they are in. A command that is named by its path is a fork, and nothing else here is one.
SCRIPT: Final = r"""
name=$(hostname)
mark=$(printf 'busybox-%s%.5s' "$WORKLOAD" "${name##*-}")
cp /bin/busybox "/tmp/$mark"
exec "/tmp/$mark" sh -c '
trap "stop=1" TERM
n=0
echo "mark $0"
while [ -z "$stop" ] && { [ -z "$FORKS" ] || [ "$n" -lt "$FORKS" ]; }; do
    /bin/true
    n=$((n + 1))
    [ -n "$FORKS" ] || { /bin/sleep 0.2; n=$((n + 1)); }
done
echo "forks $n"
exit "${CODE:-0}"
' "$mark"
"""


@dataclass(frozen=True)
class WorkloadPod:
    """A pod as the API server has it. `cgroup_uid`: in the path of its cgroup."""

    document: dict[str, Any]
    cgroup_uid: str

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.document["metadata"]["uid"])

    @property
    def namespace(self) -> str:
        return str(self.document["metadata"]["namespace"])

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.document["spec"])


class Forks(NamedTuple):
    """What one container counted. `mark`: the comm of the parent of each of its forks."""

    mark: str
    count: int


def forks_of(log: str) -> Forks | None:
    """From what the script printed; None as long as it has not ended."""
    found = re.search(r"^mark (\S+)\n(?:.*\n)*?forks (\d+)$", log, re.MULTILINE)
    return Forks(found[1][:_COMM], int(found[2])) if found else None


def pods(node: str, now: str) -> Iterator[WorkloadPod]:
    """Those that controllers would make of the manifests, with the script in place. `now`: RFC 3339."""
    for manifest in yaml.safe_load_all(_MANIFESTS.read_text()):
        if manifest["kind"] == "Namespace":
            continue
        for name, template, owner in _templates(manifest):
            yield _pod(manifest["metadata"]["namespace"], name, copy.deepcopy(template), owner, node, now)


def _templates(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], tuple[str, str] | None]]:
    """Name, template, and kind and name of the owner."""
    kind, name, spec = manifest["kind"], manifest["metadata"]["name"], manifest["spec"]
    if kind == "Deployment":
        replica_set = f"{name}-{_random(9)}"
        template = copy.deepcopy(spec["template"])
        template["metadata"]["labels"]["pod-template-hash"] = replica_set.rpartition("-")[2]
        for _ in range(spec["replicas"]):
            yield f"{replica_set}-{_random(5)}", template, ("ReplicaSet", replica_set)
    elif kind == "StatefulSet":
        yield f"{name}-0", spec["template"], (kind, name)
    elif kind == "DaemonSet":
        yield f"{name}-{_random(5)}", spec["template"], (kind, name)
    elif kind == "CronJob":
        job = f"{name}-29922947"
        yield f"{job}-{_random(5)}", spec["jobTemplate"]["spec"]["template"], ("Job", job)
    else:
        yield name, manifest, None


def _pod(
    namespace: str, name: str, template: dict[str, Any], owner: tuple[str, str] | None, node: str, now: str
) -> WorkloadPod:
    given = template.get("metadata", {})
    metadata: dict[str, Any] = {
        "name": name, "namespace": namespace, "uid": str(uuid.uuid4()), "resourceVersion": "0", "creationTimestamp": now,
        "labels": given.get("labels", {}), "annotations": given.get("annotations", {}),
    }  # fmt: skip
    cgroup_uid = metadata["uid"]
    if _STATIC in metadata["annotations"]:
        cgroup_uid = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
        metadata["name"] = f"{name}-{node}"
        metadata["annotations"] |= {"kubernetes.io/config.hash": cgroup_uid, "kubernetes.io/config.mirror": cgroup_uid}
        owner = ("Node", node)
    if owner:
        reference = {"apiVersion": "v1", "kind": owner[0], "name": owner[1], "uid": str(uuid.uuid4()), "controller": True}
        metadata["ownerReferences"] = [reference]
    spec = {"restartPolicy": "Always", **template["spec"], "nodeName": node}
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        container["command"] = ["sh", "-c", SCRIPT]
    status: dict[str, Any] = {"phase": "Pending", "startTime": now, "qosClass": QOS_CLASS[qos_of(spec)]}
    for key, containers in (("initContainerStatuses", "initContainers"), ("containerStatuses", "containers")):
        status[key] = [waiting(one) for one in spec.get(containers, [])]
    return WorkloadPod({"metadata": metadata, "spec": spec, "status": status}, cgroup_uid)


def waiting(container: dict[str, Any]) -> dict[str, Any]:
    """The status of a container that has not started."""
    state = {"waiting": {"reason": "PodInitializing"}}
    return {"name": container["name"], "state": state, "lastState": {}, "ready": False, "restartCount": 0, "started": False,
            "image": container["image"], "imageID": ""}  # fmt: skip


def qos_of(spec: dict[str, Any]) -> Literal["guaranteed", "burstable", "besteffort"]:
    """By kubernetes.io/docs/concepts/workloads/pods/pod-qos."""
    given = [one.get("resources", {}) for one in [*spec.get("initContainers", []), *spec["containers"]]]
    if not any(one.get("requests") or one.get("limits") for one in given):
        return "besteffort"
    limits = [one.get("limits", {}) for one in given]
    guaranteed = all(one.keys() >= {"cpu", "memory"} for one in limits) and all(
        one.get("requests", one["limits"]) == one["limits"] for one in given
    )
    return "guaranteed" if guaranteed else "burstable"


def _random(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
