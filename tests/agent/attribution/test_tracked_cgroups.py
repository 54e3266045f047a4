"""A pod's cgroup is a root, its children are its containers, and all cgroups below belong to the container."""

from agent.attribution.cgroup_paths import parse_cgroup_path
from agent.attribution.cgroups import Cgroup
from agent.attribution.tracked_cgroups import TrackedCgroup, TrackedCgroups
from agent.model import CONTAINER, KUBELET_ROOT, QOS_CLASS
from agent.model import POD as KIND_POD

UID, ID = "a87d9c0e-19ae-4043-83a2-abda8b90c98e", "7b" * 32
POD = f"/kubepods/burstable/pod{UID}"


def a_cgroup(number, path, parent):
    return Cgroup(number, path, parse_cgroup_path(path), 0, None, parent)


def tracked(*cgroups, root="/kubepods"):
    tracked_cgroups = TrackedCgroups()
    return tracked_cgroups, [tracked_cgroups.track(cgroup, root) for cgroup in cgroups]


def test_a_pod_its_container_and_cgroups_nested_in_the_container():
    _, found = tracked(
        a_cgroup(1, "/", 0),
        a_cgroup(2, "/kubepods", 1),
        a_cgroup(3, "/kubepods/burstable", 2),
        a_cgroup(4, POD, 3),
        a_cgroup(5, f"{POD}/{ID}", 4),
        a_cgroup(6, f"{POD}/{ID}/init", 5),
        a_cgroup(7, f"{POD}/{ID}/init/deeper", 6),
    )
    assert found == [
        None,
        TrackedCgroup(2, KUBELET_ROOT),
        TrackedCgroup(3, QOS_CLASS),
        TrackedCgroup(4, KIND_POD),
        TrackedCgroup(4, CONTAINER),
        None,
        None,
    ]


def test_a_cgroup_beside_the_containers_counts_for_itself_and_has_the_pods_limit():
    _, found = tracked(a_cgroup(4, POD, 3), a_cgroup(5, f"{POD}/crio-conmon-{ID}.scope", 4))
    assert found[1] == TrackedCgroup(4, CONTAINER)


def test_a_container_of_a_pod_without_a_cgroup_is_a_root():
    path = f"/kubepods-burstable-pod{UID.replace('-', '_')}.slice:cri-containerd:{ID}"
    _, found = tracked(a_cgroup(5, path, 1), a_cgroup(6, f"{path}/inner", 5), root="/")
    assert found == [TrackedCgroup(5, CONTAINER), None]


def test_cgroups_of_the_host_are_not_tracked():
    _, found = tracked(a_cgroup(9, "/system.slice/cron.service", 1), a_cgroup(10, "/system.slice/cron.service/x", 9))
    assert found == [None, None]


def test_the_counters_of_a_pod_include_those_from_before_the_kernel_tracked_it():
    tracked_cgroups, _ = tracked(a_cgroup(4, POD, 3), a_cgroup(5, f"{POD}/{ID}", 4), a_cgroup(6, f"{POD}/{ID}/init", 5))
    assert tracked_cgroups.pods() == [4]
    assert sorted(
        tracked_cgroups.counters_of(4, {4: "pod", 5: "container", 6: "counted before it was tracked", 7: "another's"})
    ) == [
        "container",
        "counted before it was tracked",
        "pod",
    ]


def test_the_counters_of_a_forgotten_cgroup_are_left_out():
    tracked_cgroups, _ = tracked(a_cgroup(4, POD, 3), a_cgroup(5, f"{POD}/{ID}", 4))
    tracked_cgroups.forget(5)
    assert list(tracked_cgroups.counters_of(4, {4: 1, 5: 2})) == [1]
    tracked_cgroups.forget(4)
    tracked_cgroups.forget(99)
    assert tracked_cgroups.pods() == []
