"""An OCSF event is valid by the official schema of its class and profiles, and has all fields of the native event."""

import copy
import json
from datetime import datetime
from functools import cache
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from agent.model import Attribution, Container, Task
from agent.sinks.encoders.ocsf import OcsfEncoder
from tests.agent.sinks.encoders.native_events import (
    NAMESPACES,
    STREAM,
    UIDS,
    agent_events,
    native_forks,
    native_labels,
    real_forks,
)
from tests.agent.sinks.model_strategies import a_fork, a_parent_context, a_pod, a_task

EXAMPLES = json.loads((Path(__file__).parents[4] / "wire/examples.json").read_text())
CLASSES = {
    0: "base_event",
    1007: "process_activity",
    1008: "event_log_actvity",
    2004: "detection_finding",
}  # the name is OCSF's
UNKNOWN = Task(*[None] * 6)
WORKLOADS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob")


@cache
def schema():
    """The official schema, with the ranges that it leaves to its formats: an integer_t has 32 bits, a long_t 64."""
    official = copy.deepcopy(get_ocsf_schema("1.8.0"))
    for name, bits in (("integer_t", 31), ("long_t", 63)):
        official["dictionary"]["types"]["attributes"][name]["range"] = [-(2**bits), 2**bits - 1]
    return OcsfJsonSchemaEmbedded(official)


@cache
def validator(class_uid, profiles):
    return jsonschema_rs.validator_for(schema().get_class_schema(CLASSES[class_uid], list(profiles)))


def schema_errors(event):
    errors = list(validator(event["class_uid"], tuple(event["metadata"]["profiles"])).iter_errors(event))
    yield from (f"{one.instance_path}: {one.message}" for one in errors)
    yield from nulls(event, "")
    yield from () if errors else times(event)
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        yield "type_uid is not the class and the activity"
    if event["activity_id"] == 99 and not event.get("activity_name"):
        yield "another activity needs a name"


def nulls(value, path):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [f"{path}.{key}: null"] if inner is None else nulls(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from nulls(inner, path)


def times(value):
    """Checks that each time in milliseconds is equal to its text."""
    if isinstance(value, dict):
        for key, text in value.items():
            if key.endswith("_dt"):
                second = int(datetime.fromisoformat(f"{text[:19]}+00:00").timestamp())
                if value.get(key[:-3]) != second * 1000 + int(text[20:23]):
                    yield f"{key}: {text} is not {value.get(key[:-3])}"
            yield from times(text)


def encode_forks(forks):
    return [json.loads(one) for one in OcsfEncoder("demo", "node1", "0.1.0").forks(STREAM, forks)]


def encode_event(event):
    return json.loads(OcsfEncoder("demo", "node1", "0.1.0").event(event))


def native_attribution(event, container):
    """The native event's cgroup, container, k8s and enrichment."""
    rest = event["unmapped"]
    of_k8s = rest["k8s"]
    pod = event.get("resources", [{}])[0]
    labels = (container or {}).get("labels", pod.get("labels", of_k8s.get("labels")))
    annotations = native_labels(of_k8s.get("annotations"), "=")
    if container is not None:
        workload = of_k8s.get("workload")
        tags = {
            "k8s.cluster.name": "cluster",
            "k8s.namespace.name": "namespace",
            "k8s.pod.name": "pod",
            "k8s.pod.uid": "pod_uid",
        }
        expected = {tag: of_k8s[name] for tag, name in tags.items() if name in of_k8s}
        if workload and workload["kind"] in WORKLOADS:
            expected[f"k8s.{workload['kind'].lower()}.name"] = workload["name"]
        assert {tag["name"]: tag["value"] for tag in container["tags"]} == expected
        image = container.get("image", {})
        container = {
            "id": container["uid"],
            "name": container.get("name"),
            "image": image.get("name", rest.get("container", {}).get("image")),
            "image_id": image.get("uid"),
            "kind": rest.get("container", {}).get("kind"),
            "runtime": container.get("runtime"),
        }
    names = ("cluster", "namespace", "pod", "pod_uid", "workload", "service_account", "qos")
    fields = {
        "k8s": {
            "node": event["device"]["hostname"],
            **{name: of_k8s.get(name) for name in names},
            "labels": native_labels(labels, "="),
            **({} if annotations is None else {"annotations": annotations}),
        }
    }
    if "enrichment" in rest:
        fields |= {"cgroup": native_cgroup(rest.get("cgroup")), "container": container}
        fields["enrichment"] = {"by": None, **rest["enrichment"]}
    return fields


def native_cgroup(cgroup):
    return cgroup and {"id": int(cgroup["id"]), "path": cgroup.get("path")}


def native_process(process, rest, prefix):
    start = process.get("created_time_dt", rest.get(f"{prefix}_start_time"))
    return {
        f"{prefix}_tid": process.get("ptid", rest.get(f"{prefix}_tid")),
        f"{prefix}_ns_tid": rest.get(f"{prefix}_ns_tid"),
        f"{prefix}_pid": process.get("pid", rest.get(f"{prefix}_pid")),
        f"{prefix}_ns_pid": process.get("namespace_pid", rest.get(f"{prefix}_ns_pid")),
        f"{prefix}_start_time": start,
    }


def native_fork(event):
    """The native event, from a fork's event: that this is possible shows that nothing is lost."""
    rest, process, caller = event["unmapped"], event["process"], event["actor"].get("process", {})
    above, user = process.get("parent_process", {}), process.get("user", {})
    thread = event["activity_id"] != 1
    child = native_process(process, rest, "child")
    started = child.pop("child_start_time")
    leader = {f"leader_{key.removeprefix('child_')}": value for key, value in child.items()} | {"leader_start_time": started}
    if thread:
        started = rest.get("start_time")
        leader = {name: rest.get(name) for name in leader}
    return {
        "event": event["metadata"]["event_code"],
        "id": event["metadata"]["uid"],
        "timestamp": event["time_dt"],
        "kind": "thread" if thread else "process",
        **native_process(caller, rest, "parent"),
        **child,
        "start_time": started,
        **native_process(above, rest, "parent_process"),
        **leader,
        "comm": process.get("name"),
        "parent_comm": caller.get("name", rest.get("parent_comm")),
        "uid": int(user["uid"]) if user else None,
        "gid": int(user["groups"][0]["uid"]) if "groups" in user else rest.get("gid"),
        "child_ns_pids": rest["child_ns_pids"],
        "child_ns_pids_truncated": rest["child_ns_pids_truncated"],
        "namespaces": {name: rest.get("namespaces", {}).get(name) for name in NAMESPACES},
        "clone": rest.get("clone"),
        "process_entity_id": None if process.get("uid") == event["metadata"]["uid"] else process.get("uid"),
        "parent_entity_id": above.get("uid"),
        **native_attribution(event, process.get("container")),
        "parent_cgroup": native_cgroup(rest.get("parent_cgroup")),
    }


def native_event(event):
    rest = event["unmapped"]
    fields = {
        "event": event["metadata"]["event_code"],
        "id": event["metadata"]["uid"],
        "timestamp": event["time_dt"],
        "interval": {"start": event["start_time_dt"], "end": event["end_time_dt"]},
        **{name: value for name, value in rest.items() if name not in ("heads", "container", "k8s", "cgroup", "enrichment")},
        **native_attribution(event, event["device"].get("container")),
    }
    if "heads" in rest:
        fields["heads"] = {str(head["cpu"]): head["sequence"] for head in rest["heads"]}
    if event["class_uid"] == 1008:
        missing = {"missing": event["log_name"], "reason": event["status_code"], "sink": rest.get("sink")}
        fields |= missing | {"count": event.get("count", rest.get("count"))}
    if event["class_uid"] == 2004:
        fields["phase"] = {1: "start", 3: "stop"}[event["activity_id"]]
    return fields


@given(real_forks())
def test_a_forks_event_is_valid_ocsf_with_all_fields_of_the_native_event(fork):
    (event,) = encode_forks([fork])
    event_without_chain = event | {"unmapped": event["unmapped"] | {"child_ns_pids": []}}  # where null holds a place
    assert list(schema_errors(event_without_chain)) == []
    assert native_fork(event) == native_forks([fork])[0]


@given(st.lists(real_forks(), max_size=4))
@settings(max_examples=50)
def test_cached_fragments_do_not_leak_into_other_forks(several):
    encoder = OcsfEncoder("demo", "node1", "0.1.0")
    for _ in range(2):
        assert [native_fork(json.loads(one)) for one in encoder.forks(STREAM, several)] == native_forks(several)


@given(agent_events())
def test_an_agent_event_is_valid_ocsf_with_all_its_fields(event):
    before = json.dumps(event)
    made = encode_event(event)
    assert list(schema_errors(made)) == []
    assert native_event(made) == event
    assert json.dumps(event) == before


@pytest.mark.parametrize("event", [one for one in EXAMPLES if one["event"] != "sched_process_fork"])
def test_the_golden_events_are_ocsf(event):
    made = encode_event(event)
    assert list(schema_errors(made)) == []
    assert native_event(made) == event


def test_each_kind_of_event_has_its_decided_class():
    classes = {
        one["event"]: encode_event(one)["type_uid"]
        for one in EXAMPLES
        if one["event"] not in ("sched_process_fork", "fork_storm")
    }
    storms = {one["phase"]: encode_event(one)["type_uid"] for one in EXAMPLES if one["event"] == "fork_storm"}
    assert classes == {"fork_summary": 99, "node_summary": 99, "gap": 100899}
    assert storms == {"start": 200401, "stop": 200403}


def test_a_process_is_launched_by_fork():
    (event,) = encode_forks([a_fork()])
    assert (event["type_uid"], event["launch_type_id"], event["severity_id"]) == (100701, 2, 1)
    assert (event["actor"]["process"]["pid"], event["process"]["pid"]) == (40, 50)
    assert event["message"] == "sh (40) forked 50"


def test_the_validator_finds_each_kind_of_error():
    (right,) = encode_forks([a_fork()])
    assert list(schema_errors(right)) == []
    wrong = [
        {"colour": "red"},
        {"container": {"uid": "7b"}},
        {"time": "now"},
        {"time_dt": "now"},
        {"time_dt": "2001-09-09T01:46:40.001000000Z"},
        {"severity_id": 7},
        {"type_uid": 100799},
        {"actor": {}},
        {"process": {"name": "sh"}},
        {"process": {"pid": 2**31}},
        {"process": {"pid": None}},
        {"process": {"pid": 50, "container": {"uid": "7b", "image": {"name": "busybox"}}}},
        {"process": {"pid": 50, "container": {"uid": "7b", "pod_uuid": UIDS[1]}}},
        {"device": {"hostname": "node1"}},
        {"metadata": right["metadata"] | {"sequence": 2**31}},
        {"metadata": right["metadata"] | {"profiles": []}},
    ]
    assert [one for one in wrong if not list(schema_errors(right | one))] == []


def test_a_thread_is_not_a_launch():
    leader, thread = a_task(40, 10**18), Task(50, 50, 40, 40, 2 * 10**18, "0" * 15 + "a")
    parent_context = a_parent_context(parent=a_task(40), parent_process=a_task(30), leader=leader)
    (event,) = encode_forks([a_fork(thread=True, child=thread, parent_context=parent_context)])
    assert list(schema_errors(event)) == []
    assert (event["type_uid"], event["activity_name"], "launch_type_id" in event) == (100799, "Start Thread", False)
    assert (event["process"]["pid"], event["process"]["ptid"]) == (40, 50)
    assert event["process"]["created_time_dt"] == event["unmapped"]["leader_start_time"] != event["unmapped"]["start_time"]


def test_the_caller_has_no_created_time_when_it_is_a_thread():
    caller = Task(41, 41, 40, 40, 2 * 10**18, None)
    (event,) = encode_forks([a_fork(parent_context=a_parent_context(parent=caller, parent_process=caller))])
    assert list(schema_errors(event)) == []
    assert (event["actor"]["process"]["pid"], event["actor"]["process"]["ptid"]) == (40, 41)
    assert "created_time" not in event["actor"]["process"]
    assert event["unmapped"]["parent_start_time"] == "2033-05-18T03:33:20.000000000Z"


def test_a_static_pods_uid_is_not_a_uuid_and_is_unmapped():
    attributions = [Attribution(7, "/p", "resolved", "status", uid, a_pod(), Container("7b")) for uid in UIDS]
    containers = [event["process"]["container"] for event in encode_forks([a_fork(attribution=one) for one in attributions])]
    assert [one.get("pod_uuid") for one in containers] == [UIDS[0], None]
    assert [{"name": "k8s.pod.uid", "value": uid} in one["tags"] for one, uid in zip(containers, UIDS, strict=True)] == [
        True
    ] * 2


def test_an_image_without_an_id_is_unmapped():
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(), Container("7b", "app", "busybox"))
    (event,) = encode_forks([a_fork(attribution=attribution)])
    assert list(schema_errors(event)) == []
    assert "image" not in event["process"]["container"]
    assert event["unmapped"]["container"]["image"] == "busybox"


def test_labels_are_in_the_container_or_else_in_the_pod():
    bare, inside = (Attribution(7, "/p", "resolved", "status", "u", a_pod(), one) for one in (None, Container("7b")))
    first, second = encode_forks([a_fork(attribution=bare), a_fork(attribution=inside)])
    storm = encode_event(next(one for one in EXAMPLES if one["event"] == "fork_storm"))
    assert first["unmapped"]["k8s"]["labels"] == second["process"]["container"]["labels"] == ["app=cart"]
    assert "labels" not in second["unmapped"]["k8s"]
    assert "app=cart" in storm["resources"][0]["labels"]
    assert "labels" not in storm["unmapped"]["k8s"]


def test_unknown_tasks_are_still_a_process_and_an_actor():
    parent_context = a_parent_context(parent=UNKNOWN, parent_process=UNKNOWN, comm=None, parent_comm=None, uid=None, gid=None)
    (event,) = encode_forks([a_fork(child=UNKNOWN, chain=(), parent_context=parent_context)])
    assert list(schema_errors(event)) == []
    assert event["actor"] == {"app_name": "unknown"}
    assert event["process"] == {"uid": event["metadata"]["uid"]}


def test_a_number_of_more_than_32_bits_is_left_out():
    small, large = encode_forks([a_fork(sequence=2**31 - 1), a_fork(sequence=2**31)])
    assert (small["metadata"]["sequence"], "sequence" in large["metadata"]) == (2**31 - 1, False)
    assert large["metadata"]["uid"].endswith(f".{2**31}")
    gap = next(one for one in EXAMPLES if one["event"] == "gap")
    many = encode_event(gap | {"count": 2**31})
    assert ("count" in many, many["unmapped"]["count"]) == (False, 2**31)


def test_start_and_stop_of_a_storm_are_one_finding_and_only_the_start_is_an_alert():
    start, stop = (encode_event(one) for one in EXAMPLES if one["event"] == "fork_storm")
    assert start["finding_info"]["uid"] == stop["finding_info"]["uid"]
    assert start["metadata"]["uid"] != stop["metadata"]["uid"]
    assert (start["is_alert"], stop["is_alert"]) == (True, False)


def test_a_pod_may_have_very_many_and_very_long_labels():
    labels = {f"{number}.{'k' * 300}": "v" * 70_000 for number in range(200)}
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(labels=labels), Container("7b"))
    (event,) = encode_forks([a_fork(attribution=attribution)])
    assert list(schema_errors(event)) == []
    assert native_labels(event["process"]["container"]["labels"], "=") == labels
