"""What a pod's volumes become on the node: folders and files, with the owners and modes that a kubelet gives them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from dev.cluster.node.kubelet import NodePod

__all__ = ["MissingFiles", "mounts"]

_ACCOUNT_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOKEN_SECONDS: Final = 3607  # as the API server's admission asks for
_FILE_MODE: Final = 0o644  # defaultMode's default
_RECURSIVE: Final = {"Enabled", "IfPossible"}  # it is possible: see runc_wrapper.py
_KNOWN_MOUNT: Final = {"name", "mountPath", "readOnly", "recursiveReadOnly"}


class MissingFiles(Exception):
    """A volume names a ConfigMap, a Secret or a key that is not there. A real kubelet waits for it."""


def mounts(pod: NodePod, container: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The container's mounts, as the runtime wants them; makes the volumes' folders and files. Raises MissingFiles."""
    made = [_mount(pod, one) for one in container.get("volumeMounts", [])]
    if pod.spec.get("automountServiceAccountToken") and pod.api:
        made.append({"container_path": _ACCOUNT_PATH, "host_path": str(_account(pod)), "readonly": True})
    hosts = pod.home / "hosts"
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in pod.hosts.items()))
    return [*made, {"container_path": "/etc/hosts", "host_path": str(hosts), "readonly": False}]


def _mount(pod: NodePod, mount: Mapping[str, Any]) -> dict[str, Any]:
    if not mount.keys() <= _KNOWN_MOUNT:
        raise ValueError(f"{pod.name}: this kubelet does not know all of {mount}")
    (volume,) = [one for one in pod.spec["volumes"] if one["name"] == mount["name"]]
    return {
        "container_path": mount["mountPath"],
        "host_path": str(_folder(pod, volume)),
        "readonly": mount.get("readOnly", False),
        "recursive_read_only": mount.get("recursiveReadOnly") in _RECURSIVE,
    }


def _folder(pod: NodePod, volume: Mapping[str, Any]) -> Path:
    """The volume, on the node."""
    if "hostPath" in volume:
        return _host_folder(volume["hostPath"])
    folder = pod.home / "volumes" / volume["name"]
    folder.mkdir(parents=True, exist_ok=True)
    if "configMap" in volume:
        _write(folder, _items(pod, "configmaps", volume["configMap"]["name"], volume["configMap"]), volume["configMap"])
    elif "secret" in volume:
        _write(folder, _items(pod, "secrets", volume["secret"]["secretName"], volume["secret"]), volume["secret"])
    elif "projected" in volume:
        _write(folder, _projected(pod, volume["projected"]), volume["projected"])
    elif not volume.keys() <= {"name", "emptyDir", "persistentVolumeClaim"}:
        raise ValueError(f"{pod.name}: this kubelet does not know all of {volume}")
    _give_to_group(pod, folder)
    return folder


def _host_folder(path: Mapping[str, Any]) -> Path:
    folder = Path(path["path"])
    if path.get("type") == "DirectoryOrCreate":
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder of this node")
    return folder


def _projected(pod: NodePod, projected: Mapping[str, Any]) -> dict[str, str]:
    """One folder out of several sources. Only the kinds that a pod of this tree has are known."""
    files: dict[str, str] = {}
    for source in projected["sources"]:
        ((kind, given),) = source.items()
        if kind == "serviceAccountToken":
            if pod.api is None:
                raise MissingFiles(f"{pod.name}: no API server gives a token")
            token = pod.api.token(pod, given.get("audience"), given.get("expirationSeconds", _TOKEN_SECONDS))
            files[given["path"]] = token
        elif kind == "configMap":
            files |= _items(pod, "configmaps", given["name"], given)
        elif kind == "secret":
            files |= _items(pod, "secrets", given["name"], given)
        else:
            raise ValueError(f"{pod.name}: this kubelet does not know the projected source {kind}")
    return files


def _items(pod: NodePod, kind: Literal["configmaps", "secrets"], name: str, given: Mapping[str, Any]) -> Mapping[str, str]:
    """Files by path. An optional object, or an optional key of it, may be missing."""
    found = pod.api.files(kind, pod.namespace, name) if pod.api else None
    optional = given.get("optional", False)
    if found is None and not optional:
        raise MissingFiles(f"{pod.name}: {kind} {name} is not there")
    data = found or {}
    if "items" not in given:
        return data
    if not optional and (missing := [one["key"] for one in given["items"] if one["key"] not in data]):
        raise MissingFiles(f"{pod.name}: {kind} {name} lacks {missing}")
    return {one["path"]: data[one["key"]] for one in given["items"] if one["key"] in data}


def _give_to_group(pod: NodePod, folder: Path) -> None:
    group = pod.spec.get("securityContext", {}).get("fsGroup")
    if group is None:
        return
    for path in (folder, *folder.iterdir()):
        os.chown(path, -1, group)
        path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o040))


def _account(pod: NodePod) -> Path:
    """What the API server's admission mounts into a pod that does not refuse it."""
    if pod.api is None:
        raise MissingFiles(f"{pod.name}: no API server gives a token")
    folder = pod.home / "volumes/account"
    folder.mkdir(parents=True, exist_ok=True)
    files = {"token": pod.api.token(pod, None, _TOKEN_SECONDS), "ca.crt": pod.api.ca, "namespace": pod.namespace}
    _write(folder, files, {"defaultMode": _FILE_MODE})
    return folder


def _write(folder: Path, files: Mapping[str, str], given: Mapping[str, Any]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(given.get("defaultMode", _FILE_MODE))
