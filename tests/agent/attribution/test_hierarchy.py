"""Which cgroup hierarchy is chosen, with texts of real kernels."""

from pathlib import Path

import pytest

from agent.attribution import hierarchy
from agent.attribution.hierarchy import Hierarchy, NoHierarchy, choose_hierarchy, writable_mounts

# This project's own machine: v1, with the v2 hierarchy beside it.
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / {root}/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / {root}/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / {root}/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / {root}/freezer rw,relatime - cgroup cgroup rw,freezer
39 31 0:36 / {root}/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / {root}/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / {root}/unified rw,relatime - cgroup2 cgroup2 rw
"""
HYBRID_OWN = "9:name=systemd:/\n8:pids:/\n6:freezer:/\n4:memory:/process_api/32e7\n2:cpuacct:/\n1:cpu:/\n0::/\n"
# A systemd machine (Debian 13): v2 alone, with optional fields.
UNIFIED = """\
24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
34 24 0:29 / {root} rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
35 24 0:30 / /sys/fs/pstore rw,nosuid,nodev,noexec,relatime shared:10 - pstore pstore rw
"""
UNIFIED_OWN = "0::/system.slice/ssh.service\n"
# v1 as systemd mounts it, several controllers in one hierarchy (Debian 10).
JOINED = """\
26 22 0:23 / {root}/unified rw,nosuid,nodev,noexec,relatime shared:8 - cgroup2 cgroup2 rw,nsdelegate
33 22 0:30 / {root}/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct
36 22 0:33 / {root}/memory rw,nosuid,nodev,noexec,relatime shared:18 - cgroup cgroup rw,memory
"""
JOINED_OWN = "5:memory:/user.slice\n2:cpu,cpuacct:/user.slice\n1:name=systemd:/user.slice\n0::/user.slice\n"
# From inside `unshare -C` two cgroups deep: the host's hierarchy is /../.., and the process's own mount is /.
NAMESPACED = """\
57 47 0:38 /../.. {root}/host rw,relatime - cgroup2 cgroup2 rw
63 43 0:38 / {root}/own rw,relatime - cgroup2 none rw
"""
PART = "51 47 0:32 {inner} {root}/part rw,relatime - cgroup cgroup rw,pids\n"


@pytest.fixture(autouse=True)
def inodes(monkeypatch):
    """Fakes inodes by name: a hierarchy's root has inode 1, which no directory made by a test can have."""
    monkeypatch.setattr(hierarchy, "_inode", lambda path: 26150 if path.name in {"own", "part"} else 1)


@pytest.fixture
def mounts(tmp_path):
    """Returns a function that fills the mount points into a text and makes directories there."""

    def fill(text, *directories, **more):
        for directory in directories:
            (tmp_path / directory).mkdir(parents=True)
        return text.format(root=tmp_path, **more)

    return fill


def test_v2_is_chosen_when_it_is_the_only_one(tmp_path, mounts):
    assert choose_hierarchy(mounts(UNIFIED), UNIFIED_OWN) == Hierarchy(0, None, tmp_path)


def test_on_a_hybrid_machine_v1_pids_is_chosen_when_both_have_the_pods(tmp_path, mounts):
    text = mounts(HYBRID, "pids/kubepods", "unified/kubepods")
    assert choose_hierarchy(text, HYBRID_OWN) == Hierarchy(8, "pids", tmp_path / "pids")


def test_on_a_hybrid_machine_v1_pids_is_chosen_when_neither_has_pods_yet(tmp_path, mounts):
    assert choose_hierarchy(mounts(HYBRID, "pids", "unified"), HYBRID_OWN) == Hierarchy(8, "pids", tmp_path / "pids")


@pytest.mark.parametrize("name", ["kubepods", "kubepods.slice", "kubelet-kubepods.slice"])
def test_on_a_hybrid_machine_v2_is_chosen_when_only_it_has_the_pods(tmp_path, mounts, name):
    text = mounts(HYBRID, "pids", f"unified/{name}")
    assert choose_hierarchy(text, HYBRID_OWN) == Hierarchy(0, None, tmp_path / "unified")


def test_without_pids_the_next_controller_is_chosen_with_its_own_number(tmp_path, mounts):
    assert choose_hierarchy(mounts(JOINED), JOINED_OWN) == Hierarchy(5, "memory", tmp_path / "memory")


def test_of_joined_controllers_a_known_one_is_named(tmp_path, mounts):
    text = mounts(JOINED).replace("rw,memory", "rw,hugetlb")
    assert choose_hierarchy(text, JOINED_OWN) == Hierarchy(2, "cpu", tmp_path / "cpu,cpuacct")


def test_a_controller_that_is_not_mounted_is_not_chosen(tmp_path, mounts):
    own = JOINED_OWN + "7:pids:/\n"
    assert choose_hierarchy(mounts(JOINED), own) == Hierarchy(5, "memory", tmp_path / "memory")


def test_an_escaped_space_in_a_mount_point_is_read_as_a_space(tmp_path):
    text = f"34 24 0:29 / {tmp_path}/a\\040b rw shared:9 - cgroup2 cgroup2 rw\n"
    assert choose_hierarchy(text, "0::/\n").root == tmp_path / "a b"


def test_a_mount_of_a_part_of_a_hierarchy_is_not_chosen(tmp_path, mounts):
    part = mounts(PART, inner="/kubepods/pod1/7b7b")
    assert choose_hierarchy(part + mounts(UNIFIED), "8:pids:/\n0::/\n") == Hierarchy(0, None, tmp_path)


def test_a_part_of_a_hierarchy_alone_is_an_error_that_says_what_to_do(mounts):
    with pytest.raises(NoHierarchy, match="mount the host's /sys/fs/cgroup, read-only"):
        choose_hierarchy(mounts(PART, inner="/kubepods/pod1/7b7b"), "8:pids:/\n")


def test_a_machine_without_cgroups_is_an_error():
    with pytest.raises(NoHierarchy):
        choose_hierarchy("22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n", "")


def test_in_a_cgroup_namespace_the_hosts_mount_is_chosen(tmp_path, mounts):
    assert choose_hierarchy(mounts(NAMESPACED, "host/kubepods", "own"), "0::/\n").root == tmp_path / "host"


# A node of kind, seen from a pod in it: the node's cgroup is three levels above the pod's, which is mounted too.
NODE_IN_CONTAINER = """\
57 47 0:38 /../../.. {root}/part rw,relatime - cgroup2 cgroup2 rw
63 43 0:38 / {root}/own rw,relatime - cgroup2 none rw
"""


@pytest.mark.parametrize("pods", ["kubepods.slice", "kubelet.slice/kubelet-kubepods.slice", "kubelet/kubepods"])
def test_of_a_node_that_is_a_container_the_part_with_the_pods_is_chosen(tmp_path, mounts, pods):
    text = mounts(NODE_IN_CONTAINER, f"part/{pods}", "own")
    assert choose_hierarchy(text, "0::/\n") == Hierarchy(0, None, tmp_path / "part", 26150)


def test_a_namespaces_root_without_pods_is_the_agents_own(mounts):
    with pytest.raises(NoHierarchy):
        choose_hierarchy(mounts(NODE_IN_CONTAINER, "part/init.scope", "own"), "0::/\n")


def test_a_directory_that_is_no_namespaces_root_is_not_chosen(mounts):
    text = mounts(NODE_IN_CONTAINER, "part/kubepods").replace("/../../..", "/../../../kubelet")
    with pytest.raises(NoHierarchy):
        choose_hierarchy(text, "0::/\n")


def test_the_whole_hierarchy_goes_before_a_part(tmp_path, mounts):
    text = mounts(NODE_IN_CONTAINER, "part/kubepods") + mounts(UNIFIED)
    assert choose_hierarchy(text, "0::/\n") == Hierarchy(0, None, tmp_path)


def test_the_root_of_this_machines_hierarchy_has_the_inode_1(monkeypatch):
    """Where a whole hierarchy is mounted; a container may have none."""
    monkeypatch.undo()
    try:
        found = choose_hierarchy(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    except NoHierarchy:
        pytest.skip("no cgroup hierarchy is mounted whole here")
    assert found.root.stat().st_ino == 1
    assert not (found.root / "cgroup.type").exists()  # the root of v2 is the one that has none


def test_a_mount_point_that_cannot_be_read_is_not_chosen(monkeypatch, mounts):
    monkeypatch.undo()
    with pytest.raises(NoHierarchy):
        choose_hierarchy(mounts(UNIFIED).replace(" rw", "/nowhere rw"), UNIFIED_OWN)


# /sys/fs/cgroup of the node in a container: by containerd 1.6, then by containerd 2 with recursiveReadOnly.
PLAIN = """\
700 690 0:28 / /sys/fs/cgroup ro,relatime - tmpfs tmpfs rw,mode=755
701 700 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
702 700 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
703 690 0:40 / /var/lib/forklore rw,relatime - ext4 /dev/sda1 rw
"""


def test_mounts_that_a_runtime_left_writable_below_a_read_only_one_are_found():
    assert writable_mounts(PLAIN) == [Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup/unified")]


def test_nothing_is_writable_below_a_recursive_read_only_mount_or_with_v2_alone():
    assert writable_mounts(PLAIN.replace("rw,relatime - cgroup", "ro,relatime - cgroup")) == []
    assert writable_mounts("700 690 0:29 / /sys/fs/cgroup ro,relatime - cgroup2 cgroup2 rw\n") == []
    assert writable_mounts("701 690 0:36 / /sys/fs/cgroup ro,relatime - cgroup cgroup rw,pids\n") == []
