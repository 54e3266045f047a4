"""Reads pod and container from a cgroup's path. Pure.

A path is hostile input: below its own cgroup a container may make any name it likes. So the path is read from the root, the
first pod in it is the pod, and nothing below the container can change that.

Shapes (kubelet's cgroup_manager_linux.go; cri-containerd, CRI-O, dockershim, podman, nerdctl):
  /kubepods/[burstable|besteffort/]pod<uid>/<id>                      cgroupfs driver
  /kubepods.slice/.../kubepods-burstable-pod<uid, _ for ->.slice/cri-containerd-<id>.scope    systemd driver
  .../kubepods-burstable-pod<uid>.slice:cri-containerd:<id>           systemd driver, containerd given a cgroupfs path
  /docker/<id>/kubelet.slice/kubelet-kubepods.slice/...               a node that is a container itself (kind, k3d)
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = [
    "HOST",
    "OutsideContainer",
    "PathIdentity",
    "PodPlace",
    "outside_container",
    "parse_cgroup_path",
    "pod_level",
    "pod_place",
    "qos_classes",
]


class PathIdentity(NamedTuple):
    """`pod`: the uid as in the path, with its dashes.

    Cgroups nested in a container (of a container inside it, of a service) have its identity; the event's path shows them.
    """

    pod: str | None = None
    container: str | None = None
    runtime: str | None = None


HOST: Final = PathIdentity()

_UID: Final = r"[0-9A-Za-z][0-9A-Za-z_.-]{0,252}"
_PREFIX: Final = r"[0-9A-Za-z_.\\-]{1,200}?"  # kubelet's cgroupRoot, as systemd spells it
_ID: Final = r"[0-9a-f]{12,64}"
_CGROUPFS_POD: Final = re.compile(rf"pod({_UID})")
_SYSTEMD_POD: Final = re.compile(rf"(?:{_PREFIX}-)?kubepods(?:-burstable|-besteffort)?-pod({_UID}?)\.slice")
_COLON: Final = re.compile(rf"(?:{_PREFIX}-)?kubepods(?:-burstable|-besteffort)?-pod({_UID}?)\.slice:([a-z-]+):({_ID})")
_KUBEPODS: Final = re.compile(rf"(?:{_PREFIX}-)?kubepods(?:\.slice)?")
_QOS: Final = frozenset({"burstable", "besteffort"})
_BARE: Final = re.compile(r"[0-9a-f]{64}")
_SCOPE: Final = re.compile(rf"([a-z]+(?:-[a-z]+)?)-({_ID})(?:\.scope)?")

# From the runtimes' names for their scopes to Kubernetes' names for the runtimes (the scheme of a status' containerID).
_RUNTIMES: Final = {
    "cri-containerd": "containerd",
    "crio": "cri-o",
    "docker": "docker",
    "cri-dockerd": "docker",
    "nerdctl": "containerd",
    "libpod": "podman",
}


_CRI: Final = frozenset({"cri-containerd", "crio"})
_NAMESPACE: Final = "k8s.io"  # containerd's, for Kubernetes: where the cgroups of its containers are that got no parent


class PodPlace(NamedTuple):
    """Where a path claims to be a pod's. `root`: the kubelet's root in this path, with a slash at its end when the pod has no
    cgroup of its own there. `depth`: 0 the pod's cgroup, 1 a container's, more: inside a container. `owner`: the container's
    path, of what is inside one."""

    root: str
    depth: int
    owner: str | None


class OutsideContainer(NamedTuple):
    """A container of the kubelet's runtime whose cgroup is outside pods. `path`: its cgroup's."""

    path: str
    id: str
    runtime: str


def outside_container(path: str) -> OutsideContainer | None:
    """None: the path is in none. Only the names that containerd and CRI-O give to containers of Kubernetes count, and only at
    the first two levels, which only the host's root can make; there each has counters of its own."""
    parts = path.split("/", 3)
    for at, part in enumerate(parts[1:3], 1):
        scope = _SCOPE.fullmatch(part)
        if scope and scope[1] in _CRI:
            return OutsideContainer("/".join(parts[: at + 1]), scope[2], _RUNTIMES[scope[1]])
        if at == 2 and parts[1] == _NAMESPACE and _BARE.fullmatch(part):
            return OutsideContainer("/".join(parts[:3]), part, _RUNTIMES["cri-containerd"])
    return None


def parse_cgroup_path(path: str) -> PathIdentity:
    """HOST when the path is in no pod. Never raises, whatever the path holds."""
    parts = path.split("/")
    found = _find_pod(parts)
    if found is None:
        return HOST
    at, pod, container, runtime, _ = found
    return PathIdentity(pod, container, runtime) if container else _container(pod, parts[at + 1 :])


def pod_place(path: str) -> PodPlace | None:
    """None: the path is in no pod."""
    parts = path.split("/")
    found = _find_pod(parts)
    if found is None:
        return None
    at, _, container, _, root = found
    if container:
        return PodPlace("/".join(parts[:at]) + "/", len(parts) - at, "/".join(parts[: at + 1]) if len(parts) > at + 1 else None)
    depth = len(parts) - at - 1
    return PodPlace("/".join(parts[:root]), depth, "/".join(parts[: at + 2]) if depth > 1 else None)


def pod_level(root: str) -> int:
    """The deepest level of the cgroups of pods below a root, as a PodPlace has it: pods of a QoS class are two below it."""
    return root.count("/") + (0 if root.endswith("/") else 2)


def qos_classes(root: str) -> tuple[str, ...]:
    """The paths of the QoS classes below the kubelet's root, by cgroupfs and by systemd."""
    name = root.rpartition("/")[2]
    if name.endswith(".slice"):
        return tuple(f"{root}/{name.removesuffix('.slice')}-{qos}.slice" for qos in sorted(_QOS))
    return tuple(f"{root}/{qos}" for qos in sorted(_QOS))


class _Found(NamedTuple):
    """`at`: the pod's part of the path; `container`: only when that part names it, too; `root`: parts up to the kubelet's
    root."""

    at: int
    pod: str
    container: str | None
    runtime: str | None
    root: int


def _find_pod(parts: list[str]) -> _Found | None:
    inside = 0  # parts up to a kubepods directory that this part is below of; 0: it is below none
    top = 0
    for at, part in enumerate(parts):
        if colon := _COLON.fullmatch(part):
            return _Found(at, colon[1].replace("_", "-"), colon[3], _RUNTIMES.get(colon[2]), at)
        if systemd := _SYSTEMD_POD.fullmatch(part):
            return _Found(at, systemd[1].replace("_", "-"), None, None, top or at)
        if inside and part not in _QOS:
            if cgroupfs := _CGROUPFS_POD.fullmatch(part):
                return _Found(at, cgroupfs[1], None, None, inside)
            inside = 0
        if _KUBEPODS.fullmatch(part):
            inside = top = at + 1
    return None


def _container(pod: str, below: list[str]) -> PathIdentity:
    if not below:
        return PathIdentity(pod)
    if _BARE.fullmatch(below[0]):
        return PathIdentity(pod, below[0])
    scope = _SCOPE.fullmatch(below[0])
    if scope and scope[1] in _RUNTIMES:
        return PathIdentity(pod, scope[2], _RUNTIMES[scope[1]])
    return PathIdentity(pod)  # the runtime's own helpers (crio-conmon-<id>.scope), or an unknown shape
