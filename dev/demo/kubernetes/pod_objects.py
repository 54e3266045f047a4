"""Pods as JSON objects, in the shape that a real kube-apiserver 1.36 and its kubelet gave them.

The shapes are those of tests/data/kubernetes-1.36. What only a scheduler or another controller reads (managedFields, volumes,
tolerations) is left out. Pure.
"""

import copy
from dataclasses import dataclass
from typing import Any

from dev.demo.containers.bundles import Qos

Json = dict[str, Any]

IMAGE = "docker.io/library/busybox:1.36"
IMAGE_ID = "sha256:739ee3b6c50cf64adec9ff28d221fddb7269a803cbf9f5870d036cedb6440ec6"
_RESOURCES: dict[Qos, Json] = {
    "guaranteed": {"limits": {"cpu": "100m", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
    "burstable": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "10m", "memory": "16Mi"}},
    "besteffort": {},
}
QOS_CLASS: dict[Qos, str] = {"guaranteed": "Guaranteed", "burstable": "Burstable", "besteffort": "BestEffort"}


@dataclass(frozen=True)
class Owner:
    """The pod's controller: its entry in `ownerReferences`."""

    kind: str  # ReplicaSet, Job, DaemonSet, StatefulSet, Node
    name: str
    uid: str

    @property
    def api_version(self) -> str:
        return {"Job": "batch/v1", "Node": "v1"}.get(self.kind, "apps/v1")


@dataclass(frozen=True)
class Pod:
    """The description of a pod. `containers`: pairs of name and command."""

    namespace: str
    name: str
    uid: str
    containers: tuple[tuple[str, tuple[str, ...]], ...]
    node: str = "node1"
    labels: tuple[tuple[str, str], ...] = ()
    owner: Owner | None = None
    qos: Qos = "burstable"
    service_account: str = "default"


def scheduled(pod: Pod, now: str) -> Json:
    """The object when it is bound to its node, and no container has started. `now`: RFC 3339 with whole seconds."""
    metadata: Json = {
        "name": pod.name,
        "namespace": pod.namespace,
        "uid": pod.uid,
        "resourceVersion": "0",
        "generation": 1,
        "creationTimestamp": now,
    }
    if pod.labels:
        metadata["labels"] = dict(pod.labels)
    if pod.owner is not None:
        metadata["generateName"] = pod.name[: pod.name.rindex("-") + 1]
        reference = {"apiVersion": pod.owner.api_version, "kind": pod.owner.kind, "name": pod.owner.name, "uid": pod.owner.uid}
        metadata["ownerReferences"] = [{**reference, "controller": True, "blockOwnerDeletion": True}]
    resources = _RESOURCES[pod.qos]
    return {
        "metadata": metadata,
        "spec": {
            "containers": [
                {"name": name, "image": IMAGE, "command": list(command), "resources": copy.deepcopy(resources)}
                for name, command in pod.containers
            ],
            "restartPolicy": "Never" if pod.owner is not None and pod.owner.kind == "Job" else "Always",
            "terminationGracePeriodSeconds": 30,
            "serviceAccountName": pod.service_account,
            "serviceAccount": pod.service_account,
            "nodeName": pod.node,
        },
        "status": {
            "phase": "Pending",
            "conditions": [_condition("PodScheduled", True, now)],
            "startTime": now,
            "containerStatuses": [
                {
                    "name": name,
                    "state": {"waiting": {"reason": "ContainerCreating"}},
                    "lastState": {},
                    "ready": False,
                    "restartCount": 0,
                    "image": IMAGE,
                    "imageID": "",
                    "started": False,
                }
                for name, _ in pod.containers
            ],
            "qosClass": QOS_CLASS[pod.qos],
        },
    }


def running(pod: Json, container: str, container_id: str, now: str) -> Json:
    """The object when this container runs (again): an earlier end of it moves to `lastState` and counts as a restart."""
    status = _status(pod := copy.deepcopy(pod), container)
    if "terminated" in status["state"]:
        status["lastState"] = status["state"]
        status["restartCount"] += 1
    status["state"] = {"running": {"startedAt": now}}
    status.update(ready=True, started=True, containerID=f"containerd://{container_id}", imageID=IMAGE_ID)
    return _with_phase(pod, now)


def terminated(pod: Json, container: str, exit_code: int, now: str, container_id: str | None = None) -> Json:
    """The object when this container has ended. Give its id if it ended before it was reported as running."""
    status = _status(pod := copy.deepcopy(pod), container)
    if container_id is not None:
        status.update(containerID=f"containerd://{container_id}", imageID=IMAGE_ID)
    status["state"] = {
        "terminated": {
            "exitCode": exit_code,
            "reason": "Error" if exit_code else "Completed",
            "startedAt": status["state"].get("running", {}).get("startedAt", now),
            "finishedAt": now,
            "containerID": status["containerID"],
        }
    }
    status.update(ready=False, started=False)
    return _with_phase(pod, now)


def being_deleted(pod: Json, now: str) -> Json:
    """The object between the request to delete it and its end."""
    pod = copy.deepcopy(pod)
    pod["metadata"].update(deletionTimestamp=now, deletionGracePeriodSeconds=30, generation=2)
    return pod


def _status(pod: Json, container: str) -> Json:
    lists = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    found: Json = next(one for name in lists for one in pod["status"].get(name, []) if one["name"] == container)
    return found


def _with_phase(pod: Json, now: str) -> Json:
    """Sets phase and conditions from the containers' states, as a kubelet does."""
    states = [status["state"] for status in pod["status"]["containerStatuses"]]
    ended = [state["terminated"]["exitCode"] for state in states if "terminated" in state]
    over = len(ended) == len(states) and pod["spec"]["restartPolicy"] == "Never"
    if over:
        pod["status"]["phase"] = "Failed" if any(ended) else "Succeeded"
    elif any("waiting" not in state for state in states):
        pod["status"]["phase"] = "Running"
    ready = all("running" in state for state in states)
    pod["status"]["conditions"] = [
        _condition("PodReadyToStartContainers", not over, now),
        _condition("Initialized", True, now),
        _condition("Ready", ready, now),
        _condition("ContainersReady", ready, now),
        _condition("PodScheduled", True, now),
    ]
    return pod


def _condition(kind: str, is_true: bool, now: str) -> Json:
    return {"type": kind, "status": str(is_true), "lastProbeTime": None, "lastTransitionTime": now}
