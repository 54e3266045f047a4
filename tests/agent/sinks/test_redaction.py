"""Redaction leaves out what it should in every schema, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Attribution
from agent.sinks.encoders.native import NativeEncoder, k8s_fields
from agent.sinks.redaction import AllowedKeys, FieldDropper, PodRedactor
from tests.agent.sinks.model_strategies import a_fork, a_pod, forks, hostile

STREAM = "boot.instance"
ALL, NONE = AllowedKeys(None), AllowedKeys(())
LABELS = {"app": "cart", "app.kubernetes.io/name": "cart", "app.kubernetes.io/part-of": "shop", "secret": "s3cr3t"}


def of_pod(**fields):
    pod = a_pod(**fields)
    return a_fork(attribution=Attribution(7, "/p", "resolved", "status", pod.uid, pod))


def encode_forks(encoder, *several):
    return [json.loads(item) for item in encoder.forks(STREAM, several)]


def redacted(labels, annotations=NONE):
    return PodRedactor(NativeEncoder("demo", "node1"), labels, annotations)


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (None, list(LABELS)),
        ((), []),
        (("app",), ["app"]),
        (("app*",), ["app", "app.kubernetes.io/name", "app.kubernetes.io/part-of"]),
        (("app.kubernetes.io/*", "app"), ["app", "app.kubernetes.io/name", "app.kubernetes.io/part-of"]),
        (("*",), list(LABELS)),
        (("ap", "kubernetes"), []),
    ],
)
def test_labels_are_allowed_by_key_or_prefix(patterns, left):
    assert list(AllowedKeys(patterns).filter(LABELS)) == left
    (event,) = encode_forks(redacted(AllowedKeys(patterns)), of_pod(labels=LABELS))
    assert event["k8s"]["labels"] == {key: LABELS[key] for key in left}


@given(st.lists(forks(), max_size=4))
def test_only_allowed_labels_are_in_the_event_and_the_rest_is_unchanged(several):
    for plain, event in zip(
        encode_forks(NativeEncoder("demo", "node1"), *several), encode_forks(redacted(NONE), *several), strict=True
    ):
        k8s = plain["k8s"]
        k8s.pop("annotations", None)
        assert event == {**plain, "k8s": {**k8s, "labels": k8s["labels"] and {}}}


def test_annotations_have_a_list_of_their_own():
    fork = of_pod(labels=LABELS, annotations={"example.com/owner": "shop", "secret": "s3cr3t"})
    (event,) = encode_forks(redacted(NONE, AllowedKeys(["example.com/owner"])), fork)
    assert (event["k8s"]["labels"], event["k8s"]["annotations"]) == ({}, {"example.com/owner": "shop"})


def test_an_attribution_is_redacted_once():
    seen = []

    class Encoder(NativeEncoder):
        def forks(self, stream, forks):
            seen.extend(fork.attribution for fork in forks)
            return super().forks(stream, forks)

    encoder, fork = PodRedactor(Encoder("demo", "node1"), NONE, NONE), of_pod(labels=LABELS)
    encode_forks(encoder, fork, fork)
    encode_forks(encoder, fork)
    assert len(set(seen)) == 1


def test_agent_events_are_redacted_in_a_copy():
    attribution = of_pod(labels=LABELS, annotations={"secret": "s3cr3t"}).attribution
    event = {"event": "gap", "id": "1", **k8s_fields(attribution, "demo", "node1")}
    before = json.dumps(event)
    item = json.loads(redacted(AllowedKeys(["app"])).event(event))
    assert item["k8s"]["labels"] == {"app": "cart"}
    assert "annotations" not in item["k8s"]
    assert "s3cr3t" not in json.dumps(item)
    assert json.dumps(event) == before


def test_an_event_without_a_pod_is_unchanged():
    event = {"event": "gap", "id": "1", **k8s_fields(Attribution(7, None, "host", None), "demo", "node1")}
    assert json.loads(redacted(NONE).event(event)) == event


class Fixed:
    """An encoder with a fixed result."""

    def __init__(self, document):
        self._item = json.dumps(document)

    def forks(self, stream, forks):
        return [self._item for _ in forks]

    def event(self, event):
        return self._item


@pytest.mark.parametrize(
    ("document", "name", "left"),
    [
        ({"a": 1, "b": 2}, "a", {"b": 2}),
        ({"a": {"b": {"c": 1}, "d": 2}}, "a.b.c", {"a": {"b": {}, "d": 2}}),
        ({"a": {"b": {"c": 1}, "d": 2}}, "a.b", {"a": {"d": 2}}),
        ({"a": [{"b": 1, "c": 2}, {"b": 3}, 4]}, "a.b", {"a": [{"c": 2}, {}, 4]}),
        ({"k8s": {"labels": {"app": "x", "app.kubernetes.io/name": "y"}}}, "k8s.labels.app.kubernetes.io/name",
         {"k8s": {"labels": {"app": "x"}}}),
        ({"a.b": 1, "a": {"b": 2, "c": 3}}, "a.b", {"a": {"c": 3}}),
        ({"a": {"b.c": 1}, "a.b": {"c": 2}}, "a.b.c", {"a": {}, "a.b": {}}),
        ({"a": 1}, "a.b", {"a": 1}),
        ({"a": None, "b": "text"}, "b.x", {"a": None, "b": "text"}),
        ({"a": 1}, "x", {"a": 1}),
        ({"a": {"a": {"a": 1}}}, "a.a", {"a": {}}),
    ],
)  # fmt: skip
def test_a_field_is_dropped_by_its_dotted_name(document, name, left):
    encoder = FieldDropper(Fixed(document), [name])
    assert [json.loads(item) for item in encoder.forks(STREAM, [a_fork(), a_fork()])] == [left, left]
    assert json.loads(encoder.event({})) == left


def test_several_fields_are_dropped():
    assert json.loads(FieldDropper(Fixed({"a": 1, "b": {"c": 2}, "d": 3}), ["a", "b.c"]).event({})) == {"b": {}, "d": 3}


documents = st.dictionaries(hostile, st.integers(-(2**63), 2**64 - 1) | hostile | st.lists(hostile, max_size=2), max_size=4)


@given(documents, st.lists(st.sampled_from("abc"), min_size=1, max_size=4))
def test_the_other_fields_keep_all_digits_on_one_line(document, name):
    item = FieldDropper(Fixed(document), [".".join(name)]).event({})
    assert json.loads(item) == {key: value for key, value in document.items() if key != ".".join(name)}
    assert "\n" not in item
