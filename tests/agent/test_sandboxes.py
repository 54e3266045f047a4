"""Pods with a kernel of their own (Kata, gVisor) are reported as not observable, by name, and to every kind of receiver."""

from functools import partial

import pytest

from agent.attribution.metadata_cache import MetadataCache
from agent.attribution.pods.objects import pod_of
from agent.model import CREATED, REMOVED, CgroupEvent
from agent.reporting.summaries import Interval, Summaries
from agent.settings import KubernetesSettings
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.formats import FormatSpec, make_format
from agent.state_records import PodRecord
from tests.agent.fakes import FakeTracker
from wire.events import Gap

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
INTERVAL = Interval("2026-11-22T19:48:30.000000000Z", "2026-11-22T19:48:40.000000000Z")
CLASSES = KubernetesSettings().sandboxes


def a_pod(name, runtime_class):
    spec = {} if runtime_class is None else {"runtimeClassName": runtime_class}
    return {"metadata": {"uid": f"{name}-uid", "namespace": "shop", "name": name}, "spec": spec}


@pytest.fixture
def node(tmp_path):
    """A node's metadata cache; `node.start(number, name, class)` starts a pod whose own cgroup has that number."""
    metadata_cache = MetadataCache(tmp_path, api=True, kubelet_root="/kubepods")

    def change(what, number, name):
        path = f"/kubepods/pod{name}-uid".encode()
        return CgroupEvent(cgroup=number, parent=1, time=number, kind=what, path=path, whole=True, tid=0, start=0)

    def start(number, name, runtime_class):
        metadata_cache.pods.put(pod_of(a_pod(name, runtime_class)))
        metadata_cache.apply_cgroup_events([change(CREATED, number, name)], FakeTracker())

    metadata_cache.start = start  # type: ignore[attr-defined]
    metadata_cache.end = lambda number, name: metadata_cache.apply_cgroup_events([change(REMOVED, number, name)], FakeTracker())  # type: ignore[attr-defined]
    return metadata_cache


@pytest.fixture
def summaries(node):
    return Summaries(STREAM, node.attributions, partial(k8s_fields, cluster="demo", node="node1"))


@pytest.mark.parametrize(
    ("runtime_class", "has_its_own_kernel"),
    [
        *((name, True) for name in ("kata", "kata-qemu", "my-kata-clh", "KATA-CC-Isolation", "gvisor", "runsc-kvm")),
        *((name, False) for name in (None, "runc", "crun", "nvidia", "sysbox-runc", "wasmtime", {"hostile": 1}, "")),
    ],
)
def test_a_pod_is_judged_by_the_name_of_its_runtime_class(node, runtime_class, has_its_own_kernel):
    node.start(7, "cart", runtime_class)
    assert node.sandboxed_pods(CLASSES) == ([7] if has_its_own_kernel else [])


def test_settings_can_name_other_runtime_classes(node):
    node.start(7, "cart", "acme-vm")
    assert node.sandboxed_pods(["acme-*"]) == [7] and node.sandboxed_pods([]) == []


def test_the_gap_names_the_pod_and_has_no_count(node, summaries):
    node.start(7, "cart", "kata")
    node.start(8, "web", None)
    (gap,) = summaries.not_observable(node.sandboxed_pods(CLASSES), INTERVAL)
    assert set(gap) == set(Gap.__annotations__)
    assert (gap["reason"], gap["count"], gap["missing"], gap["sink"]) == ("not_observable", None, "sched_process_fork", None)
    assert gap["id"] == f"{STREAM}.gap.-.not_observable.7.0"
    assert (gap["k8s"]["pod"], gap["cgroup"]["id"], gap["container"]) == ("cart", 7, None)


def test_the_gap_is_repeated_once_an_hour_as_long_as_the_pod_is_there(node, summaries):
    node.start(7, "cart", "kata")
    reported = 0
    for _ in range(1 + 2 * 360):
        summaries.summarize({}, INTERVAL)
        reported += len(summaries.not_observable(node.sandboxed_pods(CLASSES), INTERVAL))
    assert reported == 3
    node.end(7, "cart")
    for _ in range(400):
        summaries.summarize({}, INTERVAL)
        assert summaries.not_observable(node.sandboxed_pods(CLASSES), INTERVAL) == []


def test_the_next_agent_has_the_runtime_class_too():
    pod = pod_of(a_pod("cart", "kata"))
    assert PodRecord.decode(PodRecord(pod, gone=False).encode()).pod.runtime_class == "kata"


@pytest.mark.parametrize(
    ("protocol", "schema"), [("http", "native"), ("elasticsearch", "ecs"), ("splunk_hec", "ocsf"), ("otlp", "otel")]
)
def test_every_receiver_gets_the_gap_and_none_reads_a_zero(node, summaries, protocol, schema):
    node.start(7, "cart", "kata")
    (gap,) = summaries.not_observable(node.sandboxed_pods(CLASSES), INTERVAL)
    encoder = make_format(
        FormatSpec(name="siem", url="https://siem.example", protocol=protocol, schema=schema), "demo", "node1"
    ).encoder
    event = encoder.event(gap)
    body = (event if isinstance(event, bytes) else event.encode()).replace(b'"count":null', b"")
    assert b"not_observable" in body and b'"count"' not in body and b"None" not in body
    if schema != "native":
        assert b"what is forked in shop/cart is not observable: it has a kernel of its own" in body
