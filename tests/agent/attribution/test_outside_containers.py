"""A container that a status names is that one wherever the runtime has put its cgroup; no other cgroup is taken for it."""

import pytest

from agent.attribution.cgroup_paths import outside_container
from tests.agent.attribution.test_attributions import APP, LATER, UID, Node, a_pod

OUTSIDE = f"/k8s.io/{APP}"


@pytest.fixture
def node():
    return Node()


def found(node, cgroup):
    attribution = node.attributions.resolve_now(cgroup)
    return attribution.state, attribution.by, attribution.pod_uid, attribution.container and attribution.container.name


@pytest.mark.parametrize("path", [OUTSIDE, f"/system.slice/cri-containerd-{APP}.scope", f"/crio-{APP}.scope"])
def test_a_container_outside_pods_is_named_by_its_id_when_a_status_has_it(node, path):
    cgroup, inner = node.created(path), node.created(f"{path}/init")
    assert node.attributions.find(cgroup) is None
    assert found(node, cgroup) == ("unresolved", "cgroup", None, None)
    assert node.attributions.resolve_final(cgroup).container.id == APP
    node.pods.put(a_pod(UID, APP))
    assert found(node, cgroup) == ("resolved", "status", UID, "app")
    assert found(node, inner) == ("resolved", "status", UID, "app")


@pytest.mark.parametrize(
    "path",
    [
        f"/user.slice/user-1000.slice/user@1000.service/k8s.io/{APP}",
        f"/user.slice/user-1000.slice/cri-containerd-{APP}.scope",
        f"/docker/{APP}",
        f"/k8s.io/{APP[:12]}",
        f"/k8s.io/x-{APP}",
    ],
)
def test_what_others_than_the_runtime_can_make_is_the_hosts(node, path):
    node.pods.put(a_pod(UID, APP))
    assert found(node, node.created(path)) == ("host", None, None, None)


def test_of_two_cgroups_with_one_id_the_one_in_the_pod_is_the_containers(node):
    outside, inside = node.created(OUTSIDE), node.container(APP)
    node.pods.put(a_pod(UID, APP))
    assert found(node, outside) == ("host", None, None, None)
    assert found(node, inside) == ("resolved", "status", UID, "app")


def test_of_two_outside_pods_the_older_one_is_even_when_it_is_gone(node):
    older, younger = node.created(OUTSIDE), node.created(f"/system.slice/cri-containerd-{APP}.scope")
    node.cgroups.mark_removed(older, 1000)
    node.pods.put(a_pod(UID, APP))
    assert found(node, older) == ("resolved", "status", UID, "app")
    assert found(node, younger) == ("host", None, None, None)


def test_what_it_makes_inside_itself_changes_nothing(node):
    """Not even a path that looks like a pod's."""
    node.created(OUTSIDE)
    claim = node.created(f"{OUTSIDE}/kubepods/burstable/pod{UID}/{LATER}")
    node.pods.put(a_pod(UID, APP, LATER))
    assert node.attributions.resolve_now(claim).container.id == APP


def test_a_path_of_a_pod_that_is_not_below_the_kubelets_root_is_the_hosts(node):
    node.pods.put(a_pod(UID, APP))
    assert found(node, node.created(f"/k8s.io/kubepods/pod{UID}/{APP}")) == ("host", None, None, None)


def test_without_an_api_it_is_the_hosts_at_once():
    node = Node(api=False)
    assert found(node, node.created(OUTSIDE)) == ("host", None, None, None)


def test_a_pod_that_is_forgotten_leaves_no_container_behind(node):
    node.pods.put(a_pod(UID, APP))
    node.pods.put(a_pod(UID, APP, LATER))
    assert node.pods.of_container(LATER).uid == node.pods.of_container(APP).uid == UID
    node.pods.remove(UID, 0.0)
    node.pods.forget(10_000.0)
    assert node.pods.of_container(APP) is None


def test_a_cgroup_that_is_forgotten_is_no_longer_the_oldest(node):
    older = node.created(OUTSIDE)
    node.cgroups.mark_removed(older, 1)
    node.cgroups.forget(10**15)
    node.pods.put(a_pod(UID, APP))
    assert found(node, node.created(OUTSIDE)) == ("resolved", "status", UID, "app")


def test_the_outer_of_two_containers_counts():
    assert outside_container(f"/crio-{APP}.scope/cri-containerd-{LATER}.scope").id == APP
