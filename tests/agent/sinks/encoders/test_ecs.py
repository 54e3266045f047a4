"""An ECS document has only fields, types and values of ECS, and all fields of the native event."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Attribution, Container, Task
from agent.sinks.encoders.ecs import EcsEncoder
from tests.agent.sinks.encoders.ecs_documents import OURS, WORKLOADS, leaves, native_event, native_fork, schema_errors
from tests.agent.sinks.encoders.native_events import STREAM, agent_events, native_forks, native_labels, real_forks
from tests.agent.sinks.model_strategies import a_fork, a_parent_context, a_pod, a_task, forks

EXAMPLES = json.loads((Path(__file__).parents[4] / "wire/examples.json").read_text())


@pytest.fixture
def encoder():
    return EcsEncoder("demo", "node1", "0.1.0", "logs-forklore.process-default")


def encode_forks(forks):
    encoder = EcsEncoder("demo", "node1", "0.1.0", "logs-forklore.process-default")
    return [json.loads(one) for one in encoder.forks(STREAM, forks)]


def encode_event(event):
    return json.loads(EcsEncoder("demo", "node1", "0.1.0", "logs-forklore.process-default").event(event))


@given(forks())
def test_a_forks_document_is_valid_ecs_for_any_text_from_a_container(fork):
    (document,) = encode_forks([fork._replace(sequence=fork.sequence % 2**63)])
    assert list(schema_errors(document)) == []


@given(real_forks())
def test_a_forks_document_has_all_fields_of_the_native_event(fork):
    (document,) = encode_forks([fork])
    assert list(schema_errors(document)) == []
    assert native_fork(document) == native_forks([fork])[0]


@given(st.lists(real_forks(), max_size=4))
def test_cached_fragments_do_not_leak_into_other_forks(several):
    encoder = EcsEncoder("demo", "node1", "0.1.0")
    for _ in range(2):
        assert [native_fork(json.loads(one)) for one in encoder.forks(STREAM, several)] == native_forks(several)


@given(agent_events())
def test_an_agent_event_is_valid_ecs_with_all_its_fields(event):
    before = json.dumps(event)
    document = encode_event(event)
    assert list(schema_errors(document)) == []
    assert native_event(document) == event
    assert json.dumps(event) == before


@pytest.mark.parametrize("event", [one for one in EXAMPLES if one["event"] != "sched_process_fork"])
def test_the_golden_events_are_ecs(event):
    document = encode_event(event)
    assert list(schema_errors(document)) == []
    assert native_event(document) == event


def test_every_field_that_the_component_template_maps_is_in_some_document():
    """The template maps no field that is in no document."""
    container = Container("7b", "app", "a/b:1", "docker-pullable://b", "app", "containerd")
    attributions = [
        Attribution(7, "/p", "resolved", "status", "u", a_pod(workload=(kind, "x"), annotations={"a": "b"}), container)
        for kind in WORKLOADS
    ]
    parent_context = a_parent_context(leader=a_task(40), parent_process=a_task(30))
    made = [a_fork(attribution=one, thread=True, parent_context=parent_context, parent_attribution=one) for one in attributions]
    gap = next(one for one in EXAMPLES if one["event"] == "gap") | {"sink": "siem"}
    documents = [
        *encode_forks(made),
        *map(encode_event, [gap, *(one for one in EXAMPLES if one["event"] != "sched_process_fork")]),
    ]
    seen = {path for one in documents for path, _ in leaves(one)}
    objects = {path for path, kind in OURS.items() if kind == "object"}
    assert set(OURS) - seen - objects == set()
    assert all(any(path.startswith(f"{one}.") for path in seen) for one in objects)


def test_the_validator_finds_each_kind_of_error():
    (right,) = encode_forks([a_fork()])
    assert list(schema_errors(right)) == []
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
    assert [one for one in wrong if not list(schema_errors(right | one))] == []


def test_two_labels_that_become_one_field_keep_both_values(encoder):
    labels = {
        "app": "a",
        "app.kubernetes.io/x": "b",
        "app_kubernetes_io/x": "c",
        "app.kubernetes_io/x": "d",
        " ": "e",
        "..": "f",
    }
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(labels=labels))
    document = json.loads(encoder.forks(STREAM, [a_fork(attribution=attribution)])[0])
    assert document["kubernetes"]["labels"] == {"app": "a", "app_kubernetes_io/x": ["b", "c", "d"], "__": "f"}
    assert document["orchestrator"]["resource"]["label"] == [f"{key}:{value}" for key, value in labels.items()]


def test_a_pod_may_have_very_many_and_very_long_labels(encoder):
    labels = {f"{number}.{'k' * 300}": "v" * 70_000 for number in range(200)}
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(labels=labels))
    document = json.loads(encoder.forks(STREAM, [a_fork(attribution=attribution)])[0])
    assert list(schema_errors(document)) == []
    assert native_labels(document["orchestrator"]["resource"]["label"], ":") == labels


def test_a_thread_is_a_change_and_not_a_start(encoder):
    leader, thread = a_task(40, 10**18), Task(50, 50, 40, 40, 2 * 10**18, "0" * 15 + "a")
    parent_context = a_parent_context(parent=a_task(40), parent_process=a_task(30), leader=leader)
    process, document = map(
        json.loads, encoder.forks(STREAM, [a_fork(), a_fork(thread=True, child=thread, parent_context=parent_context)])
    )
    assert (process["event"]["type"], document["event"]["type"]) == (["start"], ["change"])
    assert (document["process"]["pid"], document["process"]["thread"]["id"]) == (40, 50)
    assert document["process"]["start"] == document["forklore"]["leader_start_time"] != document["forklore"]["start_time"]
    assert document["message"] == "sh (40) started thread 50"
    assert "start_time" not in process["forklore"]


def test_the_parents_name_is_known_only_when_it_called_fork(encoder):
    called, another = a_parent_context(), a_parent_context(parent=a_task(41))
    unknown = a_parent_context(parent=Task(*[None] * 6), parent_process=Task(*[None] * 6))
    documents = [
        json.loads(one) for one in encoder.forks(STREAM, [a_fork(parent_context=one) for one in (called, another, unknown)])
    ]
    assert [one["process"]["parent"].get("name") for one in documents] == ["sh", None, None]
    assert documents[2]["process"]["parent"] == {}
    assert documents[2]["message"] == "sh (?) forked 50"


def test_a_fork_with_an_unknown_child_is_encoded(encoder):
    (document,) = map(json.loads, encoder.forks(STREAM, [a_fork(child=Task(*[None] * 6), chain=(None, None))]))
    assert list(schema_errors(document)) == []
    assert document["message"].endswith("forked ?")
    assert document["forklore"]["child_ns_pids"] == [None, None]


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
def test_an_images_tag_is_read_from_its_name(encoder, image, tag):
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(), Container("7b", "app", image))
    image_object = json.loads(encoder.forks(STREAM, [a_fork(attribution=attribution)])[0])["container"]["image"]
    assert (image_object["name"], image_object.get("tag")) == (image, tag)


@pytest.mark.parametrize(
    ("image_id", "hashes", "left"),
    [
        ("sha256:" + "7" * 64, ["sha256:" + "7" * 64], None),
        ("docker://x@sha256:00", None, "docker://x@sha256:00"),
        (None, None, None),
    ],
)
def test_an_images_digest_is_a_hash_and_another_id_is_a_custom_field(encoder, image_id, hashes, left):
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(), Container("7b", "app", "busybox", image_id))
    document = json.loads(encoder.forks(STREAM, [a_fork(attribution=attribution)])[0])
    assert document["container"]["image"].get("hash") == (hashes and {"all": hashes})
    assert document["forklore"].get("container", {}).get("image_id") == left


@pytest.mark.parametrize(
    ("data_stream", "fields", "dataset"),
    [
        ("logs-a.b-prod", {"type": "logs", "dataset": "a.b", "namespace": "prod"}, "a.b"),
        ("forks", None, "forklore.process"),
        ("logs--prod", None, "forklore.process"),
        ("my-own-index-1", None, "forklore.process"),
        (None, None, "forklore.process"),
    ],
)
def test_the_data_streams_fields_are_read_from_its_name(data_stream, fields, dataset):
    encoder = EcsEncoder("demo", "node1", "0.1.0", data_stream)
    for one in (encoder.forks(STREAM, [a_fork()])[0], encoder.event(EXAMPLES[1])):
        document = json.loads(one)
        assert (document.get("data_stream"), document["event"]["dataset"]) == (fields, dataset)


def test_only_the_start_of_a_storm_is_an_alert():
    kinds = {one["id"].rpartition(".")[2]: encode_event(one)["event"] for one in EXAMPLES if one["event"] == "fork_storm"}
    assert (kinds["start"]["kind"], kinds["stop"]["kind"]) == ("alert", "event")
    assert ("severity" in kinds["start"], "severity" in kinds["stop"]) == (True, False)


def test_a_new_attribution_of_a_cgroup_is_used_from_then_on(encoder):
    attribution = Attribution(7, "/p", "unresolved", "cgroup", "u")
    better = replace(attribution, state="resolved", by="status", pod=a_pod())
    first, second = map(json.loads, encoder.forks(STREAM, [a_fork(attribution=attribution), a_fork(attribution=better)]))
    assert "namespace" not in first["orchestrator"]
    assert second["orchestrator"]["namespace"] == "shop"
