"""What is known of cgroups and pods, and what of it the next agent restores from the journal."""

import pytest

from agent.attribution.cgroups import KEEP_REMOVED_NS
from agent.attribution.metadata_cache import MetadataCache
from agent.attribution.pods import KEEP_DELETED_S
from agent.model import ATTACHED, CONTAINER, CREATED, KUBELET_ROOT, QOS_CLASS, REMOVED, CgroupEvent, Container, Pod
from agent.model import POD as KIND_POD
from agent.state_records import CGROUPS, PODS
from agent.state_records import KUBELET_ROOT as ROOT_TABLE

UID, OTHER, ID = "a87d9c0e-19ae-4043-83a2-abda8b90c98e", "0fd2b1f3-3a3e-4f0a-9f5e-52b1e4a3c111", "7b" * 32
POD = f"/kubepods/burstable/pod{UID}"


class FakeJournal:
    """A journal whose commits always succeed. `staged`: table and key of each item that was put."""

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
    """A CgroupTracker, and a maker of cgroup events."""

    def __init__(self):
        self.tracked_cgroups, self.pod_level = {}, 0

    def track(self, cgroup, pod, kind):
        self.tracked_cgroups[cgroup] = (pod, kind)

    def untrack(self, cgroup):
        del self.tracked_cgroups[cgroup]

    def set_pod_level(self, level):
        self.pod_level = level

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
def metadata_cache(tmp_path, kernel):
    """Knows a pod with a container, and a cgroup nested in it."""
    metadata_cache = MetadataCache(tmp_path, api=True)
    metadata_cache.pods.put(a_pod())
    events = [kernel.created(4, POD, 3), kernel.created(5, f"{POD}/{ID}", 4), kernel.created(6, f"{POD}/{ID}/init", 5)]
    metadata_cache.apply_cgroup_events(events, kernel)
    return metadata_cache


def next_agent(tmp_path, journal, *, cgroups=True, monotonic=1000.0):
    metadata_cache = MetadataCache(tmp_path, api=True)
    metadata_cache.restore(journal, monotonic, cgroups=cgroups)
    return metadata_cache


def names_of(metadata_cache, cgroup):
    attribution = metadata_cache.attributions.resolve_now(cgroup)
    return attribution.pod and attribution.pod.name, attribution.container and attribution.container.name


def test_a_created_cgroup_is_attributed_and_tracked_in_the_kernel(metadata_cache, kernel):
    assert names_of(metadata_cache, 5) == names_of(metadata_cache, 6) == ("cart", "app")
    assert kernel.tracked_cgroups == {4: (4, KIND_POD), 5: (4, CONTAINER)}, "and nothing inside the container"


def test_an_id_that_comes_again_is_another_cgroup(metadata_cache, kernel):
    assert names_of(metadata_cache, 6) == ("cart", "app")
    metadata_cache.apply_cgroup_events([kernel.created(6, "/system.slice/cron.service", 1)], kernel)
    assert metadata_cache.attributions.find(6).state == "host"


def test_an_attached_task_is_found_by_tid_and_start(metadata_cache, kernel):
    metadata_cache.apply_cgroup_events([CgroupEvent(5, 0, 200, ATTACHED, b"", True, 77, 190)], kernel)
    assert metadata_cache.attached_tasks.cgroup_of(77, 190) == 5
    assert metadata_cache.attached_tasks.cgroup_of(77, 191) is None


def test_a_walk_finds_and_tracks_cgroups_after_lost_events(tmp_path, kernel):
    (tmp_path / f"{POD}/{ID}/init"[1:]).mkdir(parents=True)
    metadata_cache = MetadataCache(tmp_path, api=True)
    metadata_cache.walk(kernel, 100)
    root, qos, pod, container = (
        (tmp_path / path[1:]).stat().st_ino for path in ("/kubepods", "/kubepods/burstable", POD, f"{POD}/{ID}")
    )
    assert kernel.tracked_cgroups == {
        root: (root, KUBELET_ROOT),
        qos: (qos, QOS_CLASS),
        pod: (pod, KIND_POD),
        container: (pod, CONTAINER),
    }
    assert kernel.pod_level == 3
    assert metadata_cache.pods_with_cgroups() == {UID}


def test_while_the_kubelets_root_is_removed_no_level_is_set_and_the_next_root_sets_it_after_its_pods(tmp_path, kernel):
    metadata_cache = MetadataCache(tmp_path, api=True, kubelet_root="/kubepods")
    root = [kernel.created(2, "/kubepods", 1), kernel.created(3, "/kubepods/burstable", 2)]
    metadata_cache.apply_cgroup_events(root, kernel)
    assert kernel.pod_level == 3
    metadata_cache.apply_cgroup_events([kernel.removed(3, 200), kernel.removed(2, 200)], kernel)
    assert kernel.pod_level == 0
    metadata_cache.walk(kernel, 300)
    assert kernel.pod_level == 0, "a walk does not find it either"
    made_again = [kernel.created(12, "/kubepods", 1, 400), kernel.created(13, "/kubepods/burstable", 12, 400)]
    tracked = []
    kernel.set_pod_level = lambda level: tracked.append((level, set(kernel.tracked_cgroups)))
    metadata_cache.apply_cgroup_events([*made_again, kernel.created(14, POD, 13, 400)], kernel)
    (level, known) = tracked[-1]
    assert level == 3 and {12, 13, 14} <= known


def test_removed_cgroups_and_deleted_pods_are_restored(metadata_cache, kernel, tmp_path):
    metadata_cache.apply_cgroup_events([kernel.removed(5, 200)], kernel)
    metadata_cache.pods.remove(UID, 0.0)
    journal = FakeJournal()
    metadata_cache.stage(journal)
    after = next_agent(tmp_path, journal)
    assert names_of(after, 5) == ("cart", "app")
    assert after.cgroups.get(5) == metadata_cache.cgroups.get(5)
    assert sorted(after.tracked_cgroups.counters_of(4, {4: 4, 5: 5, 6: 6})) == [4, 5, 6]
    assert after.pods.get(UID) == metadata_cache.pods.get(UID)
    assert after.pods.is_deleted(UID)
    assert after.pods_with_cgroups() == {UID}, "its own directory lives"


def test_a_deleted_pod_is_kept_for_its_full_time_after_a_restart(metadata_cache, tmp_path):
    metadata_cache.pods.remove(UID, 0.0)
    journal = FakeJournal()
    metadata_cache.stage(journal)
    after = next_agent(tmp_path, journal, monotonic=1_000_000.0)
    after.forget(0, 1_000_000.0 + KEEP_DELETED_S - 1)
    assert after.pods.get(UID)
    after.forget(0, 1_000_000.0 + KEEP_DELETED_S + 1)
    assert after.pods.get(UID) is None


def test_after_a_reboot_pods_are_restored_and_cgroups_are_not(metadata_cache, tmp_path):
    journal = FakeJournal()
    metadata_cache.stage(journal)
    after = next_agent(tmp_path, journal, cgroups=False)
    assert after.pods.uids() == [UID]
    assert after.cgroups.ids() == []


def test_only_what_changed_is_staged_again(metadata_cache, kernel):
    journal = FakeJournal()
    metadata_cache.stage(journal)
    assert sorted(journal.staged) == [(CGROUPS, 4), (CGROUPS, 5), (CGROUPS, 6), (ROOT_TABLE, "path"), (PODS, UID)]
    journal.staged.clear()
    metadata_cache.stage(journal)
    assert journal.staged == []
    metadata_cache.apply_cgroup_events([kernel.removed(6, 200)], kernel)
    metadata_cache.pods.put(a_pod(OTHER))
    metadata_cache.stage(journal)
    assert sorted(journal.staged) == [(CGROUPS, 6), (PODS, OTHER)]
    journal.staged.clear()
    metadata_cache.stage(journal, everything=True)
    assert len(journal.staged) == 6


def test_what_is_forgotten_is_deleted_from_the_journal(metadata_cache, kernel, tmp_path):
    metadata_cache.apply_cgroup_events([kernel.removed(6, 200)], kernel)
    metadata_cache.pods.remove(UID, 0.0)
    journal = FakeJournal()
    metadata_cache.stage(journal)
    assert metadata_cache.forget(200 + KEEP_REMOVED_NS + 1, KEEP_DELETED_S + 1) == [6]
    assert list(metadata_cache.tracked_cgroups.counters_of(4, {5: 5, 6: 6})) == [5]
    metadata_cache.stage(journal)
    assert sorted(journal.table(CGROUPS)) == [4, 5]
    assert not journal.table(PODS)
    assert names_of(next_agent(tmp_path, journal), 5) == (None, None)


@pytest.mark.parametrize(
    ("known", "path", "before", "unknown"),
    [
        pytest.param([], f"{POD}/{ID}", 200, 1, id="none of them is in the API: the node has another name there"),
        pytest.param([UID], f"{POD}/{ID}", 200, 0, id="one of them is"),
        pytest.param([OTHER], f"{POD}/{ID}", 200, 1, id="the pods in the API are of another node"),
        pytest.param([], f"{POD}/{ID}", 50, 0, id="it was created a moment ago"),
        pytest.param([], "/system.slice/ssh.service", 200, 0, id="there is no pod"),
        pytest.param([], POD, 200, 0, id="a pod has no container yet"),
    ],
)
def test_pods_are_counted_when_the_node_has_another_name_in_the_api(tmp_path, known, path, before, unknown):
    metadata_cache = MetadataCache(tmp_path, api=True)
    metadata_cache.apply_cgroup_events([Kernel.created(11, path, 10)], Kernel())
    for uid in known:
        metadata_cache.pods.put(a_pod(uid))
    assert metadata_cache.unknown_pods(before) == unknown
    metadata_cache.apply_cgroup_events([Kernel.removed(11, 150)], Kernel())
    assert metadata_cache.unknown_pods(before) == 0
