"""Runs the workloads on a node, as a kubelet does: containers in their order, hooks, restarts, and statuses that come late.

A container's status has its id about a second after its start, as in the recorded cluster, and not before its postStart hook
has ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dev.cluster.api_server import ApiServer
from dev.cluster.later import Later
from dev.cluster.node.busybox_image import busybox_image
from dev.cluster.node.container import Container, until
from dev.cluster.node.containerd import Node
from dev.cluster.node.kubelet import NodePod
from dev.cluster.workloads import SCRIPT, Forks, WorkloadPod, forks_of, pods, qos_of, waiting
from dev.demo.kubernetes.cluster import Cluster
from dev.demo.workloads import STATUS_DELAY

__all__ = ["Counted", "StandIn"]

_IMAGE: Final = "docker.io/library/busybox:1.36"
_APPLETS: Final = ("sh", "cp", "env", "hostname", "printf", "sleep", "true")
_RESTARTS: Final = 2  # of the crash loop; a kubelet waits 10 s, 20 s, ... between them
_RESTART_S: Final = 1.0
_GRACE_S: Final = 10


class Counted:
    """The forks of one container, or of a command in one, by its own count. `what`: pod and container, as the API has them."""

    def __init__(self, namespace: str, pod: str, container: str, forks: Forks) -> None:
        self.what = (namespace, pod, container)
        self.forks = forks

    @property
    def number(self) -> str:
        """Of its workload."""
        return self.forks.mark.removeprefix("busybox-")[:2]


class StandIn:
    """`folder`: for the pods' volumes. A context manager; what it has started is gone at its end."""

    def __init__(self, node: Node, api: ApiServer, folder: Path, name: str) -> None:
        self._node, self._api, self._folder, self._name = node, api, folder, name
        self._sandboxes: dict[str, tuple[str, str]] = {}  # by uid of the pod
        self._running: list[tuple[WorkloadPod, str, Container]] = []
        self._ended: list[Counted] = []
        self._statuses = Later()
        self._hooks: list[threading.Thread] = []

    def __enter__(self) -> StandIn:
        self._node.import_archive(busybox_image(_IMAGE, ("sh",), _APPLETS))
        self._statuses.start()
        return self

    def __exit__(self, *_: object) -> None:
        for sandbox, _address in self._sandboxes.values():
            self._node.remove(sandbox)
        for hook in self._hooks:
            hook.join()
        self._statuses.stop()

    def start(self) -> None:
        """All workloads, one pod after the other; the rest of their lives is `finish`'s."""
        for pod in pods(self._name, _now()):
            self._api.change(lambda cluster, pod=pod: cluster.add_pod(pod.document))  # type: ignore[misc]
            self._start_pod(pod)
        self._debug(self._running_pod("db-0"), "10")
        self._exec("logs-", "11")

    def finish(self) -> list[Counted]:
        """Ends the containers that go on until SIGTERM; what each container has counted."""
        for hook in self._hooks:
            hook.join()
        for pod, name, container in self._running:
            container.stop(_GRACE_S)
            self._take(pod, name, container)
        self._running.clear()
        return self._ended

    def _start_pod(self, pod: WorkloadPod) -> None:
        placed = self._placed(pod)
        self._sandboxes[pod.uid] = self._node.sandbox(placed)
        for one in pod.spec.get("initContainers", []):
            container = self._start_container(pod, placed, one["name"])
            if one.get("restartPolicy") != "Always":
                until(lambda container=container: not container.running(), f"{one['name']} has ended")  # type: ignore[misc]
                self._end(pod, one["name"], container)
        for one in pod.spec["containers"]:
            hook = one.get("lifecycle", {}).get("postStart")
            container = self._start_container(pod, placed, one["name"], hook)
            if _forks(one) is not None:
                self._follow(pod, placed, one, container)

    def _placed(self, pod: WorkloadPod) -> NodePod:
        home = self._folder / pod.uid
        return NodePod(pod.name, pod.namespace, pod.cgroup_uid, pod.spec, home, self._name, qos=qos_of(pod.spec))

    def _start_container(
        self, pod: WorkloadPod, placed: NodePod, name: str, hook: Mapping[str, Any] | None = None, attempt: int = 0
    ) -> Container:
        container = self._node.container(placed, self._sandboxes[pod.uid], name, attempt)
        self._running.append((pod, name, container))

        def report() -> None:
            self._change(pod, lambda cluster: cluster.container_running(pod.uid, name, container.id))

        def run_hook(command: list[str]) -> None:
            container.exec(*command)
            self._statuses.run(STATUS_DELAY, report)

        if hook:
            self._hooks.append(threading.Thread(target=run_hook, args=(hook["exec"]["command"],), daemon=True))
            self._hooks[-1].start()
        else:
            self._statuses.run(STATUS_DELAY, report)
        return container

    def _change(self, pod: WorkloadPod, change: Callable[[Cluster], None]) -> None:
        """If the pod is still there."""

        def change_it(cluster: Cluster) -> None:
            if pod.uid in {one["metadata"]["uid"] for one in cluster}:
                change(cluster)

        self._api.change(change_it)

    def _follow(self, pod: WorkloadPod, placed: NodePod, spec: Mapping[str, Any], container: Container) -> None:
        """A container that ends by itself: again, if its pod restarts; the pod that is deleted is deleted now."""
        name = spec["name"]
        until(lambda: forks_of(_log(container)), f"{pod.name} has forked")
        if pod.name == "brief":
            self._end(pod, name, container)
            self._node.remove(self._sandboxes.pop(pod.uid)[0])
            self._api.change(lambda cluster: cluster.delete_pod(pod.uid))
            return
        self._end(pod, name, container)
        for attempt in range(1, _RESTARTS + 1 if pod.spec["restartPolicy"] == "Always" else 1):
            time.sleep(_RESTART_S)
            container = self._start_container(pod, placed, name, attempt=attempt)
            until(lambda container=container: forks_of(_log(container)), f"{pod.name} has forked")  # type: ignore[misc]
            self._end(pod, name, container)

    def _end(self, pod: WorkloadPod, name: str, container: Container) -> None:
        until(lambda: not container.running(), f"{pod.name} has ended")
        self._running = [one for one in self._running if one[2] is not container]
        code = int(container.status()["exit_code"])
        self._statuses.run(
            STATUS_DELAY,
            lambda: self._change(pod, lambda cluster: cluster.container_terminated(pod.uid, name, code, container.id)),
        )
        self._take(pod, name, container)

    def _take(self, pod: WorkloadPod, name: str, container: Container) -> None:
        until(lambda: forks_of(_log(container)), lambda: f"{pod.name}/{name} has counted: {_log(container)}")
        forks = forks_of(_log(container))
        if forks is None:
            raise RuntimeError(f"{pod.name}/{name} has not counted")
        self._ended.append(Counted(pod.namespace, pod.name, name, forks))

    def _running_pod(self, prefix: str) -> tuple[WorkloadPod, str, Container]:
        return next(one for one in self._running if one[0].name.startswith(prefix))

    def _debug(self, target: tuple[WorkloadPod, str, Container], number: str) -> None:
        """As `kubectl debug` adds a container to a pod that runs."""
        pod = target[0]
        command = {"command": ["sh", "-c", SCRIPT], "env": [{"name": "WORKLOAD", "value": number}]}
        added = {"name": "debugger", "image": _IMAGE, **command}
        changed = {**pod.document, "spec": {**pod.spec, "ephemeralContainers": [added]}}
        changed["status"] = {**self._api.pod(pod.uid)["status"], "ephemeralContainerStatuses": [waiting(added)]}
        self._api.change(lambda cluster: cluster.replace_pod(changed))
        self._start_container(pod, self._placed(WorkloadPod(changed, pod.cgroup_uid)), "debugger")

    def _exec(self, prefix: str, number: str) -> None:
        """As `kubectl exec` does."""
        pod, name, container = self._running_pod(prefix)
        code, out, error = container.exec("env", f"WORKLOAD={number}", "FORKS=9", "sh", "-c", SCRIPT)
        forks = forks_of(out)
        if code or forks is None:
            raise RuntimeError(f"exec in {pod.name}: {code} {error}")
        self._ended.append(Counted(pod.namespace, pod.name, name, forks))


def _log(container: Container) -> str:
    return container.log_text() + "\n" if container.log.exists() else ""


def _forks(container: Mapping[str, Any]) -> str | None:
    return next((one["value"] for one in container.get("env", []) if one["name"] == "FORKS"), None)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
