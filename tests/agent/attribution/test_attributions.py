"""The attribution of a cgroup: made of cgroups and pods, never awaited, and never another pod's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.attribution.attributions import Attributions
from agent.attribution.cgroups import Cgroups
from agent.attribution.kubelet_root import KubeletRoot
from agent.attribution.pods import KEEP_DELETED_S, Pods
from agent.model import Container, Pod

UID, OTHER_UID, HASH = "a87d9c0e-19ae-4043-83a2-abda8b90c98e", "0fd2b1f3-3a3e-4f0a-9f5e-52b1e4a3c111", "21fdd1a722e0fcb3" * 2
SANDBOX, APP, LATER = "5a" * 32, "7b" * 32, "c4" * 32


def a_pod(uid=UID, *containers, aliases=(), **fields):
    given = {"namespace": "shop", "name": f"pod-{uid}", "labels": {}, "workload": None, "service_account": None, "qos": None}
    named = {one: Container(one, "app", "busybox", None, "app", "containerd") for one in containers}
    return Pod(uid=uid, aliases=frozenset([uid, *aliases]), containers=named, **{**given, **fields})


class Node:
    """Cgroups, pods and attributions, and a kernel that numbers cgroups upwards."""

    def __init__(self, api=True):
        self.cgroups, self.pods = Cgroups(), Pods()
        self.attributions = Attributions(self.cgroups, self.pods, KubeletRoot("/kubepods"), api=api)
        self._last = 100

    def created(self, path, number=None, time=None):
        self._last += 1
        number = number or self._last
        self.cgroups.add(number, path.encode(), self._last if time is None else time)
        self.attributions.cgroup_changed(number)
        return number

    def container(self, container, uid=UID, **more):
        return self.created(f"/kubepods/burstable/pod{uid}/{container}", **more)


@pytest.fixture
def node():
    return Node()


def test_a_process_of_the_host_is_attributed_at_once(node):
    cgroup = node.created("/system.slice/ssh.service")
    attribution = node.attributions.find(cgroup)
    assert (attribution.state, attribution.by, attribution.path, attribution.pod_uid) == (
        "host",
        None,
        "/system.slice/ssh.service",
        None,
    )


def test_a_container_is_unknown_until_the_api_names_it(node):
    cgroup = node.container(APP)
    assert node.attributions.find(cgroup) is None
    node.pods.put(a_pod())
    assert node.attributions.find(cgroup) is None
    node.pods.put(a_pod(UID, APP))
    attribution = node.attributions.find(cgroup)
    assert (attribution.state, attribution.by, attribution.pod.uid, attribution.container.name) == (
        "resolved",
        "status",
        UID,
        "app",
    )


def test_until_then_resolve_now_answers_by_the_path(node):
    cgroup = node.container(APP)
    now = node.attributions.resolve_now(cgroup)
    assert (now.state, now.by, now.pod_uid, now.pod, now.container) == (
        "unresolved",
        "cgroup",
        UID,
        None,
        Container(APP),
    )
    assert node.attributions.find(cgroup) is None


def test_a_final_attribution_stays_and_is_by_the_path(node):
    cgroup = node.container(APP)
    final = node.attributions.resolve_final(cgroup)
    assert (final.state, final.by, final.pod_uid) == ("unresolved", "cgroup", UID)
    assert node.attributions.find(cgroup) is final


def test_a_final_attribution_is_replaced_when_the_api_knows_more(node):
    cgroup = node.container(APP)
    node.attributions.resolve_final(cgroup)
    node.pods.put(a_pod(UID, APP))
    assert node.attributions.find(cgroup).state == "resolved"


def test_changes_of_another_pod_keep_a_final_attribution(node):
    cgroup = node.container(APP)
    final = node.attributions.resolve_final(cgroup)
    node.pods.put(a_pod(OTHER_UID, LATER))
    assert node.attributions.find(cgroup) is final


def test_a_known_pods_first_container_that_is_in_no_status_is_finally_its_sandbox(node):
    first, second = node.container(SANDBOX), node.container(LATER)
    node.pods.put(a_pod(UID, APP))
    assert node.attributions.find(first) is None
    sandbox = node.attributions.resolve_final(first)
    assert (sandbox.state, sandbox.by, sandbox.container.kind, sandbox.pod.uid) == ("resolved", "birth", "sandbox", UID)
    assert node.attributions.resolve_final(second).state == "unresolved"


def test_of_containers_older_than_the_agent_the_one_with_the_lowest_id_is_the_sandbox(node):
    late, early = node.container(LATER, number=20, time=0), node.container(SANDBOX, number=10, time=0)
    node.pods.put(a_pod())
    assert node.attributions.resolve_final(late).state == "unresolved"
    assert node.attributions.resolve_final(early).container.kind == "sandbox"


def test_a_cgroup_nested_in_a_sandbox_is_the_sandbox_too(node):
    node.container(SANDBOX)
    below = node.created(f"/kubepods/burstable/pod{UID}/{SANDBOX}/init")
    node.pods.put(a_pod())
    assert node.attributions.resolve_final(below).container.kind == "sandbox"


def test_without_the_pod_there_is_no_sandbox(node):
    assert node.attributions.resolve_final(node.container(SANDBOX)).state == "unresolved"


def test_the_first_container_of_another_pod_is_not_this_ones_sandbox(node):
    node.container(SANDBOX, OTHER_UID)
    own = node.container(APP)
    node.pods.put(a_pod())
    assert node.attributions.resolve_final(own).container.kind == "sandbox"


def test_a_removed_sandbox_still_counts_as_the_first_container(node):
    sandbox, app = node.container(SANDBOX), node.container(APP)
    node.cgroups.mark_removed(sandbox, 1000)
    node.pods.put(a_pod())
    assert node.attributions.resolve_final(app).state == "unresolved"


def test_a_pods_own_cgroup_has_the_pod_and_no_container(node):
    cgroup = node.created(f"/kubepods/burstable/pod{UID}")
    node.pods.put(a_pod(UID, APP))
    attribution = node.attributions.find(cgroup)
    assert (attribution.state, attribution.pod.uid, attribution.container) == ("resolved", UID, None)


def test_a_reused_id_never_has_the_old_pod(node):
    cgroup = node.container(APP)
    node.pods.put(a_pod(UID, APP))
    assert node.attributions.find(cgroup).pod.uid == UID
    node.cgroups.mark_removed(cgroup, 1000)
    node.container(LATER, OTHER_UID, number=cgroup)
    assert node.attributions.find(cgroup) is None
    assert node.attributions.resolve_now(cgroup).pod_uid == OTHER_UID


def test_a_reused_id_does_not_inherit_a_final_attribution(node):
    cgroup = node.container(APP)
    node.attributions.resolve_final(cgroup)
    node.container(LATER, OTHER_UID, number=cgroup)
    assert node.attributions.find(cgroup) is None


def test_a_path_that_no_collector_takes_is_not_sent_and_its_pod_is(node):
    nested = node.created(f"/kubepods/burstable/pod{UID}/{APP}" + f"/{'d' * 200}" * 24)
    host = node.created("/a.slice" + f"/{'d' * 200}" * 24)
    node.pods.put(a_pod(UID, APP))
    found = node.attributions.find(nested)
    assert (found.path, found.cgroup, found.pod_uid, found.container.name) == (None, nested, UID, "app")
    assert (node.attributions.find(host).path, node.attributions.find(host).state) == (None, "host")


def test_a_forgotten_id_is_unresolved(node):
    cgroup = node.container(APP)
    node.pods.put(a_pod(UID, APP))
    node.attributions.find(cgroup)
    node.cgroups.mark_removed(cgroup, 0)
    for gone in node.cgroups.forget(10**15):
        node.attributions.cgroup_changed(gone)
    assert node.attributions.find(cgroup) is None
    assert (node.attributions.resolve_final(cgroup).state, node.attributions.resolve_final(cgroup).path) == ("unresolved", None)


def test_a_static_pods_process_has_the_uid_of_its_mirror(node):
    cgroup = node.container(APP, HASH)
    node.pods.put(a_pod(UID, APP, aliases=[HASH]))
    attribution = node.attributions.find(cgroup)
    assert (attribution.state, attribution.pod_uid) == ("resolved", UID)


def test_a_changed_label_is_on_the_next_attribution_and_not_on_the_last(node):
    cgroup = node.container(APP)
    node.pods.put(a_pod(UID, APP, labels={"v": "1"}))
    before = node.attributions.find(cgroup)
    node.pods.put(a_pod(UID, APP, labels={"v": "2"}))
    assert node.attributions.find(cgroup).pod.labels == {"v": "2"}
    assert before.pod.labels == {"v": "1"}


def test_the_same_object_is_returned_while_nothing_changes(node):
    """Encoders cache its text by its identity."""
    cgroup = node.container(APP)
    node.pods.put(a_pod(UID, APP))
    before = node.attributions.find(cgroup)
    node.pods.put(a_pod(OTHER_UID, LATER))
    assert node.attributions.find(cgroup) is before


def test_a_deleted_pod_stays_resolvable_until_it_is_forgotten(node):
    cgroup = node.container(APP)
    node.pods.put(a_pod(UID, APP))
    node.pods.remove(UID, 1000.0)
    assert node.attributions.find(cgroup).pod.uid == UID
    node.pods.forget(1000.0 + KEEP_DELETED_S)
    assert node.attributions.find(cgroup).pod.uid == UID
    node.pods.forget(1001.0 + KEEP_DELETED_S)
    assert node.attributions.find(cgroup) is None


def test_without_an_api_no_fork_waits():
    node = Node(api=False)
    attribution = node.attributions.find(node.container(APP))
    assert (attribution.state, attribution.by, attribution.pod_uid) == ("unresolved", "cgroup", UID)


numbers, happenings = st.integers(1, 3), st.sampled_from(["created", "died", "pod", "gone", "give up"])


@given(st.lists(st.tuples(happenings, numbers, numbers), max_size=30))
def test_no_order_of_events_attributes_a_cgroup_to_another_pod(steps):
    node, owner = Node(), {}
    for what, number, pod in steps:
        uid = f"uid-{pod}"
        if what == "created":
            node.container(APP, uid, number=number)
            owner[number] = uid
        elif what == "died":
            node.cgroups.mark_removed(number, 1)
        elif what == "pod":
            node.pods.put(a_pod(uid, APP))
        elif what == "gone":
            node.pods.remove(uid, 0.0)
            node.pods.forget(10_000.0)
        else:
            node.attributions.resolve_final(number)
        for cgroup, uid in owner.items():
            assert node.attributions.resolve_now(cgroup).pod_uid == uid


def test_a_pod_can_not_take_another_pods_forks_by_an_annotation(node):
    cgroup = node.container(APP)
    node.pods.put(a_pod(UID, APP))
    node.pods.put(a_pod(OTHER_UID, APP, aliases=[UID]))
    assert node.attributions.resolve_now(cgroup).pod_uid == UID


def test_a_container_that_a_walk_found_late_is_not_the_sandbox(node):
    node.container(SANDBOX)
    app = node.container(APP, time=0)  # its event was lost, and the walk that followed found it
    node.pods.put(a_pod())
    assert node.attributions.resolve_final(app).container.kind is None


def test_a_sandbox_stays_one_when_its_pods_status_changes(node):
    cgroup = node.container(SANDBOX)
    node.pods.put(a_pod())
    assert node.attributions.resolve_final(cgroup).container.kind == "sandbox"
    node.pods.put(a_pod(UID, APP))
    assert node.attributions.resolve_now(cgroup).container.kind == "sandbox"


def test_a_replaced_sandbox_is_one_too_and_a_container_beside_it_is_not(node):
    """As after a crash of the first one: the kubelet stops what is left of the pod, and starts it again."""
    first, app = node.container(SANDBOX), node.container(APP)
    node.pods.put(a_pod(UID, APP))
    for gone in (first, app):
        node.cgroups.mark_removed(gone, node.cgroups.get(app).created + 1)
    again = node.container("5b" * 32, time=node.cgroups.get(app).created + 2)
    beside = node.container(LATER, time=node.cgroups.get(app).created + 3)
    assert node.attributions.resolve_final(again).container.kind == "sandbox"
    assert node.attributions.resolve_final(beside).state == "unresolved"
