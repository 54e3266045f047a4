"""Pod objects of a real API server, and objects that no API server sends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.attribution.pods.objects import pod_of
from agent.model import Container, Pod

ID, FORMER = "7b" * 32, "c4" * 32
json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def pods(recorded):
    """The recorded list's pods, by name without generated suffixes."""
    return {item["metadata"]["name"]: pod_of(item) for item in recorded("list-running.json")["items"]}


def a_pod(metadata=(), spec=(), status=()):
    """The smallest valid pod, with the given parts."""
    return {
        "metadata": {"uid": "u", "namespace": "n", "name": "p", **dict(metadata)},
        "spec": dict(spec),
        "status": dict(status),
    }


def owned(kind, name, **labels):
    reference = {"kind": kind, "name": name, "controller": True}
    return pod_of(a_pod({"ownerReferences": [reference], "labels": labels})).workload


def test_a_recorded_pod_has_all_fields_of_an_event(recorded):
    item = next(one for one in recorded("list-running.json")["items"] if one["metadata"]["name"].startswith("cart-"))
    pod = pod_of(item)
    assert (pod.namespace, pod.name, pod.uid) == ("shop", item["metadata"]["name"], item["metadata"]["uid"])
    assert pod.labels == item["metadata"]["labels"]
    assert (pod.service_account, pod.qos, pod.workload) == ("default", item["status"]["qosClass"], ("Deployment", "cart"))
    assert pod.aliases == {pod.uid}


def test_every_recorded_pod_is_read(recorded, pods):
    assert len(pods) == len(recorded("list-running.json")["items"])
    assert all(isinstance(pod, Pod) for pod in pods.values())


def test_every_container_id_of_the_recording_is_found_with_its_name(recorded, pods):
    """Without the code under test: by searching the whole text of each status for containerID."""
    for item in recorded("list-running.json")["items"]:
        named = {}
        for field in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
            for status in item["status"].get(field, ()):
                for state in (status, *status["lastState"].values(), *status["state"].values()):
                    if state.get("containerID"):
                        named[state["containerID"].removeprefix("containerd://")] = status["name"]
        found = pods[item["metadata"]["name"]].containers
        assert {one.id: one.name for one in found.values()} == named
        assert all(one.runtime == "containerd" for one in found.values())


def test_the_recorded_owners_are_those_a_person_would_name(pods):
    owners = {pod.workload for pod in pods.values()}
    assert {("Deployment", "cart"), ("StaticPod", "static-proxy")} <= owners
    assert not any(owner and owner[0] == "ReplicaSet" for owner in owners)


def test_the_recorded_pods_have_init_containers_sidecars_and_ephemeral_ones(recorded_events):
    kinds = {}
    for event in recorded_events:
        if pod := pod_of(event["object"]):
            kinds |= {(pod.name, one.name): one.kind for one in pod.containers.values()}
    assert set(kinds.values()) == {"app", "init", "sidecar", "ephemeral"}


def test_a_static_pod_is_known_by_the_uid_of_its_mirror_and_by_its_own(pods):
    (mirror,) = [pod for pod in pods.values() if pod.workload[0] == "StaticPod"]
    assert mirror.aliases == {mirror.uid, "21fdd1a722e0fcb32d3c6f8bb5bcd5ad"}


@pytest.mark.parametrize(
    ("kind", "name", "labels", "workload"),
    [
        ("ReplicaSet", "cart-59855dd6c8", {"pod-template-hash": "59855dd6c8"}, ("Deployment", "cart")),
        ("ReplicaSet", "bare", {}, ("ReplicaSet", "bare")),
        ("ReplicaSet", "cart-59855dd6c8", {"pod-template-hash": "other"}, ("ReplicaSet", "cart-59855dd6c8")),
        ("ReplicaSet", "-x", {"pod-template-hash": "x"}, ("ReplicaSet", "-x")),
        ("Job", "report-29283840", {}, ("CronJob", "report")),
        ("Job", "migrate", {}, ("Job", "migrate")),
        ("StatefulSet", "db", {}, ("StatefulSet", "db")),
        ("ReplicaSet", "cart-7d5", {"rollouts-pod-template-hash": "7d5"}, ("Rollout", "cart")),
        ("ReplicaSet", "cart-7d5", {"rollouts-pod-template-hash": "7d5", "pod-template-hash": "7d5"}, ("Rollout", "cart")),
    ],
)
def test_the_workload_is_the_owner_that_a_person_would_name(kind, name, labels, workload):
    assert owned(kind, name, **labels) == workload


@pytest.mark.parametrize("controller", [False, None, "true", 1])
def test_an_owner_that_is_not_the_controller_is_not_the_workload(controller):
    reference = {"kind": "Job", "name": "a", "controller": controller}
    assert pod_of(a_pod({"ownerReferences": [reference]})).workload == ("Pod", "p")


def test_a_pod_without_an_owner_is_its_own_workload():
    assert pod_of(a_pod()).workload == ("Pod", "p")


@pytest.mark.parametrize(
    ("name", "node", "workload"),
    [("etcd-node1", "node1", "etcd"), ("etcd-node1", None, "etcd-node1"), ("-node1", "node1", "-node1"), ("etcd", "x", "etcd")],
)
def test_a_static_pod_is_called_by_its_name_without_the_node(name, node, workload):
    metadata = {"name": name, "ownerReferences": [{"kind": "Node", "name": "node1", "controller": True}]}
    assert pod_of(a_pod(metadata, {"nodeName": node})).workload == ("StaticPod", workload)


def test_an_image_has_the_name_of_the_spec_and_the_digest_of_the_status():
    spec = {"containers": [{"name": "app", "image": "registry.example/shop/app:1.2"}]}
    pod = pod_of(a_pod(spec=spec, status={"containerStatuses": [status(containerID=f"containerd://{ID}")]}))
    (container,) = pod.containers.values()
    assert (container.image, container.image_id) == ("registry.example/shop/app:1.2", "sha256:" + "a" * 64)


def status(name="app", **fields):
    return {"name": name, "image": "busybox:1.36", "imageID": "docker.io/library/busybox@sha256:" + "a" * 64, **fields}


def test_the_former_id_of_a_restarted_container_still_has_its_name():
    last = {"terminated": {"containerID": f"containerd://{FORMER}"}}
    pod = pod_of(a_pod(status={"containerStatuses": [status(containerID=f"containerd://{ID}", lastState=last)]}))
    assert {one.id: (one.name, one.kind) for one in pod.containers.values()} == {FORMER: ("app", "app"), ID: ("app", "app")}


def test_the_entry_of_the_running_container_wins_over_the_one_about_its_end():
    ended = {"terminated": {"containerID": f"containerd://{ID}"}}
    pod = pod_of(a_pod(status={"containerStatuses": [status(containerID=f"containerd://{ID}", state=ended)]}))
    assert pod.containers == {ID: Container(ID, "app", "busybox:1.36", "sha256:" + "a" * 64, "app", "containerd")}


def test_an_init_container_that_restarts_always_is_a_sidecar():
    spec = {"initContainers": [{"name": "proxy", "restartPolicy": "Always"}, {"name": "setup"}]}
    both = [status("proxy", containerID=f"cri-o://{ID}"), status("setup", containerID=f"cri-o://{FORMER}")]
    pod = pod_of(a_pod(spec=spec, status={"initContainerStatuses": both}))
    assert {one.name: one.kind for one in pod.containers.values()} == {"proxy": "sidecar", "setup": "init"}


@pytest.mark.parametrize("wrong", [None, "", "7b7b", "://", "containerd://", 5, {}])
def test_an_id_without_runtime_or_number_is_not_a_container(wrong):
    assert pod_of(a_pod(status={"containerStatuses": [status(containerID=wrong)]})).containers == {}


@pytest.mark.parametrize("missing", ["uid", "namespace", "name"])
@pytest.mark.parametrize("wrong", [None, "", 5, [], {}])
def test_an_object_without_uid_namespace_or_name_is_not_a_pod(missing, wrong):
    assert pod_of(a_pod({missing: wrong})) is None


def test_a_label_that_is_not_text_is_ignored():
    pod = pod_of(
        a_pod({"labels": {"a": 1, "b": None, "c": ["x"], "d": "yes", "": ""}, "annotations": {"kubernetes.io/config.hash": 5}})
    )
    assert (pod.labels, pod.aliases) == ({"d": "yes", "": ""}, {"u"})


def test_only_requested_annotations_are_kept_and_long_ones_are_cut():
    annotations = {"example.com/owner": "shop", "example.com/notes": "x" * 256 * 1024, "secret": "s", "wrong": 5}
    item = a_pod({"annotations": annotations})
    kept = pod_of(item, ["example.com/owner", "example.com/notes", "wrong", "absent"]).annotations
    assert kept == {"example.com/owner": "shop", "example.com/notes": "x" * 1024}
    assert pod_of(item).annotations == {}


def test_a_pod_with_more_labels_or_a_longer_image_than_a_collector_takes_can_not_hide_its_forks():
    labels = {f"example.com/label-{number}": "x" for number in range(2000)}
    status = {"name": "app", "image": "x" * 5000, "imageID": "y" * 5000, "containerID": "containerd://c1"}
    pod = pod_of(a_pod({"labels": labels}, status={"containerStatuses": [status]}))
    assert pod.labels == dict(list(labels.items())[:512])
    assert pod.containers["c1"] == Container("c1", "app", None, None, "app", "containerd")


@given(json)
def test_no_json_raises(item):
    assert pod_of(item) is None or isinstance(pod_of(item), Pod)


metadata_fields = ("labels", "annotations", "ownerReferences")
spec_fields = ("serviceAccountName", "initContainers")
status_fields = ("qosClass", "initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
status_fields = ("name", "image", "imageID", "containerID", "state", "lastState")
odd_status = st.fixed_dictionaries({}, optional=dict.fromkeys(status_fields, json))


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(metadata_fields, json | st.lists(st.dictionaries(st.just("kind"), json)))),
    st.fixed_dictionaries({}, optional=dict.fromkeys(spec_fields, json)),
    st.fixed_dictionaries({}, optional=dict.fromkeys(status_fields, json | st.lists(odd_status, max_size=3))),
)
def test_a_field_of_another_type_is_ignored(metadata, spec, status):
    pod = pod_of(a_pod(metadata, spec, status))
    assert (pod.uid, pod.namespace, pod.name) == ("u", "n", "p")
    assert all(isinstance(value, str) for value in pod.labels.values())
    for container in pod.containers.values():
        assert all(value is None or isinstance(value, str) for value in (container.name, container.image, container.image_id))
