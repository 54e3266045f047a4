"""What a kubelet requests from the runtime for a pod template.

As kubelet 1.36 does it for Linux (pkg/kubelet/kuberuntime, pkg/securitycontext/util.go).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol

__all__ = ["RECURSIVE", "NodePod", "PodApi", "bytes_of", "container_config", "sandbox_config"]

RECURSIVE: Final = "forklore.test/recursive-read-only"  # containerd before 2 knows no recursive_read_only: see runc_wrapper.py
_POD, _CONTAINER, _NODE = 0, 1, 2  # NamespaceMode
_RUNTIME_DEFAULT, _UNCONFINED = 0, 1  # SecurityProfile.ProfileType
# What a runtime hides and what it shows read-only, unless a container is privileged (procMount: Default).
_MASKED: Final = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_BURSTABLE_OOM: Final = 990  # of 1000: about what requests of some hundred MiB come to
_UNITS: Final = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_KNOWN_SECURITY: Final = {
    "privileged", "readOnlyRootFilesystem", "runAsUser", "runAsNonRoot", "allowPrivilegeEscalation", "seccompProfile",
    "capabilities", "seLinuxOptions",  # no node here has SELinux
}  # fmt: skip


class PodApi(Protocol):
    """What a kubelet needs of an API server for a pod."""

    host: str
    port: int
    ca: str  # PEM

    def token(self, pod: NodePod, audience: str | None, seconds: int) -> str:
        """A token of the pod's service account (TokenRequest). `audience` None: the API server's own."""
        ...

    def files(self, kind: Literal["configmaps", "secrets"], namespace: str, name: str) -> Mapping[str, str] | None:
        """The object's data; None where there is no such object."""
        ...


@dataclass(frozen=True)
class NodePod:
    """A pod on a node. `home`: the folder of its volumes. `cgroup`: of the pod, from the root of a hierarchy."""

    name: str
    namespace: str
    uid: str
    spec: Mapping[str, Any]
    home: Path
    node: str
    api: PodApi | None = None
    hosts: Mapping[str, str] = field(default_factory=dict)  # addresses by name, in place of a cluster's DNS
    qos: Literal["guaranteed", "burstable", "besteffort"] = "burstable"

    @property
    def cgroup(self) -> str:
        return f"/kubepods/pod{self.uid}" if self.qos == "guaranteed" else f"/kubepods/{self.qos}/pod{self.uid}"

    def with_containers(self, containers: list[dict[str, Any]]) -> NodePod:
        return replace(self, spec={**self.spec, "containers": containers})

    def container(self, name: str) -> Mapping[str, Any]:
        """An app, init or ephemeral container's part of the spec."""
        kinds = ("containers", "initContainers", "ephemeralContainers")
        return next(one for kind in kinds for one in self.spec.get(kind, []) if one["name"] == name)


def sandbox_config(pod: NodePod) -> dict[str, Any]:
    unknown = {"hostIPC", "hostUsers"} & pod.spec.keys()
    if unknown:
        raise ValueError(f"{pod.name}: this kubelet does not know {sorted(unknown)}")
    return {
        "metadata": {"name": pod.name, "uid": pod.uid, "namespace": pod.namespace},
        "hostname": "" if pod.spec.get("hostNetwork") else pod.name[:63],
        "log_directory": str(pod.home / "logs"),
        "linux": {
            "cgroup_parent": pod.cgroup,
            "security_context": {
                "namespace_options": _namespaces(pod),
                "privileged": any(_security(one).get("privileged", False) for one in pod.spec["containers"]),
                "seccomp": {"profile_type": _RUNTIME_DEFAULT},
            },
        },
    }


def _namespaces(pod: NodePod) -> dict[str, Any]:
    pid = _POD if pod.spec.get("shareProcessNamespace") else _CONTAINER
    return {
        "network": _NODE if pod.spec.get("hostNetwork") else _POD,
        "pid": _NODE if pod.spec.get("hostPID") else pid,
        "ipc": _POD,
    }


def container_config(
    pod: NodePod, container: Mapping[str, Any], mounts: list[dict[str, Any]], attempt: int = 0
) -> dict[str, Any]:
    """`mounts`: of `volumes.mounts`."""
    recursive = [one["container_path"] for one in mounts if one.get("recursive_read_only")]
    return {
        "metadata": {"name": container["name"], "attempt": attempt},
        "image": {"image": container["image"]},
        "command": container.get("command", []),
        "args": container.get("args", []),
        "envs": [{"key": key, "value": value} for key, value in _environment(pod, container).items()],
        "mounts": mounts,
        "annotations": [{"key": RECURSIVE, "value": json.dumps(recursive)}],
        "log_path": f"{container['name']}-{attempt}.log",
        "linux": {"resources": _resources(container), "security_context": security_context(pod, container)},
    }


def security_context(pod: NodePod, container: Mapping[str, Any]) -> dict[str, Any]:
    given = _security(container)
    profile = given.get("seccompProfile", pod.spec.get("securityContext", {}).get("seccompProfile"))
    if profile not in (None, {"type": "RuntimeDefault"}) or not given.keys() <= _KNOWN_SECURITY:
        raise ValueError(f"{pod.name}: this kubelet does not know all of {given}")
    group = pod.spec.get("securityContext", {}).get("fsGroup")
    capabilities = given.get("capabilities", {})
    requested: dict[str, Any] = {
        "capabilities": {"add_capabilities": capabilities.get("add", []), "drop_capabilities": capabilities.get("drop", [])},
        "privileged": given.get("privileged", False),
        "namespace_options": _namespaces(pod),
        "readonly_rootfs": given.get("readOnlyRootFilesystem", False),
        "no_new_privs": given.get("allowPrivilegeEscalation") is False,
        "masked_paths": list(_MASKED),
        "readonly_paths": list(_READ_ONLY),
        "seccomp": {"profile_type": _RUNTIME_DEFAULT if profile else _UNCONFINED},
        "supplemental_groups": [group] if group is not None else [],
    }
    if "runAsUser" in given:
        requested["run_as_user"] = {"value": given["runAsUser"]}
    return requested


def bytes_of(quantity: str) -> int:
    return next((int(quantity[:-2]) * factor for unit, factor in _UNITS.items() if quantity.endswith(unit)), 0) or int(quantity)


def _security(container: Mapping[str, Any]) -> dict[str, Any]:
    return dict(container.get("securityContext", {}))


def _resources(container: Mapping[str, Any]) -> dict[str, Any]:
    given = container.get("resources", {})
    limits = given.get("limits", {})
    memory = bytes_of(limits["memory"]) if "memory" in limits else 0
    made = {"cpu_shares": max(2, _milli(given.get("requests", {}).get("cpu", "2m")) * 1024 // 1000)}
    if "cpu" in limits:
        made |= {"cpu_period": 100_000, "cpu_quota": _milli(limits["cpu"]) * 100}
    return {**made, "memory_limit_in_bytes": memory, "oom_score_adj": _BURSTABLE_OOM}


def _milli(cpu: object) -> int:
    text = str(cpu)
    return int(text.removesuffix("m")) if text.endswith("m") else int(float(text) * 1000)


def _environment(pod: NodePod, container: Mapping[str, Any]) -> dict[str, str]:
    fields = {"spec.nodeName": pod.node, "metadata.name": pod.name, "metadata.namespace": pod.namespace}
    given = {}
    if pod.api:
        given = {"KUBERNETES_SERVICE_HOST": pod.api.host, "KUBERNETES_SERVICE_PORT": str(pod.api.port)}
    for one in container.get("env", []):
        given[one["name"]] = one["value"] if "value" in one else fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
    return given
