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

__all__ = ["HOST", "PathIdentity", "parse_cgroup_path"]


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


def parse_cgroup_path(path: str) -> PathIdentity:
    """HOST when the path is in no pod. Never raises, whatever the path holds."""
    parts = path.split("/")
    inside = False  # below a kubepods directory
    for at, part in enumerate(parts):
        if colon := _COLON.fullmatch(part):
            return PathIdentity(colon[1].replace("_", "-"), colon[3], _RUNTIMES.get(colon[2]))
        if systemd := _SYSTEMD_POD.fullmatch(part):
            return _container(systemd[1].replace("_", "-"), parts[at + 1 :])
        if inside and part not in _QOS:
            if cgroupfs := _CGROUPFS_POD.fullmatch(part):
                return _container(cgroupfs[1], parts[at + 1 :])
            inside = False
        if _KUBEPODS.fullmatch(part):
            inside = True
    return HOST


def _container(pod: str, below: list[str]) -> PathIdentity:
    if not below:
        return PathIdentity(pod)
    if _BARE.fullmatch(below[0]):
        return PathIdentity(pod, below[0])
    scope = _SCOPE.fullmatch(below[0])
    if scope and scope[1] in _RUNTIMES:
        return PathIdentity(pod, scope[2], _RUNTIMES[scope[1]])
    return PathIdentity(pod)  # the runtime's own helpers (crio-conmon-<id>.scope), or an unknown shape
