"""Identities from paths: every shape that kubelets and runtimes make, and whatever a container nests below its cgroup."""

import string
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.attribution.cgroup_paths import HOST, PathIdentity, parse_cgroup_path

UID, OTHER_UID = "a87d9c0e-19ae-4043-83a2-abda8b90c98e", "0fd2b1f3-3a3e-4f0a-9f5e-52b1e4a3c111"
ID, OTHER_ID = "7b" * 32, "c4" * 32

hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
# uuid4, a static pod's hash, and what may be written into a static pod's manifest.
uids = (
    st.uuids().map(str)
    | st.text("0123456789abcdef", min_size=32, max_size=32)
    | st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=60).filter(lambda uid: uid[0] != "-")
)
names = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40).filter(lambda name: name not in {".", ".."})
tails = st.lists(
    names
    | st.sampled_from(["init", "system.slice", "x.service", "kubepods", "kubepods.slice", "burstable", "docker", "container"])
    | st.builds(lambda uid: f"pod{uid}", uids)
    | st.builds(lambda uid: f"kubepods-burstable-pod{uid.replace('-', '_')}.slice", uids)
    | st.builds(lambda container: f"cri-containerd-{container}.scope", hexes),
    max_size=4,
)


class Kubelet(NamedTuple):
    """The names that a node's kubelet and runtime make: the rules of kubelet's cgroup_manager_linux.go, written again here."""

    systemd: bool
    root: tuple[str, ...]  # --cgroup-root, as directories
    qos: str | None
    runtime: str | None  # the scheme of a status' containerID; None: not in the path
    prefix: str  # of the runtime's scope; "" with a bare id
    colon: bool = False

    def pod(self, uid):
        levels = [*self.root, "kubepods", *([self.qos] if self.qos else []), f"pod{uid}"]
        if not self.systemd:
            return "/" + "/".join(levels)
        escaped = [level.replace("-", "_") for level in levels]
        return "".join(f"/{'-'.join(escaped[: at + 1])}.slice" for at in range(len(escaped)))

    def container(self, uid, container):
        if self.colon:
            return f"/system.slice/containerd.service/{self.pod(uid).rpartition('/')[2]}:{self.prefix}:{container}"
        last = f"{self.prefix}-{container}.scope" if self.prefix else container
        return f"{self.pod(uid)}/{last}"


roots = st.sampled_from([(), ("kubelet",), ("k3s", "agent")])
runtimes = st.sampled_from(
    [("cri-containerd", "containerd"), ("crio", "cri-o"), ("docker", "docker"), ("nerdctl", "containerd"), ("libpod", "podman")]
)
qos = st.sampled_from([None, "burstable", "besteffort"])
kubelets = (
    st.builds(lambda root, qos: Kubelet(False, root, qos, None, ""), roots, qos)
    | st.builds(lambda root, qos, named: Kubelet(False, root, qos, named[1], named[0]), roots, qos, runtimes)
    | st.builds(lambda root, qos, named: Kubelet(True, root, qos, named[1], named[0]), roots, qos, runtimes)
    | st.builds(lambda root, qos: Kubelet(True, root, qos, "containerd", "cri-containerd", colon=True), roots, qos)
)
# A node that is a container itself.
outsides = hexes.flatmap(lambda node: st.sampled_from(["", f"/docker/{node}", f"/machine.slice/libpod-{node}.scope"]))


@given(kubelets, outsides, uids, hexes)
def test_a_container_is_found_in_the_path_of_every_kubelet(kubelet, outside, uid, container):
    assert parse_cgroup_path(outside + kubelet.container(uid, container)) == PathIdentity(uid, container, kubelet.runtime)


@given(kubelets.filter(lambda kubelet: not kubelet.colon), outsides, uids)
def test_a_pod_is_found_in_the_path_of_every_kubelet(kubelet, outside, uid):
    assert parse_cgroup_path(outside + kubelet.pod(uid)) == PathIdentity(uid)


@given(kubelets, outsides, uids, hexes, tails)
def test_nested_cgroups_do_not_change_the_identity(kubelet, outside, uid, container, tail):
    identity = parse_cgroup_path("/".join([outside + kubelet.container(uid, container), *tail]))
    assert (identity.pod, identity.container, identity.runtime) == (uid, container, kubelet.runtime)


@given(uids, names)
def test_a_cgroup_in_a_pod_that_is_not_a_container_has_the_pods_identity(uid, name):
    identity = parse_cgroup_path(f"/kubepods/pod{uid}/x{name}")
    assert identity.pod == uid


@given(st.text() | st.lists(names | st.sampled_from(["..", "", "kubepods", "pod", "burstable"])).map("/".join))
def test_no_path_raises(path):
    assert isinstance(parse_cgroup_path(path), PathIdentity)


@given(st.binary(max_size=1024))
def test_no_bytes_raise(raw):
    assert isinstance(parse_cgroup_path(raw.decode(errors="replace")), PathIdentity)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/init.scope",
        "/user.slice/user-1000.slice/session-3.scope",
        "/system.slice/kubelet.service",
        "/system.slice/containerd.service",
        f"/docker/{ID}",
        f"/system.slice/docker-{ID}.scope",
        "/kubepods",
        "/kubepods/burstable",
        "/kubepods.slice/kubepods-besteffort.slice",
        "/kubepods/burstable/notapod",
        "/kubepods/pod",
        f"/pod{UID}/{ID}",
        f"/burstable/pod{UID}/{ID}",
        f"/mykubepods/pod{UID}/{ID}",
        f"/kubepods/x/pod{UID}/{ID}",
        f"/kubepods-burstable-pod{UID}.slicex/{ID}",
    ],
)
def test_a_path_outside_of_pods_is_the_hosts(path):
    assert parse_cgroup_path(path) == HOST


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        (f"/kubepods/burstable/pod{UID}/{ID}", PathIdentity(UID, ID)),
        (f"/kubepods/pod{UID}/{ID}/init", PathIdentity(UID, ID)),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"
            f"/cri-containerd-{ID}.scope",
            PathIdentity(UID, ID, "containerd"),
        ),
        (
            f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/crio-{ID}.scope/container",
            PathIdentity(UID, ID, "cri-o"),
        ),
        (f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/crio-conmon-{ID}.scope", PathIdentity(UID)),
        (f"/kubepods/pod{UID}/libpod-{ID}.scope/container", PathIdentity(UID, ID, "podman")),
        (
            f"/docker/{OTHER_ID}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice"
            f"/kubelet-kubepods-besteffort-pod{UID.replace('-', '_')}.slice/cri-containerd-{ID}.scope",
            PathIdentity(UID, ID, "containerd"),
        ),
        (
            "/kubepods/besteffort/pod21fdd1a722e0fcb32d3c6f8bb5bcd5ad/" + ID,
            PathIdentity("21fdd1a722e0fcb32d3c6f8bb5bcd5ad", ID),
        ),
    ],
    ids=["v1", "below", "systemd", "crio", "conmon", "libpod", "kind", "static"],
)
def test_the_documented_shapes_of_paths(path, identity):
    assert parse_cgroup_path(path) == identity


@pytest.mark.parametrize("inner", [f"docker/{OTHER_ID}", f"system.slice/docker-{OTHER_ID}.scope", f"a/b/libpod-{OTHER_ID}"])
def test_a_container_inside_a_container_has_the_outer_ones_identity(inner):
    assert parse_cgroup_path(f"/kubepods/pod{UID}/{ID}/{inner}") == PathIdentity(UID, ID)


@pytest.mark.parametrize(
    "below",
    [
        f"kubepods/burstable/pod{OTHER_UID}/{OTHER_ID}",
        f"kubepods.slice/kubepods-pod{OTHER_UID.replace('-', '_')}.slice/cri-containerd-{OTHER_ID}.scope",
        f"kubepods-pod{OTHER_UID.replace('-', '_')}.slice:cri-containerd:{OTHER_ID}",
    ],
)
def test_a_nested_cgroup_that_is_named_like_another_pod_keeps_its_own_pods_identity(below):
    identity = parse_cgroup_path(f"/kubepods/burstable/pod{UID}/{ID}/{below}")
    assert (identity.pod, identity.container) == (UID, ID)


@pytest.mark.parametrize(
    "path",
    [
        f"/kubepods/pod{UID}\n/{ID}",
        f"/kubepods\n/pod{UID}/{ID}",
        f"/kubepods/pod{UID}/../pod{OTHER_UID}\n/{ID}",
        f"/kubepods/../pod{UID}/{ID}",
    ],
)
def test_a_name_that_only_resembles_a_pods_has_no_container(path):
    assert parse_cgroup_path(path).container is None


def test_a_name_with_a_newline_is_not_a_container():
    assert parse_cgroup_path(f"/kubepods/pod{UID}/{ID}\n") == PathIdentity(UID)


@pytest.mark.parametrize(
    "part", ["a-" * 5_000, "kubepods-pod" * 900, "kubepods-burstable-poda-" * 450, "0" * 10_000, "/x" * 5_000]
)
@pytest.mark.parametrize("end", ["", ".slice", ".slice:cri-containerd:" + ID[:-1] + "x"])
def test_a_path_of_ten_thousand_bytes_is_parsed_quickly(part, end):
    """A regular expression that backtracks would run into the suite's time limit."""
    assert parse_cgroup_path(f"/{part}{end}").container is None


@pytest.mark.parametrize("root", ["my_root", "Nodes"])
def test_a_cgroup_root_of_any_name_may_stand_before_kubepods(root):
    path = f"/{root}.slice/{root}-kubepods.slice/{root}-kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{ID}.scope"
    assert parse_cgroup_path(path) == PathIdentity(UID, ID, "containerd")
