"""What is known of cgroups and pods, and what of it the next agent finds in the journal."""

import pytest

from agent.directories import CGROUPS, PODS, Directories
from agent.identity.cgroups import KEEP_DEAD_NS
from agent.identity.pods import KEEP_GONE_S
from agent.kernel.records import BORN, DIED, ENTERED, CgroupChange
from agent.nouns import Container, Pod

UID, OTHER, ID = "a87d9c0e-19ae-4043-83a2-abda8b90c98e", "0fd2b1f3-3a3e-4f0a-9f5e-52b1e4a3c111", "7b" * 32
POD = f"/kubepods/burstable/pod{UID}"


class Kept:
    """As a journal keeps it: what was staged last is found by the next."""

    def __init__(self):
        self.shelves, self.staged = {}, []

    def keep(self, shelf, key, value):
        self.staged.append((shelf, key))
        items = self.shelves.setdefault(shelf, {})
        items.pop(key, None)
        if value is not None:
            items[key] = value

    def shelf(self, name):
        return self.shelves.get(name, {})


class Kernel:
    """What it was told of marks, and what it tells of cgroups."""

    def __init__(self):
        self.marks = {}

    def mark(self, cgroup, counted, pod, is_pod):
        self.marks[cgroup] = (counted, pod, is_pod)

    @staticmethod
    def born(number, path, parent, time=100):
        return CgroupChange(number, parent, time, BORN, path.encode(), True, 0, 0)

    @staticmethod
    def died(number, time):
        return CgroupChange(number, 0, time, DIED, b"", True, 0, 0)


def a_pod(uid=UID):
    container = Container(ID, "app", "busybox", None, "app", "containerd")
    return Pod(
        uid, "shop", "cart", frozenset([uid]), {"app": "cart"}, ("Deployment", "cart"), "default", "Burstable", {ID: container}
    )


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def here(tmp_path, kernel):
    """A pod with a container, and what the container made."""
    directories = Directories(tmp_path, api=True)
    directories.pods.put(a_pod())
    births = [kernel.born(4, POD, 3), kernel.born(5, f"{POD}/{ID}", 4), kernel.born(6, f"{POD}/{ID}/init", 5)]
    directories.hear(births, kernel.mark)
    return directories


def next_agent(tmp_path, kept, *, cgroups=True, monotonic=1000.0):
    directories = Directories(tmp_path, api=True)
    directories.restore(kept, monotonic, cgroups=cgroups)
    return directories


def name_of(directories, cgroup):
    subject = directories.subjects.best(cgroup)
    return subject.pod and subject.pod.name, subject.container and subject.container.name


def test_a_birth_is_named_and_the_kernel_is_told_where_it_counts(here, kernel):
    assert name_of(here, 5) == name_of(here, 6) == ("cart", "app")
    assert kernel.marks == {4: (4, 4, True), 5: (5, 4, False), 6: (5, 4, False)}


def test_an_id_that_comes_again_is_another_cgroup(here, kernel):
    assert name_of(here, 6) == ("cart", "app")
    here.hear([kernel.born(6, "/system.slice/cron.service", 1)], kernel.mark)
    assert here.subjects.of(6).state == "host"


def test_what_enters_a_container_is_found_by_its_task(here, kernel):
    here.hear([CgroupChange(5, 0, 200, ENTERED, b"", True, 77, 190)], kernel.mark)
    assert here.entrants.cgroup_of(77, 190) == 5
    assert here.entrants.cgroup_of(77, 191) is None


def test_a_walk_finds_what_was_born_unheard_and_tells_the_kernel(tmp_path, kernel):
    (tmp_path / f"{POD}/{ID}/init"[1:]).mkdir(parents=True)
    directories = Directories(tmp_path, api=True)
    directories.walk(kernel.mark, 100)
    pod, container, inner = ((tmp_path / path[1:]).stat().st_ino for path in (POD, f"{POD}/{ID}", f"{POD}/{ID}/init"))
    assert kernel.marks == {pod: (pod, pod, True), container: (container, pod, False), inner: (container, pod, False)}
    assert directories.pods_there() == {UID}


def test_the_next_agent_knows_what_died_and_went_meanwhile(here, kernel, tmp_path):
    here.hear([kernel.died(5, 200)], kernel.mark)
    here.pods.remove(UID, 0.0)
    kept = Kept()
    here.keep(kept)
    after = next_agent(tmp_path, kept)
    assert name_of(after, 5) == ("cart", "app")
    assert after.cgroups.get(5) == here.cgroups.get(5)
    assert sorted(after.marks.rows_of(4, {4: 4, 5: 5, 6: 6})) == [4, 5, 6]
    assert after.pods.get(UID) == here.pods.get(UID)
    assert after.pods.is_gone(UID)
    assert after.pods_there() == {UID}, "its own directory lives"


def test_a_pod_that_was_gone_stays_as_long_under_the_next_agent(here, tmp_path):
    here.pods.remove(UID, 0.0)
    kept = Kept()
    here.keep(kept)
    after = next_agent(tmp_path, kept, monotonic=1_000_000.0)
    after.forget(0, 1_000_000.0 + KEEP_GONE_S - 1)
    assert after.pods.get(UID)
    after.forget(0, 1_000_000.0 + KEEP_GONE_S + 1)
    assert after.pods.get(UID) is None


def test_after_a_boot_pods_are_known_and_cgroups_are_not(here, tmp_path):
    kept = Kept()
    here.keep(kept)
    after = next_agent(tmp_path, kept, cgroups=False)
    assert after.pods.known() == [UID]
    assert after.cgroups.known() == []


def test_only_what_changed_is_staged_again(here, kernel):
    kept = Kept()
    here.keep(kept)
    assert sorted(kept.staged) == [(CGROUPS, 4), (CGROUPS, 5), (CGROUPS, 6), (PODS, UID)]
    kept.staged.clear()
    here.keep(kept)
    assert kept.staged == []
    here.hear([kernel.died(6, 200)], kernel.mark)
    here.pods.put(a_pod(OTHER))
    here.keep(kept)
    assert sorted(kept.staged) == [(CGROUPS, 6), (PODS, OTHER)]
    kept.staged.clear()
    here.keep(kept, everything=True)
    assert len(kept.staged) == 5


def test_what_is_forgotten_here_is_forgotten_there(here, kernel, tmp_path):
    here.hear([kernel.died(6, 200)], kernel.mark)
    here.pods.remove(UID, 0.0)
    kept = Kept()
    here.keep(kept)
    assert here.forget(200 + KEEP_DEAD_NS + 1, KEEP_GONE_S + 1) == [6]
    assert list(here.marks.rows_of(4, {5: 5, 6: 6})) == [5]
    here.keep(kept)
    assert sorted(kept.shelf(CGROUPS)) == [4, 5]
    assert not kept.shelf(PODS)
    assert name_of(next_agent(tmp_path, kept), 5) == (None, None)
