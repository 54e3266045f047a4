"""What is known of cgroups and pods, and what of it the next agent finds in the journal."""

import pytest

from agent.attribution.cgroups import KEEP_REMOVED_NS
from agent.attribution.metadata_cache import MetadataCache
from agent.attribution.pods import KEEP_DELETED_S
from agent.model import ATTACHED, CREATED, REMOVED, CgroupEvent, Container, Pod
from agent.state_records import CGROUPS, PODS

UID, OTHER, ID = "a87d9c0e-19ae-4043-83a2-abda8b90c98e", "0fd2b1f3-3a3e-4f0a-9f5e-52b1e4a3c111", "7b" * 32
POD = f"/kubepods/burstable/pod{UID}"


class Kept:
    """As a journal keeps it: what was staged last is found by the next."""

    def __init__(self):
        self.state_tables, self.staged = {}, []

    def put(self, table, key, value):
        self.staged.append((table, key))
        items = self.state_tables.setdefault(table, {})
        items.pop(key, None)
        if value is not None:
            items[key] = value

    def table(self, name):
        return self.state_tables.get(name, {})


class Kernel:
    """What it was told of marks, and what it tells of cgroups."""

    def __init__(self):
        self.tracked_cgroups = {}

    def track(self, cgroup, counted, pod, *, is_pod):
        self.tracked_cgroups[cgroup] = (counted, pod, is_pod)

    @staticmethod
    def created(number, path, parent, time=100):
        return CgroupEvent(number, parent, time, CREATED, path.encode(), True, 0, 0)

    @staticmethod
    def removed(number, time):
        return CgroupEvent(number, 0, time, REMOVED, b"", True, 0, 0)


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
    metadata_cache = MetadataCache(tmp_path, api=True)
    metadata_cache.pods.put(a_pod())
    births = [kernel.created(4, POD, 3), kernel.created(5, f"{POD}/{ID}", 4), kernel.created(6, f"{POD}/{ID}/init", 5)]
    metadata_cache.apply_cgroup_events(births, kernel)
    return metadata_cache


def next_agent(tmp_path, kept, *, cgroups=True, monotonic=1000.0):
    metadata_cache = MetadataCache(tmp_path, api=True)
    metadata_cache.restore(kept, monotonic, cgroups=cgroups)
    return metadata_cache


def name_of(metadata_cache, cgroup):
    attribution = metadata_cache.attributions.resolve_now(cgroup)
    return attribution.pod and attribution.pod.name, attribution.container and attribution.container.name


def test_a_birth_is_named_and_the_kernel_is_told_where_it_counts(here, kernel):
    assert name_of(here, 5) == name_of(here, 6) == ("cart", "app")
    assert kernel.tracked_cgroups == {4: (4, 4, True), 5: (5, 4, False), 6: (5, 4, False)}


def test_an_id_that_comes_again_is_another_cgroup(here, kernel):
    assert name_of(here, 6) == ("cart", "app")
    here.apply_cgroup_events([kernel.created(6, "/system.slice/cron.service", 1)], kernel)
    assert here.attributions.find(6).state == "host"


def test_what_enters_a_container_is_found_by_its_task(here, kernel):
    here.apply_cgroup_events([CgroupEvent(5, 0, 200, ATTACHED, b"", True, 77, 190)], kernel)
    assert here.attached_tasks.cgroup_of(77, 190) == 5
    assert here.attached_tasks.cgroup_of(77, 191) is None


def test_a_walk_finds_what_was_born_unheard_and_tells_the_kernel(tmp_path, kernel):
    (tmp_path / f"{POD}/{ID}/init"[1:]).mkdir(parents=True)
    metadata_cache = MetadataCache(tmp_path, api=True)
    metadata_cache.walk(kernel, 100)
    pod, container, inner = ((tmp_path / path[1:]).stat().st_ino for path in (POD, f"{POD}/{ID}", f"{POD}/{ID}/init"))
    assert kernel.tracked_cgroups == {pod: (pod, pod, True), container: (container, pod, False), inner: (container, pod, False)}
    assert metadata_cache.pods_with_cgroups() == {UID}


def test_the_next_agent_knows_what_died_and_went_meanwhile(here, kernel, tmp_path):
    here.apply_cgroup_events([kernel.removed(5, 200)], kernel)
    here.pods.remove(UID, 0.0)
    kept = Kept()
    here.stage(kept)
    after = next_agent(tmp_path, kept)
    assert name_of(after, 5) == ("cart", "app")
    assert after.cgroups.get(5) == here.cgroups.get(5)
    assert sorted(after.tracked_cgroups.counters_of(4, {4: 4, 5: 5, 6: 6})) == [4, 5, 6]
    assert after.pods.get(UID) == here.pods.get(UID)
    assert after.pods.is_deleted(UID)
    assert after.pods_with_cgroups() == {UID}, "its own directory lives"


def test_a_pod_that_was_gone_stays_as_long_under_the_next_agent(here, tmp_path):
    here.pods.remove(UID, 0.0)
    kept = Kept()
    here.stage(kept)
    after = next_agent(tmp_path, kept, monotonic=1_000_000.0)
    after.forget(0, 1_000_000.0 + KEEP_DELETED_S - 1)
    assert after.pods.get(UID)
    after.forget(0, 1_000_000.0 + KEEP_DELETED_S + 1)
    assert after.pods.get(UID) is None


def test_after_a_boot_pods_are_known_and_cgroups_are_not(here, tmp_path):
    kept = Kept()
    here.stage(kept)
    after = next_agent(tmp_path, kept, cgroups=False)
    assert after.pods.uids() == [UID]
    assert after.cgroups.ids() == []


def test_only_what_changed_is_staged_again(here, kernel):
    kept = Kept()
    here.stage(kept)
    assert sorted(kept.staged) == [(CGROUPS, 4), (CGROUPS, 5), (CGROUPS, 6), (PODS, UID)]
    kept.staged.clear()
    here.stage(kept)
    assert kept.staged == []
    here.apply_cgroup_events([kernel.removed(6, 200)], kernel)
    here.pods.put(a_pod(OTHER))
    here.stage(kept)
    assert sorted(kept.staged) == [(CGROUPS, 6), (PODS, OTHER)]
    kept.staged.clear()
    here.stage(kept, everything=True)
    assert len(kept.staged) == 5


def test_what_is_forgotten_here_is_forgotten_there(here, kernel, tmp_path):
    here.apply_cgroup_events([kernel.removed(6, 200)], kernel)
    here.pods.remove(UID, 0.0)
    kept = Kept()
    here.stage(kept)
    assert here.forget(200 + KEEP_REMOVED_NS + 1, KEEP_DELETED_S + 1) == [6]
    assert list(here.tracked_cgroups.counters_of(4, {5: 5, 6: 6})) == [5]
    here.stage(kept)
    assert sorted(kept.table(CGROUPS)) == [4, 5]
    assert not kept.table(PODS)
    assert name_of(next_agent(tmp_path, kept), 5) == (None, None)
