"""The known cgroups: created and removed by events of the kernel, found by a walk, resolvable for a while after removal."""

import pytest

from agent.attribution.cgroups import KEEP_REMOVED_NS, MOST_NESTED, Cgroups
from agent.attribution.hierarchy import NoHierarchy

UID, ID, OTHER_ID = "a87d9c0e-19ae-4043-83a2-abda8b90c98e", "7b" * 32, "c4" * 32
POD = f"/kubepods/burstable/pod{UID}"
CONTAINER = f"{POD}/{ID}"


@pytest.fixture
def cgroups():
    return Cgroups()


@pytest.fixture
def tree(tmp_path):
    """A hierarchy with a service of the host, and a pod with one container."""
    for path in ("system.slice/ssh.service", CONTAINER[1:]):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "cgroup.procs").write_text("1\n")
    return tmp_path


def number_of(path):
    return path.stat().st_ino


def test_an_unknown_id_has_no_cgroup(cgroups):
    assert cgroups.get(7) is None


def test_an_added_cgroup_has_id_path_identity_and_time(cgroups):
    cgroups.add(7, CONTAINER.encode(), 100)
    found = cgroups.get(7)
    assert (found.id, found.path, found.created, found.removed) == (7, CONTAINER, 100, None)
    assert (found.identity.pod, found.identity.container) == (UID, ID)


def test_a_name_that_is_not_utf8_is_shown_with_replacements(cgroups):
    assert cgroups.add(7, b"/a\xff\xfe", 1).path == "/a\ufffd\ufffd"


def test_a_removed_cgroup_is_still_resolvable(cgroups):
    cgroups.add(7, CONTAINER.encode(), 100)
    cgroups.mark_removed(7, 200)
    assert (cgroups.get(7).path, cgroups.get(7).removed) == (CONTAINER, 200)


def test_a_second_removal_does_not_change_the_time_of_the_first(cgroups):
    cgroups.add(7, b"/a", 100)
    cgroups.mark_removed(7, 200)
    cgroups.mark_removed(7, 300)
    assert cgroups.get(7).removed == 200
    assert cgroups.removed_before(250) == [7]


def test_the_removal_of_an_unknown_cgroup_is_ignored(cgroups):
    cgroups.mark_removed(7, 200)
    assert len(cgroups) == 0
    assert cgroups.forget(KEEP_REMOVED_NS * 2) == []


def test_removed_cgroups_are_forgotten_after_their_time_and_others_never(cgroups):
    cgroups.add(7, b"/a", 0)
    cgroups.add(8, b"/b", 0)
    cgroups.mark_removed(7, 100)
    assert cgroups.forget(100 + KEEP_REMOVED_NS) == []
    assert cgroups.forget(101 + KEEP_REMOVED_NS) == [7]
    assert (cgroups.get(7), len(cgroups)) == (None, 1)


def test_of_thousands_of_removed_nested_cgroups_only_the_newest_are_kept(cgroups):
    cgroups.add(1, POD.encode(), 1)
    cgroups.add(2, CONTAINER.encode(), 2, 1)
    cgroups.add(3, f"{POD}/{OTHER_ID}".encode(), 3, 1)
    cgroups.mark_removed(3, 4)
    for number in range(10, 10 + MOST_NESTED + 100):
        cgroups.add(number, f"{CONTAINER}/x{number}".encode(), number, 2)
        cgroups.mark_removed(number, number)
    assert cgroups.forget(1_000_000) == list(range(10, 110))
    assert cgroups.get(3), "another container's name stays, however old it is"
    assert cgroups.get(110)
    assert cgroups.forget(1_000_000) == []


def test_an_id_that_comes_again_is_another_cgroup(cgroups):
    cgroups.add(7, CONTAINER.encode(), 100)
    cgroups.mark_removed(7, 200)
    cgroups.add(7, b"/system.slice/x.service", 300)
    assert cgroups.get(7).identity.pod is None
    assert cgroups.forget(200 + KEEP_REMOVED_NS * 2) == []
    assert cgroups.get(7).path == "/system.slice/x.service"


def test_the_containers_of_a_pod_are_those_of_that_pod_only(cgroups):
    cgroups.add(1, POD.encode(), 1)
    own = cgroups.add(2, CONTAINER.encode(), 2)
    cgroups.add(3, f"{POD}/{OTHER_ID}".encode(), 3)
    cgroups.add(4, f"/kubepods/podother/{OTHER_ID}".encode(), 4)
    cgroups.mark_removed(3, 5)
    assert {one.id for one in cgroups.containers_of_pod(own.identity.pod)} == {2, 3}


def test_a_walk_finds_every_directory_with_its_path_and_its_inode_as_id(cgroups, tree):
    fresh = cgroups.walk(tree, 100)
    paths = {"/": tree} | {f"/{path.relative_to(tree)}": path for path in tree.rglob("*") if path.is_dir()}
    assert {one.path: one.id for one in fresh} == {path: number_of(folder) for path, folder in paths.items()}
    assert all(one.created == 0 for one in fresh)
    assert cgroups.get(number_of(tree / CONTAINER[1:])).identity.container == ID


def test_a_second_walk_returns_only_new_cgroups(cgroups, tree):
    cgroups.walk(tree, 100)
    (tree / "new").mkdir()
    assert [one.path for one in cgroups.walk(tree, 200)] == ["/new"]


def test_a_walk_does_not_change_what_an_event_has_added(cgroups, tree):
    cgroups.add(number_of(tree / "system.slice"), b"/system.slice", 50)
    cgroups.walk(tree, 100)
    assert cgroups.get(number_of(tree / "system.slice")).created == 50


def test_a_cgroup_that_a_walk_does_not_find_is_removed(cgroups, tree):
    cgroups.walk(tree, 100)
    gone = number_of(tree / CONTAINER[1:])
    (tree / CONTAINER[1:]).rmdir()
    cgroups.walk(tree, 200)
    assert cgroups.get(gone).removed == 200


def test_a_cgroup_that_was_created_after_the_walk_began_is_not_removed(cgroups, tree):
    cgroups.add(1, b"/just/created", 300)
    cgroups.walk(tree, 200)
    assert cgroups.get(1).removed is None


def test_an_id_that_a_walk_finds_under_another_name_is_another_cgroup(cgroups, tree):
    number = number_of(tree / "system.slice")
    cgroups.add(number, CONTAINER.encode(), 50)
    fresh = cgroups.walk(tree, 100)
    assert number in {one.id for one in fresh}
    assert cgroups.get(number).path == "/system.slice"


def test_a_walk_does_not_follow_links(cgroups, tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "inside").mkdir()
    (tree / "link").symlink_to(elsewhere)
    assert not any("link" in one.path or "inside" in one.path for one in cgroups.walk(tree, 100))


def test_a_walk_reads_names_of_any_bytes(cgroups, tree):
    folder = (str(tree / "odd") + "\udcff").encode(errors="surrogateescape")
    with_bytes = folder.decode(errors="surrogateescape")
    (tree / with_bytes).mkdir()
    assert "/odd\ufffd" in {one.path for one in cgroups.walk(tree, 100)}


def test_a_missing_root_is_an_error_with_its_path(cgroups, tmp_path):
    with pytest.raises(NoHierarchy, match=r"cannot read .*nowhere: No such file"):
        cgroups.walk(tmp_path / "nowhere", 100)


def test_a_cgroup_that_is_found_again_is_not_removed_any_more(cgroups, tree):
    cgroups.walk(tree, 100)
    number = number_of(tree / "system.slice")
    cgroups.mark_removed(number, 150)
    cgroups.walk(tree, 200)
    assert cgroups.get(number).removed is None
