"""The known pods, by every uid that a cgroup's path may have."""

import pytest

from agent.attribution.pods import KEEP_DELETED_S, Pods
from agent.model import Container, Pod

UID, HASH = "cc130f85-8c6e-408c-976c-4b52eeab7bd3", "21fdd1a722e0fcb32d3c6f8bb5bcd5ad"


def a_pod(uid=UID, *containers, aliases=(), name="web"):
    named = {one: Container(one, "app", "busybox:1.36", "sha256:1", "app", "containerd") for one in containers}
    return Pod(uid, "shop", name, frozenset([uid, *aliases]), {}, None, None, None, named)


@pytest.fixture
def pods():
    return Pods()


def test_a_pod_is_found_by_its_uid(pods):
    pods.put(a_pod())
    assert pods.get(UID).name == "web"
    assert pods.get("another") is None


def test_a_static_pod_is_found_by_either_uid(pods):
    pods.put(a_pod(aliases=[HASH]))
    assert pods.get(HASH) is pods.get(UID) is not None


def test_a_static_pods_new_mirror_takes_over_its_hash(pods):
    pods.put(a_pod("old", aliases=[HASH]))
    pods.remove("old", 0.0)
    pods.put(a_pod("new", aliases=[HASH]))
    pods.forget(KEEP_DELETED_S + 1)
    assert pods.get(HASH).uid == "new"
    assert pods.get("old") is None


def test_a_static_pods_new_mirror_that_a_list_shows_takes_over_its_hash(pods):
    """The mirror was deleted and created again while no watch was open."""
    pods.put(a_pod("old", aliases=[HASH]))
    pods.replace([a_pod("new", aliases=[HASH])], 0.0)
    assert pods.get(HASH).uid == "new"
    pods.forget(KEEP_DELETED_S + 1)
    assert pods.get(HASH).uid == "new"


def test_every_change_gives_a_new_version(pods):
    versions = [pods.version]
    for change in (lambda: pods.put(a_pod()), lambda: pods.put(a_pod(name="new")), lambda: pods.remove(UID, 0.0)):
        change()
    versions.append(pods.version)
    pods.forget(KEEP_DELETED_S + 1)
    versions.append(pods.version)
    assert len(set(versions)) == 3


def test_a_deleted_pod_is_not_counted_and_still_found_for_a_while(pods):
    pods.put(a_pod())
    pods.remove(UID, 100.0)
    assert (len(pods), pods.get(UID).name) == (0, "web")
    pods.forget(100.0 + KEEP_DELETED_S)
    assert pods.get(UID) is not None
    pods.forget(100.1 + KEEP_DELETED_S)
    assert pods.get(UID) is None


def test_a_second_deletion_does_not_change_the_time_of_the_first(pods):
    pods.put(a_pod())
    pods.remove(UID, 0.0)
    pods.remove(UID, KEEP_DELETED_S)
    pods.forget(KEEP_DELETED_S + 1)
    assert pods.get(UID) is None


def test_the_deletion_of_an_unknown_pod_is_ignored(pods):
    pods.remove("never seen", 0.0)
    pods.forget(KEEP_DELETED_S + 1)
    assert len(pods) == 0


def test_a_pod_that_is_put_again_is_not_forgotten(pods):
    pods.put(a_pod())
    pods.remove(UID, 0.0)
    pods.put(a_pod())
    pods.forget(KEEP_DELETED_S * 2)
    assert (len(pods), pods.get(UID).name) == (1, "web")


def test_a_pod_that_is_not_in_a_list_is_deleted(pods):
    pods.put(a_pod("a"))
    pods.put(a_pod("b"))
    pods.replace([a_pod("b"), a_pod("c")], 0.0)
    assert len(pods) == 2
    pods.forget(KEEP_DELETED_S + 1)
    assert [pods.get(uid) is not None for uid in "abc"] == [False, True, True]


def test_an_empty_list_deletes_all(pods):
    pods.put(a_pod("a"))
    pods.replace([], 0.0)
    assert len(pods) == 0


def test_a_container_that_left_the_status_is_still_found(pods):
    pods.put(a_pod(UID, "first"))
    pods.put(a_pod(UID, "second"))
    assert pods.get(UID).containers.keys() == {"first", "second"}


def test_a_container_that_was_restarted_keeps_its_image(pods):
    pods.put(a_pod(UID, "first"))
    restarted = a_pod(UID, "second")
    ended = Container("first", "app", None, None, "app", "containerd")  # as pod_objects reads a lastState
    pods.put(Pod(*[*(getattr(restarted, name) for name in restarted.__slots__[:-1]), {"first": ended, **restarted.containers}]))
    assert pods.get(UID).containers["first"].image == "busybox:1.36"


def test_a_pod_with_many_restarts_stays_bounded(pods):
    for restart in range(3_000):
        pods.put(a_pod(UID, str(restart)))
    assert len(pods.get(UID).containers) < 1_000
