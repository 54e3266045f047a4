"""Marks: a pod's directory is a root, its children are its containers, and all below a container is the container's."""

from agent.attribution.cgroup_paths import parse_cgroup_path
from agent.attribution.cgroups import Cgroup
from agent.attribution.tracked_cgroups import TrackedCgroup, TrackedCgroups

UID, ID = "a87d9c0e-19ae-4043-83a2-abda8b90c98e", "7b" * 32
POD = f"/kubepods/burstable/pod{UID}"


def made(number, path, parent):
    return Cgroup(number, path, parse_cgroup_path(path), 0, None, parent)


def marks_of(*cgroups):
    tracked_cgroups = TrackedCgroups()
    return tracked_cgroups, [tracked_cgroups.track(cgroup) for cgroup in cgroups]


def test_a_pod_its_container_and_what_the_container_makes():
    _, found = marks_of(
        made(1, "/", 0),
        made(2, "/kubepods", 1),
        made(3, "/kubepods/burstable", 2),
        made(4, POD, 3),
        made(5, f"{POD}/{ID}", 4),
        made(6, f"{POD}/{ID}/init", 5),
        made(7, f"{POD}/{ID}/init/deeper", 6),
    )
    assert found == [
        None,
        None,
        None,
        TrackedCgroup(4, 4, True),
        TrackedCgroup(5, 4, False),
        TrackedCgroup(5, 4, False),
        TrackedCgroup(5, 4, False),
    ]


def test_what_lies_beside_the_containers_counts_for_itself_and_has_the_pods_limit():
    _, found = marks_of(made(4, POD, 3), made(5, f"{POD}/crio-conmon-{ID}.scope", 4))
    assert found[1] == TrackedCgroup(5, 4, False)


def test_a_container_whose_pod_has_no_directory_is_a_root_and_its_children_are_its_own():
    path = f"/kubepods-burstable-pod{UID.replace('-', '_')}.slice:cri-containerd:{ID}"
    _, found = marks_of(made(5, path, 1), made(6, f"{path}/inner", 5))
    assert found == [TrackedCgroup(5, 5, False), TrackedCgroup(5, 5, False)]


def test_the_host_has_no_marks():
    _, found = marks_of(made(9, "/system.slice/cron.service", 1), made(10, "/system.slice/cron.service/x", 9))
    assert found == [None, None]


def test_a_pods_rows_are_those_its_forks_were_counted_in_also_before_the_kernel_knew():
    tracked_cgroups, _ = marks_of(made(4, POD, 3), made(5, f"{POD}/{ID}", 4), made(6, f"{POD}/{ID}/init", 5))
    assert tracked_cgroups.pods() == [4]
    assert sorted(
        tracked_cgroups.counters_of(4, {4: "pod", 5: "container", 6: "counted before it was marked", 7: "another's"})
    ) == [
        "container",
        "counted before it was marked",
        "pod",
    ]


def test_what_is_forgotten_is_no_row_any_more():
    tracked_cgroups, _ = marks_of(made(4, POD, 3), made(5, f"{POD}/{ID}", 4))
    tracked_cgroups.forget(5)
    assert list(tracked_cgroups.counters_of(4, {4: 1, 5: 2})) == [1]
    tracked_cgroups.forget(4)
    tracked_cgroups.forget(99)
    assert tracked_cgroups.pods() == []
