"""An OCSF event validates against the official schema of its class and profiles, and says all that the native event says."""

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
from tests.agent.sinks.natives import NAMESPACES, STREAM, UIDS, labels_again, natives, own_events, real_forks
from tests.agent.sinks.nouns import a_fork, a_parent_context, a_pod, a_task

EXAMPLES = json.loads((Path(__file__).parents[3] / "wire/examples.json").read_text())
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
    """OCSF's, and stricter by what it leaves to its formats: an integer_t has 32 bits, a long_t 64."""
    official = copy.deepcopy(get_ocsf_schema("1.8.0"))
    for name, bits in (("integer_t", 31), ("long_t", 63)):
        official["dictionary"]["types"]["attributes"][name]["range"] = [-(2**bits), 2**bits - 1]
    return OcsfJsonSchemaEmbedded(official)


@cache
def validator(class_uid, profiles):
    return jsonschema_rs.validator_for(schema().get_class_schema(CLASSES[class_uid], list(profiles)))


def complaints(event):
    found = list(validator(event["class_uid"], tuple(event["metadata"]["profiles"])).iter_errors(event))
    yield from (f"{one.instance_path}: {one.message}" for one in found)
    yield from nulls(event, "")
    yield from () if found else times(event)
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
    """Milliseconds and, beside them, the same as text."""
    if isinstance(value, dict):
        for key, text in value.items():
            if key.endswith("_dt"):
                second = int(datetime.fromisoformat(f"{text[:19]}+00:00").timestamp())
                if value.get(key[:-3]) != second * 1000 + int(text[20:23]):
                    yield f"{key}: {text} is not {value.get(key[:-3])}"
            yield from times(text)


def told(forks):
    return [json.loads(one) for one in OcsfEncoder("demo", "node1", "0.1.0").forks(STREAM, forks)]


def told_own(event):
    return json.loads(OcsfEncoder("demo", "node1", "0.1.0").event(event))


def whose_again(event, container):
    """The native event's cgroup, container, k8s and enrichment."""
    rest = event["unmapped"]
    of_k8s = rest["k8s"]
    pod = event.get("resources", [{}])[0]
    labels = (container or {}).get("labels", pod.get("labels", of_k8s.get("labels")))
    annotations = labels_again(of_k8s.get("annotations"), "=")
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
    found = {
        "k8s": {
            "node": event["device"]["hostname"],
            **{name: of_k8s.get(name) for name in names},
            "labels": labels_again(labels, "="),
            **({} if annotations is None else {"annotations": annotations}),
        }
    }
    if "enrichment" in rest:
        found |= {"cgroup": cgroup_again(rest.get("cgroup")), "container": container}
        found["enrichment"] = {"by": None, **rest["enrichment"]}
    return found


def cgroup_again(cgroup):
    return cgroup and {"id": int(cgroup["id"]), "path": cgroup.get("path")}


def process_again(process, rest, prefix):
    start = process.get("created_time_dt", rest.get(f"{prefix}_start_time"))
    return {
        f"{prefix}_tid": process.get("ptid", rest.get(f"{prefix}_tid")),
        f"{prefix}_ns_tid": rest.get(f"{prefix}_ns_tid"),
        f"{prefix}_pid": process.get("pid", rest.get(f"{prefix}_pid")),
        f"{prefix}_ns_pid": process.get("namespace_pid", rest.get(f"{prefix}_ns_pid")),
        f"{prefix}_start_time": start,
    }


def fork_again(event):
    """The native event, out of a fork's: that this can be written, shows that nothing is lost."""
    rest, process, caller = event["unmapped"], event["process"], event["actor"].get("process", {})
    above, user = process.get("parent_process", {}), process.get("user", {})
    thread = event["activity_id"] != 1
    child = process_again(process, rest, "child")
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
        **process_again(caller, rest, "parent"),
        **child,
        "start_time": started,
        **process_again(above, rest, "parent_process"),
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
        **whose_again(event, process.get("container")),
        "parent_cgroup": cgroup_again(rest.get("parent_cgroup")),
    }


def own_again(event):
    rest = event["unmapped"]
    found = {
        "event": event["metadata"]["event_code"],
        "id": event["metadata"]["uid"],
        "timestamp": event["time_dt"],
        "interval": {"start": event["start_time_dt"], "end": event["end_time_dt"]},
        **{name: value for name, value in rest.items() if name not in ("heads", "container", "k8s", "cgroup", "enrichment")},
        **whose_again(event, event["device"].get("container")),
    }
    if "heads" in rest:
        found["heads"] = {str(head["cpu"]): head["sequence"] for head in rest["heads"]}
    if event["class_uid"] == 1008:
        missing = {"missing": event["log_name"], "reason": event["status_code"], "sink": rest.get("sink")}
        found |= missing | {"count": event.get("count", rest.get("count"))}
    if event["class_uid"] == 2004:
        found["phase"] = {1: "start", 3: "stop"}[event["activity_id"]]
    return found


@given(real_forks())
def test_a_fork_s_event_is_ocsf_and_says_all_that_the_native_event_says(fork):
    (event,) = told([fork])
    event_without_chain = event | {"unmapped": event["unmapped"] | {"child_ns_pids": []}}  # where null holds a place
    assert list(complaints(event_without_chain)) == []
    assert fork_again(event) == natives([fork])[0]


@given(st.lists(real_forks(), max_size=4))
@settings(max_examples=50)
def test_what_is_kept_for_one_fork_is_not_told_of_another(several):
    encoder = OcsfEncoder("demo", "node1", "0.1.0")
    for _ in range(2):
        assert [fork_again(json.loads(one)) for one in encoder.forks(STREAM, several)] == natives(several)


@given(own_events())
def test_an_event_of_the_agents_own_is_ocsf_and_says_all_that_it_said(event):
    before = json.dumps(event)
    made = told_own(event)
    assert list(complaints(made)) == []
    assert own_again(made) == event
    assert json.dumps(event) == before


@pytest.mark.parametrize("event", [one for one in EXAMPLES if one["event"] != "sched_process_fork"])
def test_the_golden_events_are_ocsf(event):
    made = told_own(event)
    assert list(complaints(made)) == []
    assert own_again(made) == event


def test_the_classes_are_those_that_were_decided():
    classes = {
        one["event"]: told_own(one)["type_uid"] for one in EXAMPLES if one["event"] not in ("sched_process_fork", "fork_storm")
    }
    storms = {one["phase"]: told_own(one)["type_uid"] for one in EXAMPLES if one["event"] == "fork_storm"}
    assert classes == {"fork_summary": 99, "node_summary": 99, "gap": 100899}
    assert storms == {"start": 200401, "stop": 200403}


def test_a_process_is_launched_by_fork():
    (event,) = told([a_fork()])
    assert (event["type_uid"], event["launch_type_id"], event["severity_id"]) == (100701, 2, 1)
    assert (event["actor"]["process"]["pid"], event["process"]["pid"]) == (40, 50)
    assert event["message"] == "sh (40) forked 50"


def test_the_validator_would_find_what_is_wrong():
    (right,) = told([a_fork()])
    assert list(complaints(right)) == []
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
    assert [one for one in wrong if not list(complaints(right | one))] == []


def test_a_thread_is_no_launch():
    leader, thread = a_task(40, 10**18), Task(50, 50, 40, 40, 2 * 10**18, "0" * 15 + "a")
    parent_context = a_parent_context(parent=a_task(40), parent_process=a_task(30), leader=leader)
    (event,) = told([a_fork(thread=True, child=thread, parent_context=parent_context)])
    assert list(complaints(event)) == []
    assert (event["type_uid"], event["activity_name"], "launch_type_id" in event) == (100799, "Start Thread", False)
    assert (event["process"]["pid"], event["process"]["ptid"]) == (40, 50)
    assert event["process"]["created_time_dt"] == event["unmapped"]["leader_start_time"] != event["unmapped"]["start_time"]


def test_a_thread_that_calls_is_younger_than_its_process():
    caller = Task(41, 41, 40, 40, 2 * 10**18, None)
    (event,) = told([a_fork(parent_context=a_parent_context(parent=caller, parent_process=caller))])
    assert list(complaints(event)) == []
    assert (event["actor"]["process"]["pid"], event["actor"]["process"]["ptid"]) == (40, 41)
    assert "created_time" not in event["actor"]["process"]
    assert event["unmapped"]["parent_start_time"] == "2033-05-18T03:33:20.000000000Z"


def test_a_static_pod_s_uid_is_no_uuid_and_is_told_elsewhere():
    attributions = [Attribution(7, "/p", "resolved", "status", uid, a_pod(), Container("7b")) for uid in UIDS]
    containers = [event["process"]["container"] for event in told([a_fork(attribution=one) for one in attributions])]
    assert [one.get("pod_uuid") for one in containers] == [UIDS[0], None]
    assert [{"name": "k8s.pod.uid", "value": uid} in one["tags"] for one, uid in zip(containers, UIDS, strict=True)] == [
        True
    ] * 2


def test_an_image_without_an_id_is_told_elsewhere():
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(), Container("7b", "app", "busybox"))
    (event,) = told([a_fork(attribution=attribution)])
    assert list(complaints(event)) == []
    assert "image" not in event["process"]["container"]
    assert event["unmapped"]["container"]["image"] == "busybox"


def test_labels_are_told_once_in_the_container_or_else_in_the_pod():
    bare, inside = (Attribution(7, "/p", "resolved", "status", "u", a_pod(), one) for one in (None, Container("7b")))
    first, second = told([a_fork(attribution=bare), a_fork(attribution=inside)])
    storm = told_own(next(one for one in EXAMPLES if one["event"] == "fork_storm"))
    assert first["unmapped"]["k8s"]["labels"] == second["process"]["container"]["labels"] == ["app=cart"]
    assert "labels" not in second["unmapped"]["k8s"]
    assert "app=cart" in storm["resources"][0]["labels"]
    assert "labels" not in storm["unmapped"]["k8s"]


def test_what_could_not_be_read_at_all_is_still_a_process_and_an_actor():
    parent_context = a_parent_context(parent=UNKNOWN, parent_process=UNKNOWN, comm=None, parent_comm=None, uid=None, gid=None)
    (event,) = told([a_fork(child=UNKNOWN, chain=(), parent_context=parent_context)])
    assert list(complaints(event)) == []
    assert event["actor"] == {"app_name": "unknown"}
    assert event["process"] == {"uid": event["metadata"]["uid"]}


def test_a_number_that_32_bits_do_not_hold_is_left_to_the_id_and_to_the_counts():
    small, large = told([a_fork(sequence=2**31 - 1), a_fork(sequence=2**31)])
    assert (small["metadata"]["sequence"], "sequence" in large["metadata"]) == (2**31 - 1, False)
    assert large["metadata"]["uid"].endswith(f".{2**31}")
    gap = next(one for one in EXAMPLES if one["event"] == "gap")
    many = told_own(gap | {"count": 2**31})
    assert ("count" in many, many["unmapped"]["count"]) == (False, 2**31)


def test_both_ends_of_a_storm_are_one_finding_and_only_its_beginning_is_an_alert():
    start, stop = (told_own(one) for one in EXAMPLES if one["event"] == "fork_storm")
    assert start["finding_info"]["uid"] == stop["finding_info"]["uid"]
    assert start["metadata"]["uid"] != stop["metadata"]["uid"]
    assert (start["is_alert"], stop["is_alert"]) == (True, False)


def test_a_pod_may_have_very_many_and_very_long_labels():
    labels = {f"{number}.{'k' * 300}": "v" * 70_000 for number in range(200)}
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(labels=labels), Container("7b"))
    (event,) = told([a_fork(attribution=attribution)])
    assert list(complaints(event)) == []
    assert labels_again(event["process"]["container"]["labels"], "=") == labels
