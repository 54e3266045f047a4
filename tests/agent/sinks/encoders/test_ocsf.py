"""An OCSF event is valid by the official schema of its class and profiles, and has all fields of the native event."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Attribution, Container, Task
from agent.sinks.encoders.ocsf import OcsfEncoder
from tests.agent.sinks.encoders.native_events import STREAM, UIDS, agent_events, native_forks, native_labels, real_forks
from tests.agent.sinks.encoders.ocsf_events import native_event, native_fork, schema_errors
from tests.agent.sinks.model_strategies import a_fork, a_parent_context, a_pod, a_task

EXAMPLES = json.loads((Path(__file__).parents[4] / "wire/examples.json").read_text())
UNKNOWN = Task(*[None] * 6)


def encode_forks(forks):
    return [json.loads(one) for one in OcsfEncoder("demo", "node1", "0.1.0").forks(STREAM, forks)]


def encode_event(event):
    return json.loads(OcsfEncoder("demo", "node1", "0.1.0").event(event))


@given(real_forks())
def test_a_forks_event_is_valid_ocsf_with_all_fields_of_the_native_event(fork):
    (event,) = encode_forks([fork])
    event_without_chain = event | {"unmapped": event["unmapped"] | {"child_ns_pids": []}}  # whose nulls are intended
    assert list(schema_errors(event_without_chain)) == []
    assert native_fork(event) == native_forks([fork])[0]


@given(st.lists(real_forks(), max_size=4))
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
