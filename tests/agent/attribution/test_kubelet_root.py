"""Where the kubelet's cgroups are is learned from the API's containers; a path elsewhere is never a pod's."""

import pytest

from agent.attribution.metadata_cache import MetadataCache
from agent.model import POD
from agent.state_records import KUBELET_ROOT
from tests.agent.attribution.test_metadata_cache import ID, UID, FakeJournal, Kernel, a_pod

REAL = f"/kubepods/burstable/pod{UID}"
USERS = f"/user.slice/user-1000.slice/user@1000.service/kubepods/burstable/pod{UID}"
DOCKERS = f"/system.slice/docker-{'c4' * 32}.scope/kubepods/pod{UID}"


@pytest.fixture
def kernel():
    return Kernel()


def cache_of(tmp_path, kernel, *pods, root=None, known=True):
    """With the API's pod when `known`, and these pods' paths, each with a container, in the order of their creation."""
    cache = MetadataCache(tmp_path, api=True, kubelet_root=root)
    events, number = [], 10
    for path in pods:
        events += [kernel.created(number, path, 1), kernel.created(number + 1, f"{path}/{ID}", number)]
        number += 2
    cache.apply_cgroup_events(events, kernel)
    if known:
        cache.pods.put(a_pod())
        cache.apply_cgroup_events([], kernel)
    return cache


def found(cache, cgroup):
    attribution = cache.attributions.resolve_now(cgroup)
    return attribution.state, attribution.by, attribution.pod and attribution.pod.name


@pytest.mark.parametrize("elsewhere", [USERS, DOCKERS])
def test_a_pods_path_outside_the_kubelets_root_is_the_hosts_and_shows_its_path(tmp_path, kernel, elsewhere):
    cache = cache_of(tmp_path, kernel, REAL, elsewhere)
    assert found(cache, 11) == ("resolved", "status", "cart")
    assert found(cache, 13) == ("host", None, None)
    assert cache.attributions.find(13).path == f"{elsewhere}/{ID}"
    assert 12 not in kernel.tracked_cgroups and kernel.tracked_cgroups[10] == (10, POD)


def test_of_two_cgroups_with_one_containers_id_the_older_one_is_real(tmp_path, kernel):
    cache = cache_of(tmp_path, kernel, f"/docker/{'c4' * 32}/kubelet.slice/kubelet-kubepods/pod{UID}", USERS)
    assert found(cache, 11) == ("resolved", "status", "cart")
    assert found(cache, 13) == ("host", None, None)
    assert kernel.pod_level == 6, "below the node's container in kind"


def test_an_older_cgroup_with_a_pods_id_and_no_container_of_it_does_not_count(tmp_path, kernel):
    cache = MetadataCache(tmp_path, api=True)
    cache.apply_cgroup_events(
        [
            kernel.created(5, f"{USERS}/{'ee' * 32}", 1),
            kernel.created(10, REAL, 1),
            kernel.created(11, f"{REAL}/{ID}", 10),
        ],
        kernel,
    )
    cache.pods.put(a_pod())
    cache.apply_cgroup_events([], kernel)
    assert found(cache, 5) == ("host", None, None)
    assert found(cache, 11) == ("resolved", "status", "cart")
    assert set(kernel.tracked_cgroups) == {10, 11}


def test_until_it_is_learned_a_pod_is_named_by_its_path_only(tmp_path, kernel):
    cache = cache_of(tmp_path, kernel, REAL, known=False)
    assert found(cache, 11) == ("unresolved", "cgroup", None)
    assert not cache.kubelet_root.known
    cache.pods.put(a_pod())
    assert found(cache, 11) == ("unresolved", "cgroup", None), "the API's pod alone shows no root"
    cache.apply_cgroup_events([], kernel)
    assert found(cache, 11) == ("resolved", "status", "cart")


def test_a_root_that_is_set_is_never_learned(tmp_path, kernel):
    cache = cache_of(tmp_path, kernel, USERS, REAL, root="/kubepods")
    assert found(cache, 11) == ("host", None, None)
    assert found(cache, 13) == ("resolved", "status", "cart")


def test_the_next_agent_knows_what_was_learned(tmp_path, kernel):
    cache = cache_of(tmp_path, kernel, REAL)
    journal = FakeJournal()
    cache.stage(journal)
    assert list(journal.table(KUBELET_ROOT)) == ["path"]
    after = MetadataCache(tmp_path, api=True)
    after.restore(journal, 0.0, cgroups=False)
    assert (after.kubelet_root.path, after.kubelet_root.known) == ("/kubepods", True)
    after.pods.put(a_pod())
    after.apply_cgroup_events([kernel.created(2, "/kubepods", 1), kernel.created(3, f"{USERS}/{ID}", 1)], kernel)
    assert found(after, 3) == ("host", None, None)


def test_a_container_that_is_gone_can_not_be_made_again_elsewhere(tmp_path, kernel):
    cache = cache_of(tmp_path, kernel, REAL)
    cache.apply_cgroup_events([kernel.created(3, "/kubepods", 1), kernel.removed(11, 200), kernel.removed(10, 201)], kernel)
    cache.apply_cgroup_events([kernel.created(20, USERS, 1), kernel.created(21, f"{USERS}/{ID}", 20)], kernel)
    cache.pods.put(a_pod())
    cache.apply_cgroup_events([], kernel)
    assert found(cache, 21) == ("host", None, None)


def test_a_container_that_ended_before_the_api_named_it_shows_the_root(tmp_path, kernel):
    cache = cache_of(tmp_path, kernel, REAL, known=False)
    cache.apply_cgroup_events([kernel.removed(11, 200)], kernel)
    assert not cache.kubelet_root.known
    cache.pods.put(a_pod())
    cache.apply_cgroup_events([], kernel)
    assert (cache.kubelet_root.path, cache.kubelet_root.known) == ("/kubepods", True)
    assert found(cache, 11) == ("resolved", "status", "cart")


def test_a_root_that_is_removed_is_learned_anew_when_its_cgroups_are_forgotten(tmp_path, kernel):
    cache = cache_of(tmp_path, kernel, REAL)
    cache.apply_cgroup_events(
        [kernel.removed(11, 200), kernel.removed(10, 201), kernel.created(20, f"/kubepods.slice/kubepods-pod{UID}.slice", 1)],
        kernel,
    )
    cache.apply_cgroup_events(
        [kernel.created(21, f"/kubepods.slice/kubepods-pod{UID}.slice/cri-containerd-{ID}.scope", 20)], kernel
    )
    cache.forget(10**15, 0.0)
    cache.pods.put(a_pod())
    cache.apply_cgroup_events([], kernel)
    assert cache.kubelet_root.path == "/kubepods.slice"
    assert found(cache, 21) == ("resolved", "status", "cart")
