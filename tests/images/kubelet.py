"""What a kubelet makes of a pod template: the folders and files that its volumes become, and what it asks the runtime for.

As kubelet 1.36 does it for Linux (pkg/kubelet/kuberuntime, pkg/securitycontext/util.go).
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

__all__ = ["RECURSIVE", "Account", "Placed", "container_config", "placed", "sandbox_config"]

RECURSIVE: Final = "forklore.test/recursive-read-only"  # containerd before 2 knows no recursive_read_only: see runc_wrapper.py
_POD, _CONTAINER = 0, 1  # NamespaceMode
_RUNTIME_DEFAULT, _UNCONFINED = 0, 1  # SecurityProfile.ProfileType
# What a runtime hides and what it shows read-only, unless a container is privileged (procMount: Default).
_MASKED: Final = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_BURSTABLE_OOM: Final = 990  # of 1000: about what requests of some hundred MiB come to
_UNITS: Final = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


@dataclass(frozen=True)
class Account:
    """A service account's projected files, and the API server that it is for."""

    token: str
    ca: str
    host: str
    port: int


@dataclass(frozen=True)
class Placed:
    """A pod on a node. `home`: the folder of its volumes. `config_maps`, `secrets`: by name, text by key."""

    name: str
    namespace: str
    uid: str
    template: Mapping[str, Any]
    home: Path
    node: str
    config_maps: Mapping[str, Mapping[str, str]]
    secrets: Mapping[str, Mapping[str, str]]
    account: Account | None = None
    hosts: Mapping[str, str] = field(default_factory=dict)  # addresses by name, in place of a cluster's DNS

    @property
    def cgroup(self) -> str:
        return f"/kubepods/burstable/pod{self.uid}"

    def with_containers(self, containers: list[dict[str, Any]]) -> Placed:
        return replace(self, template={**self.template, "spec": {**self.spec, "containers": containers}})

    @property
    def spec(self) -> Mapping[str, Any]:
        return dict(self.template["spec"])


def placed(objects: list[dict[str, Any]], template: Mapping[str, Any], **what: Any) -> Placed:
    """With the ConfigMaps and Secrets of a render."""
    of = {kind: {one["metadata"]["name"]: one for one in objects if one["kind"] == kind} for kind in ("ConfigMap", "Secret")}
    secrets = {name: _decoded(one) for name, one in of["Secret"].items()}
    maps = {name: dict(one["data"]) for name, one in of["ConfigMap"].items()}
    return Placed(template=template, config_maps=maps, secrets=secrets, **what)


def _decoded(secret: Mapping[str, Any]) -> dict[str, str]:
    data = {key: base64.b64decode(value).decode() for key, value in secret.get("data", {}).items()}
    return data | dict(secret.get("stringData", {}))


def sandbox_config(pod: Placed) -> dict[str, Any]:
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & pod.spec.keys()
    return {
        "metadata": {"name": pod.name, "uid": pod.uid, "namespace": pod.namespace},
        "hostname": pod.name[:63],
        "log_directory": str(pod.home / "logs"),
        "linux": {
            "cgroup_parent": pod.cgroup,
            "security_context": {
                "namespace_options": {"network": _POD, "pid": _CONTAINER, "ipc": _POD},
                "privileged": any(_security(one).get("privileged", False) for one in pod.spec["containers"]),
                "seccomp": {"profile_type": _RUNTIME_DEFAULT},
            },
        },
    }


def container_config(pod: Placed, container: Mapping[str, Any], attempt: int = 0) -> dict[str, Any]:
    """Makes the volumes' folders and files, too."""
    mounts = [_mount(pod, one) for one in container.get("volumeMounts", [])]
    if pod.spec.get("automountServiceAccountToken") and pod.account:
        mounts.append(
            {
                "container_path": "/var/run/secrets/kubernetes.io/serviceaccount",
                "host_path": str(_account(pod)),
                "readonly": True,
            }
        )
    hosts = pod.home / "hosts"
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in pod.hosts.items()))
    mounts.append({"container_path": "/etc/hosts", "host_path": str(hosts), "readonly": False})
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


def security_context(pod: Placed, container: Mapping[str, Any]) -> dict[str, Any]:
    given = _security(container)
    privileged = given.get("privileged", False)
    profile = given.get("seccompProfile", pod.spec.get("securityContext", {}).get("seccompProfile"))
    assert profile in (None, {"type": "RuntimeDefault"}), profile
    group = pod.spec.get("securityContext", {}).get("fsGroup")
    capabilities = given.get("capabilities", {})
    asked: dict[str, Any] = {
        "capabilities": {"add_capabilities": capabilities.get("add", []), "drop_capabilities": capabilities.get("drop", [])},
        "privileged": privileged,
        "namespace_options": {"network": _POD, "pid": _CONTAINER, "ipc": _POD},
        "readonly_rootfs": given.get("readOnlyRootFilesystem", False),
        "no_new_privs": given.get("allowPrivilegeEscalation") is False,
        "masked_paths": list(_MASKED),
        "readonly_paths": list(_READ_ONLY),
        "seccomp": {"profile_type": _RUNTIME_DEFAULT if profile else _UNCONFINED},
        "supplemental_groups": [group] if group is not None else [],
    }
    if "runAsUser" in given:
        asked["run_as_user"] = {"value": given["runAsUser"]}
    known = {"privileged", "readOnlyRootFilesystem", "runAsUser", "runAsNonRoot", "allowPrivilegeEscalation", "seccompProfile"}
    known |= {"capabilities", "seLinuxOptions"}  # no node here has SELinux
    assert given.keys() <= known, "the chart asks for something that this kubelet does not know"
    return asked


def bytes_of(quantity: str) -> int:
    return next((int(quantity[:-2]) * factor for unit, factor in _UNITS.items() if quantity.endswith(unit)), 0) or int(quantity)


def _security(container: Mapping[str, Any]) -> dict[str, Any]:
    return dict(container.get("securityContext", {}))


def _resources(container: Mapping[str, Any]) -> dict[str, Any]:
    given = container.get("resources", {})
    milli = int(str(given.get("requests", {}).get("cpu", "2m")).removesuffix("m"))
    limits = given.get("limits", {})
    assert "cpu" not in limits
    memory = bytes_of(limits["memory"]) if "memory" in limits else 0
    return {"cpu_shares": max(2, milli * 1024 // 1000), "memory_limit_in_bytes": memory, "oom_score_adj": _BURSTABLE_OOM}


def _environment(pod: Placed, container: Mapping[str, Any]) -> dict[str, str]:
    fields = {"spec.nodeName": pod.node, "metadata.name": pod.name, "metadata.namespace": pod.namespace}
    given = {}
    if pod.account:
        given = {"KUBERNETES_SERVICE_HOST": pod.account.host, "KUBERNETES_SERVICE_PORT": str(pod.account.port)}
    for one in container.get("env", []):
        given[one["name"]] = one["value"] if "value" in one else fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
    return given


def _mount(pod: Placed, mount: Mapping[str, Any]) -> dict[str, Any]:
    known = {"name", "mountPath", "readOnly", "recursiveReadOnly"}
    assert mount.keys() <= known, "the chart asks for a mount that this kubelet does not know"
    (volume,) = [one for one in pod.spec["volumes"] if one["name"] == mount["name"]]
    return {
        "container_path": mount["mountPath"],
        "host_path": str(_folder(pod, volume)),
        "readonly": mount.get("readOnly", False),
        "recursive_read_only": mount.get("recursiveReadOnly") == "Enabled",
    }


def _folder(pod: Placed, volume: Mapping[str, Any]) -> Path:
    """The volume, on the node."""
    folder: Path = pod.home / "volumes" / volume["name"]
    if "hostPath" in volume:
        folder = Path(volume["hostPath"]["path"])
        if volume["hostPath"]["type"] == "DirectoryOrCreate":
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        assert folder.is_dir()
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    if "configMap" in volume:
        _write(folder, pod.config_maps[volume["configMap"]["name"]], 0o644)
    elif "secret" in volume:
        secret = volume["secret"]
        given = pod.secrets[secret["secretName"]]
        items = {one["path"]: given[one["key"]] for one in secret.get("items", [])} or given
        _write(folder, items, secret["defaultMode"])
    else:
        assert volume.keys() <= {"name", "emptyDir", "claim"}, volume
    group = pod.spec.get("securityContext", {}).get("fsGroup")
    if group is not None:
        for path in (folder, *folder.iterdir()):
            os.chown(path, -1, group)
            path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o040))
    return folder


def _account(pod: Placed) -> Path:
    assert pod.account
    folder = pod.home / "volumes/account"
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, {"token": pod.account.token, "ca.crt": pod.account.ca, "namespace": pod.namespace}, 0o600)
    return folder


def _write(folder: Path, files: Mapping[str, str], mode: int) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(mode)
