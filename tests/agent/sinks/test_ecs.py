"""An ECS document has ECS's own fields, of their types and with their values, and says all that the native event says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import Attribution, Container, Task
from agent.sinks.encoders.ecs import EcsEncoder
from tests.agent.sinks.ecs_documents import OURS, WORKLOADS, complaints, fork_again, leaves, own_again
from tests.agent.sinks.natives import STREAM, labels_again, natives, own_events, real_forks
from tests.agent.sinks.nouns import a_fork, a_parent_context, a_pod, a_task, forks

EXAMPLES = json.loads((Path(__file__).parents[3] / "wire/examples.json").read_text())


@pytest.fixture
def encoder():
    return EcsEncoder("demo", "node1", "0.1.0", "logs-forklore.process-default")


def documents(forks):
    encoder = EcsEncoder("demo", "node1", "0.1.0", "logs-forklore.process-default")
    return [json.loads(one) for one in encoder.forks(STREAM, forks)]


def document(event):
    return json.loads(EcsEncoder("demo", "node1", "0.1.0", "logs-forklore.process-default").event(event))


@given(forks())
def test_a_fork_s_document_is_ecs_whatever_a_container_chose(fork):
    (told,) = documents([fork._replace(sequence=fork.sequence % 2**63)])
    assert list(complaints(told)) == []


@given(real_forks())
def test_a_fork_s_document_says_all_that_the_native_event_says(fork):
    (told,) = documents([fork])
    assert list(complaints(told)) == []
    assert fork_again(told) == natives([fork])[0]


@given(st.lists(real_forks(), max_size=4))
@settings(max_examples=50)
def test_what_is_kept_for_one_fork_is_not_told_of_another(several):
    encoder = EcsEncoder("demo", "node1", "0.1.0")
    for _ in range(2):
        assert [fork_again(json.loads(one)) for one in encoder.forks(STREAM, several)] == natives(several)


@given(own_events())
def test_an_event_of_the_agents_own_is_ecs_and_says_all_that_it_said(event):
    before = json.dumps(event)
    told = document(event)
    assert list(complaints(told)) == []
    assert own_again(told) == event
    assert json.dumps(event) == before


@pytest.mark.parametrize("event", [one for one in EXAMPLES if one["event"] != "sched_process_fork"])
def test_the_golden_events_are_ecs(event):
    told = document(event)
    assert list(complaints(told)) == []
    assert own_again(told) == event


def test_every_field_that_the_component_template_maps_is_in_some_document():
    """And so it maps nothing that there is not."""
    container = Container("7b", "app", "a/b:1", "docker-pullable://b", "app", "containerd")
    attributions = [
        Attribution(7, "/p", "resolved", "status", "u", a_pod(workload=(kind, "x"), annotations={"a": "b"}), container)
        for kind in WORKLOADS
    ]
    parent_context = a_parent_context(leader=a_task(40), parent_process=a_task(30))
    made = [a_fork(attribution=one, thread=True, parent_context=parent_context, parent_attribution=one) for one in attributions]
    gap = next(one for one in EXAMPLES if one["event"] == "gap") | {"sink": "siem"}
    told = [*documents(made), *map(document, [gap, *(one for one in EXAMPLES if one["event"] != "sched_process_fork")])]
    seen = {path for one in told for path, _ in leaves(one)}
    objects = {path for path, kind in OURS.items() if kind == "object"}
    assert set(OURS) - seen - objects == set()
    assert all(any(path.startswith(f"{one}.") for path in seen) for one in objects)


def test_the_validator_would_find_what_is_wrong():
    (right,) = documents([a_fork()])
    assert list(complaints(right)) == []
    wrong = [
        {"process": {"pid": "50"}},
        {"process": {"pid": 2**63}},
        {"process": {"pid": True}},
        {"process": {"thread": 50}},
        {"process": {"name": ["sh"]}},
        {"process": {"colour": "red"}},
        {"process": {"start": "2026-11-22"}},
        {"host": {"boot": {"id": 1}}},
        {"host": "node1"},
        {"forklore": {"cgroup": "7"}},
        {"forklore": {"cgroup": {"id": 7}}},
        {"kubernetes": {"labels": {"app": {"name": "x"}}}},
        {"kubernetes": {"labels": {"app.name": "x"}}},
        {"kubernetes": {"labels": {" ": "x"}}},
        {"event": right["event"] | {"kind": "signals"}},
        {"event": right["event"] | {"type": ["deletion"]}},
        {"event": right["event"] | {"type": "start"}},
    ]
    assert [one for one in wrong if not list(complaints(right | one))] == []


def test_two_labels_that_become_one_field_keep_both_values_there(encoder):
    labels = {
        "app": "a",
        "app.kubernetes.io/x": "b",
        "app_kubernetes_io/x": "c",
        "app.kubernetes_io/x": "d",
        " ": "e",
        "..": "f",
    }
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(labels=labels))
    told = json.loads(encoder.forks(STREAM, [a_fork(attribution=attribution)])[0])
    assert told["kubernetes"]["labels"] == {"app": "a", "app_kubernetes_io/x": ["b", "c", "d"], "__": "f"}
    assert told["orchestrator"]["resource"]["label"] == [f"{key}:{value}" for key, value in labels.items()]


def test_a_pod_may_have_very_many_and_very_long_labels(encoder):
    labels = {f"{number}.{'k' * 300}": "v" * 70_000 for number in range(200)}
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(labels=labels))
    told = json.loads(encoder.forks(STREAM, [a_fork(attribution=attribution)])[0])
    assert list(complaints(told)) == []
    assert labels_again(told["orchestrator"]["resource"]["label"], ":") == labels


def test_a_thread_is_a_change_of_its_process_and_no_start(encoder):
    leader, thread = a_task(40, 10**18), Task(50, 50, 40, 40, 2 * 10**18, "0" * 15 + "a")
    parent_context = a_parent_context(parent=a_task(40), parent_process=a_task(30), leader=leader)
    process, told = map(
        json.loads, encoder.forks(STREAM, [a_fork(), a_fork(thread=True, child=thread, parent_context=parent_context)])
    )
    assert (process["event"]["type"], told["event"]["type"]) == (["start"], ["change"])
    assert (told["process"]["pid"], told["process"]["thread"]["id"]) == (40, 50)
    assert told["process"]["start"] == told["forklore"]["leader_start_time"] != told["forklore"]["start_time"]
    assert told["message"] == "sh (40) started thread 50"
    assert "start_time" not in process["forklore"]


def test_the_parent_bears_the_caller_s_name_only_when_it_called(encoder):
    called, another = a_parent_context(), a_parent_context(parent=a_task(41))
    unknown = a_parent_context(parent=Task(*[None] * 6), parent_process=Task(*[None] * 6))
    told = [
        json.loads(one) for one in encoder.forks(STREAM, [a_fork(parent_context=one) for one in (called, another, unknown)])
    ]
    assert [one["process"]["parent"].get("name") for one in told] == ["sh", None, None]
    assert told[2]["process"]["parent"] == {}
    assert told[2]["message"] == "sh (?) forked 50"


def test_a_child_that_could_not_be_read_is_a_fork_all_the_same(encoder):
    (told,) = map(json.loads, encoder.forks(STREAM, [a_fork(child=Task(*[None] * 6), chain=(None, None))]))
    assert list(complaints(told)) == []
    assert told["message"].endswith("forked ?")
    assert told["forklore"]["child_ns_pids"] == [None, None]


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("busybox:1.36", ["1.36"]),
        ("registry:5000/a/b:1", ["1"]),
        ("registry:5000/a/b", None),
        ("a@sha256:" + "7" * 64, None),
        ("a:1@sha256:" + "7" * 64, None),
        ("sha256:" + "7" * 64, None),
        (":1", None),
        ("a:", None),
    ],
)
def test_an_image_s_tag_is_what_follows_its_name(encoder, image, tag):
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(), Container("7b", "app", image))
    told = json.loads(encoder.forks(STREAM, [a_fork(attribution=attribution)])[0])["container"]["image"]
    assert (told["name"], told.get("tag")) == (image, tag)


@pytest.mark.parametrize(
    ("image_id", "hashes", "left"),
    [
        ("sha256:" + "7" * 64, ["sha256:" + "7" * 64], None),
        ("docker://x@sha256:00", None, "docker://x@sha256:00"),
        (None, None, None),
    ],
)
def test_an_image_s_digest_is_one_of_its_hashes_and_any_other_id_is_ours(encoder, image_id, hashes, left):
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(), Container("7b", "app", "busybox", image_id))
    told = json.loads(encoder.forks(STREAM, [a_fork(attribution=attribution)])[0])
    assert told["container"]["image"].get("hash") == (hashes and {"all": hashes})
    assert told["forklore"].get("container", {}).get("image_id") == left


@pytest.mark.parametrize(
    ("data_stream", "told", "dataset"),
    [
        ("logs-a.b-prod", {"type": "logs", "dataset": "a.b", "namespace": "prod"}, "a.b"),
        ("forks", None, "forklore.process"),
        ("logs--prod", None, "forklore.process"),
        ("my-own-index-1", None, "forklore.process"),
        (None, None, "forklore.process"),
    ],
)
def test_the_data_stream_s_three_fields_are_those_of_its_name(data_stream, told, dataset):
    encoder = EcsEncoder("demo", "node1", "0.1.0", data_stream)
    for one in (encoder.forks(STREAM, [a_fork()])[0], encoder.event(EXAMPLES[1])):
        document = json.loads(one)
        assert (document.get("data_stream"), document["event"]["dataset"]) == (told, dataset)


def test_only_the_beginning_of_a_storm_is_an_alert():
    kinds = {one["id"].rpartition(".")[2]: document(one)["event"] for one in EXAMPLES if one["event"] == "fork_storm"}
    assert (kinds["start"]["kind"], kinds["stop"]["kind"]) == ("alert", "event")
    assert ("severity" in kinds["start"], "severity" in kinds["stop"]) == (True, False)


def test_a_new_finding_about_a_cgroup_is_told_from_then_on(encoder):
    attribution = Attribution(7, "/p", "unresolved", "cgroup", "u")
    better = replace(attribution, state="resolved", by="status", pod=a_pod())
    first, second = map(json.loads, encoder.forks(STREAM, [a_fork(attribution=attribution), a_fork(attribution=better)]))
    assert "namespace" not in first["orchestrator"]
    assert second["orchestrator"]["namespace"] == "shop"
