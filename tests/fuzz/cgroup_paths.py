"""The path of a cgroup, whose names below its own a container chooses."""

from agent.attribution.cgroup_paths import HOST, outside_container, parse_cgroup_path
from tests.fuzz.recorded import CGROUPS

COVERS = ["agent.attribution.cgroup_paths"]
UID, ID = "0b6f0b5e-8d0a-4f1c-9b1a-3f5d1f0c2b7e", "a" * 64
SLICE = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice"
SEEDS = [
    path.encode()
    for path in (
        *CGROUPS,
        f"/kubepods/burstable/pod{UID}/{ID}",
        f"/kubepods.slice/kubepods-burstable.slice/{SLICE}/cri-containerd-{ID}.scope",
        f"/system.slice/{SLICE}:cri-containerd:{ID}",
        f"/docker/{ID}/kubelet.slice/kubelet-kubepods.slice/kubelet-{SLICE}/docker-{ID}.scope",
        f"/k8s.io/{ID}/init",
        f"/system.slice/cri-containerd-{ID}.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice",
    )
]


def check(data):
    path = bytes(data).decode(errors="replace")
    outside = outside_container(path)
    if outside:
        assert path.startswith(outside.path) and outside.path.count("/") <= 2
        assert outside_container(f"{path}/kubepods/pod{UID}/{'b' * 64}") == outside
    found = parse_cgroup_path(path)
    if found == HOST:
        return
    assert found.pod and found.pod.isprintable() and len(found.pod) <= 253 and "/" not in found.pod
    assert found.pod.replace("-", "_") in path.replace("-", "_")
    assert found.container is None or (found.container in path and 12 <= len(found.container) <= 64)
    if found.container and not path.endswith("/"):
        # Nothing that a container makes below its own cgroup changes the pod and the container.
        for below in ("/init", f"/kubepods/pod{UID}/{'b' * 64}", "/x.slice"):
            assert parse_cgroup_path(path + below) == found
