"""A fork's line is the event of wire/examples.json, however hostile what is in it; against an encoder written the plain way."""

import json
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.nouns import Container, Fork, Origin, Pod, Subject, Task
from agent.sinks.native import NativeEncoder, whose

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
EXAMPLES = json.loads((Path(__file__).parents[3] / "wire/examples.json").read_text())
EXAMPLE = next(event for event in EXAMPLES if event["event"] == "sched_process_fork")
NAMESPACES = ("pid", "mnt", "net", "user", "uts", "ipc", "cgroup")

u32, u64, moments = st.integers(0, 2**32 - 2), st.integers(0, 2**64 - 2), st.integers(0, 4 * 10**18)
# All that a container may choose: any text that decoding with replacement can give.
hostile = st.binary(max_size=40).map(lambda raw: raw.decode(errors="replace")) | st.sampled_from(
    ['"', "\\", '","uid":0,"x":"', "\n", "\r\n", "\u2028", "\x00", "\x7f", "</script>", "\U0001f525", "{}", "%s{0}"]
)
texts = st.none() | hostile
entities = st.none() | st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")


def tasks(known=False):
    maybe = u32 if known else st.none() | u32
    return st.builds(Task, maybe, maybe, maybe, maybe, moments if known else st.none() | moments, entities)


origins = st.builds(
    Origin,
    parent=tasks(),
    parent_process=tasks(),
    leader=st.none() | tasks(),
    clone=st.none() | st.lists(st.sampled_from(["VM", "VFORK", "NEWPID"]), unique=True).map(tuple),
    comm=texts,
    parent_comm=texts,
    uid=st.none() | u32,
    gid=st.none() | u32,
    namespaces=st.tuples(*[st.none() | u32] * 7),
)
kinds = st.sampled_from(["app", "init", "sidecar", "ephemeral", "sandbox", None])
containers = st.builds(Container, hostile, texts, texts, texts, kinds, st.none() | st.just("containerd"))
pods = st.builds(
    Pod,
    uid=hostile,
    namespace=hostile,
    name=hostile,
    aliases=st.just(frozenset()),
    labels=st.dictionaries(hostile, hostile, max_size=3),
    workload=st.none() | st.tuples(hostile, hostile),
    service_account=texts,
    qos=texts,
)
subjects = st.builds(
    Subject,
    cgroup=u64,
    path=texts,
    state=st.sampled_from(["resolved", "host", "unresolved"]),
    by=st.sampled_from(["status", "cgroup", "attach", "birth", None]),
    pod_uid=texts,
    pod=st.none() | pods,
    container=st.none() | containers,
)


@st.composite
def forks(draw):
    """A fork as Enricher makes it: what is known of the child in its chain is known of the child, too."""
    child = draw(tasks(known=True)) if draw(st.booleans()) else draw(tasks())._replace(entity=None)
    levels = draw(st.integers(0, 33))
    middle = tuple(draw(u32) for _ in range(min(levels, 8) - 2))
    chain = {0: (), 1: (child.tid,), 2: (child.tid, child.ns_tid)}.get(levels, (child.tid, *middle, child.ns_tid))
    return Fork(
        draw(u64), draw(moments), draw(st.integers(0, 4095)), draw(st.booleans()), child, chain, levels, draw(origins),
        draw(subjects), draw(st.none() | subjects), draw(st.none() | st.integers(0, 60_000)), draw(u64),
    )  # fmt: skip


def rfc3339(ns):
    if ns is None:
        return None
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"


def task_words(prefix, task):
    names = ("tid", "ns_tid", "pid", "ns_pid")
    return {f"{prefix}_{name}": getattr(task, name) for name in names} | {f"{prefix}_start_time": rfc3339(task.start)}


def expected(fork):
    """The event as a dict, key by key from wire.events, without a thought of speed."""
    origin, subject, pod, container = fork.origin, fork.subject, fork.subject.pod, fork.subject.container
    child = task_words("child", fork.child)
    late = fork.lag_ms is not None and subject.state == "resolved"
    parent = fork.parent_subject
    return {
        "event": "sched_process_fork",
        "id": f"{STREAM}.{fork.cpu}.{fork.sequence}",
        "timestamp": rfc3339(fork.time),
        "kind": "thread" if fork.thread else "process",
        **task_words("parent", origin.parent),
        **{key: value for key, value in child.items() if key != "child_start_time"},
        "start_time": child["child_start_time"],
        **task_words("parent_process", origin.parent_process),
        **task_words("leader", origin.leader or fork.child),
        "comm": origin.comm,
        "parent_comm": origin.parent_comm,
        "uid": origin.uid,
        "gid": origin.gid,
        "child_ns_pids": list(fork.chain),
        "child_ns_pids_truncated": fork.levels > len(fork.chain),
        "namespaces": dict(zip(NAMESPACES, origin.namespaces, strict=True)),
        "clone": None if origin.clone is None else list(origin.clone),
        "process_entity_id": fork.child.entity,
        "parent_entity_id": origin.parent_process.entity,
        "cgroup": {"id": subject.cgroup, "path": subject.path},
        "parent_cgroup": parent and {"id": parent.cgroup, "path": parent.path},
        "container": container
        and {name: getattr(container, name) for name in ("id", "name", "image", "image_id", "kind", "runtime")},
        "k8s": {
            "cluster": "demo",
            "node": "node1",
            "namespace": pod and pod.namespace,
            "pod": pod and pod.name,
            "pod_uid": subject.pod_uid,
            "labels": pod and pod.labels,
            "workload": pod and pod.workload and {"kind": pod.workload[0], "name": pod.workload[1]},
            "service_account": pod and pod.service_account,
            "qos": pod and pod.qos,
        },
        "enrichment": {"state": "late" if late else subject.state, "by": subject.by, "lag_ms": fork.lag_ms or 0},
    }


@pytest.fixture
def encoder():
    return NativeEncoder(STREAM, "demo", "node1")


def a_task(number, start=10**18):
    return Task(number, number, number, number, start, f"{number:016x}")


def a_fork(**fields):
    origin = Origin(a_task(40), a_task(40), None, (), "sh", "sh", 0, 0, tuple(range(7)))
    subject = Subject(7, "/init.scope", "host", None)
    return Fork(1, 10**18, 0, False, a_task(50), (50, 50), 2, origin, subject, None, None, 7)._replace(**fields)


def test_a_line_has_the_keys_of_the_golden_example_on_every_level(encoder):
    pod = Pod("uid", "shop", "cart", frozenset(), {"app": "cart"}, ("Deployment", "cart"), "default", "Burstable")
    subject = Subject(7, "/p", "resolved", "status", "uid", pod, Container("7b"))
    (line,) = encoder.forks([a_fork(subject=subject)])

    def keys(value):
        return {key: keys(inner) for key, inner in value.items() if key != "labels"} if isinstance(value, dict) else None

    assert keys(json.loads(line)) == keys(EXAMPLE)


@given(forks())
def test_a_line_says_what_the_plain_encoder_says(fork):
    (line,) = NativeEncoder(STREAM, "demo", "node1").forks([fork])
    assert json.loads(line) == expected(fork)


@given(st.lists(forks(), max_size=4))
def test_what_is_kept_for_one_fork_is_not_told_of_another(several):
    encoder = NativeEncoder(STREAM, "demo", "node1")
    for _ in range(2):
        assert [json.loads(line) for line in encoder.forks(several)] == [expected(fork) for fork in several]


@given(forks())
def test_whatever_a_container_chose_it_is_valid_json_on_one_line(fork):
    (line,) = NativeEncoder(STREAM, "demo", "node1").forks([fork])
    assert "\n" not in line
    assert "\r" not in line
    assert list(orjson.loads(line.encode())) == list(orjson.loads(line))  # strict UTF-8, strict JSON
    assert len(orjson.loads(line)) == len(EXAMPLE)


def test_a_comm_can_not_write_a_field(encoder):
    (line,) = encoder.forks([a_fork(origin=Origin(a_task(40), a_task(40), None, (), '","uid":1', "x\n", 0, 0, (1,) * 7))])
    assert (json.loads(line)["comm"], json.loads(line)["uid"]) == ('","uid":1', 0)


def test_of_a_process_the_leader_is_the_child_itself(encoder):
    event = json.loads(encoder.forks([a_fork()])[0])
    assert (event["leader_tid"], event["leader_start_time"]) == (event["child_tid"], event["start_time"])


def test_of_a_thread_the_leader_is_another_task(encoder):
    origin = Origin(a_task(40), a_task(30), a_task(40), None, "sh", "sh", 0, 0, (1,) * 7)
    event = json.loads(encoder.forks([a_fork(thread=True, origin=origin)])[0])
    assert (event["kind"], event["leader_tid"], event["child_tid"], event["clone"]) == ("thread", 40, 50, None)


@pytest.mark.parametrize(
    ("state", "lag_ms", "told"),
    [("resolved", None, "resolved"), ("resolved", 0, "late"), ("unresolved", 5000, "unresolved"), ("host", 3, "host")],
)
def test_the_state_says_whether_it_had_to_wait(encoder, state, lag_ms, told):
    subject = Subject(7, "/p", state, None)
    event = json.loads(encoder.forks([a_fork(subject=subject, lag_ms=lag_ms)])[0])
    assert event["enrichment"] == {"state": told, "by": None, "lag_ms": lag_ms or 0}


def test_a_chain_that_was_cut_says_so(encoder):
    told = [json.loads(encoder.forks([a_fork(chain=(50,) * 8, levels=levels)])[0]) for levels in (8, 9)]
    assert [event["child_ns_pids_truncated"] for event in told] == [False, True]


def test_an_event_of_the_agents_own_is_one_line(encoder):
    assert json.loads(encoder.event({"event": "gap", "reason": "a\nb"})) == {"event": "gap", "reason": "a\nb"}
    assert "\n" not in encoder.event({"reason": "a\nb"})


def test_the_host_is_an_object_with_cluster_and_node_too():
    told = whose(Subject(7, None, "host", None), "demo", "node1")
    assert told["container"] is None
    assert {key for key, value in told["k8s"].items() if value is not None} == {"cluster", "node"}
