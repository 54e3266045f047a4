"""A fork's line has the fields of wire/examples.json, for any text in it; compared with an encoder written the plain way."""

import json
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Attribution, Container
from agent.sinks.encoders.native import NativeEncoder, k8s_fields
from tests.agent.sinks.model_strategies import a_fork, a_parent_context, a_pod, a_task, forks

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
EXAMPLES = json.loads((Path(__file__).parents[4] / "wire/examples.json").read_text())
EXAMPLE = next(event for event in EXAMPLES if event["event"] == "sched_process_fork")
NAMESPACES = ("pid", "mnt", "net", "user", "uts", "ipc", "cgroup")


def rfc3339(ns):
    if ns is None:
        return None
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"


def task_fields(prefix, task):
    names = ("tid", "ns_tid", "pid", "ns_pid")
    return {f"{prefix}_{name}": getattr(task, name) for name in names} | {f"{prefix}_start_time": rfc3339(task.start)}


def expected(fork):
    """The event as a dict, key by key from wire.events."""
    parent_context, attribution, pod, container = (
        fork.parent_context,
        fork.attribution,
        fork.attribution.pod,
        fork.attribution.container,
    )
    child = task_fields("child", fork.child)
    late = fork.lag_ms is not None and attribution.state == "resolved"
    parent = fork.parent_attribution
    return {
        "event": "sched_process_fork",
        "id": f"{STREAM}.{fork.cpu}.{fork.sequence}",
        "timestamp": rfc3339(fork.time),
        "kind": "thread" if fork.thread else "process",
        **task_fields("parent", parent_context.parent),
        **{key: value for key, value in child.items() if key != "child_start_time"},
        "start_time": child["child_start_time"],
        **task_fields("parent_process", parent_context.parent_process),
        **task_fields("leader", parent_context.leader or fork.child),
        "comm": parent_context.comm,
        "parent_comm": parent_context.parent_comm,
        "uid": parent_context.uid,
        "gid": parent_context.gid,
        "child_ns_pids": list(fork.chain),
        "child_ns_pids_truncated": fork.levels > len(fork.chain),
        "namespaces": dict(zip(NAMESPACES, parent_context.namespaces, strict=True)),
        "clone": None if parent_context.clone is None else list(parent_context.clone),
        "process_entity_id": fork.child.entity,
        "parent_entity_id": parent_context.parent_process.entity,
        "cgroup": {"id": attribution.cgroup, "path": attribution.path},
        "parent_cgroup": parent and {"id": parent.cgroup, "path": parent.path},
        "container": container
        and {name: getattr(container, name) for name in ("id", "name", "image", "image_id", "kind", "runtime")},
        "k8s": {
            "cluster": "demo",
            "node": "node1",
            "namespace": pod and pod.namespace,
            "pod": pod and pod.name,
            "pod_uid": attribution.pod_uid,
            "labels": pod and pod.labels,
            **({"annotations": pod.annotations} if pod and pod.annotations else {}),
            "workload": pod and pod.workload and {"kind": pod.workload[0], "name": pod.workload[1]},
            "service_account": pod and pod.service_account,
            "qos": pod and pod.qos,
        },
        "enrichment": {"state": "late" if late else attribution.state, "by": attribution.by, "lag_ms": fork.lag_ms or 0},
    }


@pytest.fixture
def encoder():
    return NativeEncoder("demo", "node1")


def test_a_line_has_the_keys_of_the_golden_example_on_every_level(encoder):
    attribution = Attribution(7, "/p", "resolved", "status", "uid", a_pod(), Container("7b"))
    (line,) = encoder.forks(STREAM, [a_fork(attribution=attribution)])

    def keys(value):
        return {key: keys(inner) for key, inner in value.items() if key != "labels"} if isinstance(value, dict) else None

    assert keys(json.loads(line)) == keys(EXAMPLE)


@given(forks())
def test_a_line_is_equal_to_the_plain_encoders(fork):
    (line,) = NativeEncoder("demo", "node1").forks(STREAM, [fork])
    assert json.loads(line) == expected(fork)


@given(st.lists(forks(), max_size=4))
def test_cached_fragments_do_not_leak_into_other_forks(several):
    encoder = NativeEncoder("demo", "node1")
    for _ in range(2):
        assert [json.loads(line) for line in encoder.forks(STREAM, several)] == [expected(fork) for fork in several]


@given(forks())
def test_any_text_from_a_container_makes_valid_json_on_one_line(fork):
    (line,) = NativeEncoder("demo", "node1").forks(STREAM, [fork])
    assert "\n" not in line
    assert "\r" not in line
    assert list(orjson.loads(line.encode())) == list(orjson.loads(line))  # strict UTF-8, strict JSON
    assert len(orjson.loads(line)) == len(EXAMPLE)


@given(st.lists(forks(), max_size=3), st.lists(forks(), max_size=3))
def test_an_id_has_the_stream_of_the_call(those_of_one, those_of_another):
    encoder = NativeEncoder("demo", "node1")
    for stream, several in (("boot.1", those_of_one), ("boot.2", those_of_another), ("boot.1", those_of_another)):
        ids = [json.loads(line)["id"] for line in encoder.forks(stream, several)]
        assert ids == [f"{stream}.{fork.cpu}.{fork.sequence}" for fork in several]


def test_annotations_are_a_field_only_when_there_are_any(encoder):
    pods = [a_pod(annotations=annotations) for annotations in ({"example.com/owner": "shop"}, {})]
    several = [a_fork(attribution=Attribution(7, "/p", "resolved", "status", pod.uid, pod)) for pod in pods]
    first, second = (json.loads(line)["k8s"] for line in encoder.forks(STREAM, several))
    assert first["annotations"] == {"example.com/owner": "shop"}
    assert "annotations" not in second


def test_a_comm_is_escaped(encoder):
    (line,) = encoder.forks(STREAM, [a_fork(parent_context=a_parent_context(comm='","uid":1', parent_comm="x\n"))])
    assert (json.loads(line)["comm"], json.loads(line)["uid"]) == ('","uid":1', 0)


def test_the_leader_of_a_process_is_the_child_itself(encoder):
    event = json.loads(encoder.forks(STREAM, [a_fork()])[0])
    assert (event["leader_tid"], event["leader_start_time"]) == (event["child_tid"], event["start_time"])


def test_the_leader_of_a_thread_is_another_task(encoder):
    parent_context = a_parent_context(parent_process=a_task(30), leader=a_task(40), clone=None)
    event = json.loads(encoder.forks(STREAM, [a_fork(thread=True, parent_context=parent_context)])[0])
    assert (event["kind"], event["leader_tid"], event["child_tid"], event["clone"]) == ("thread", 40, 50, None)


@pytest.mark.parametrize(
    ("state", "lag_ms", "expected_state"),
    [("resolved", None, "resolved"), ("resolved", 0, "late"), ("unresolved", 5000, "unresolved"), ("host", 3, "host")],
)
def test_the_state_is_late_after_waiting(encoder, state, lag_ms, expected_state):
    attribution = Attribution(7, "/p", state, None)
    event = json.loads(encoder.forks(STREAM, [a_fork(attribution=attribution, lag_ms=lag_ms)])[0])
    assert event["enrichment"] == {"state": expected_state, "by": None, "lag_ms": lag_ms or 0}


def test_a_truncated_chain_is_marked(encoder):
    events = [json.loads(encoder.forks(STREAM, [a_fork(chain=(50,) * 8, levels=levels)])[0]) for levels in (8, 9)]
    assert [event["child_ns_pids_truncated"] for event in events] == [False, True]


def test_an_agent_event_is_one_line(encoder):
    assert json.loads(encoder.event({"event": "gap", "reason": "a\nb"})) == {"event": "gap", "reason": "a\nb"}
    assert "\n" not in encoder.event({"reason": "a\nb"})


def test_the_hosts_k8s_object_has_cluster_and_node():
    fields = k8s_fields(Attribution(7, None, "host", None), "demo", "node1")
    assert fields["container"] is None
    assert {key for key, value in fields["k8s"].items() if value is not None} == {"cluster", "node"}
