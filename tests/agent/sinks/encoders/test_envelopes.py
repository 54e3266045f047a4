"""A protocol's envelope is right, and leaves the item unchanged."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sinks.encoders.envelopes import BulkEnvelope, HecEnvelope
from agent.sinks.encoders.native import NativeEncoder
from agent.sinks.encoders.times import Rfc3339
from tests.agent.sinks.model_strategies import a_fork, forks, hostile

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
EXAMPLES = json.loads((Path(__file__).parents[4] / "wire/examples.json").read_text())


def native():
    return NativeEncoder("demo", "node1")


@given(st.lists(forks(), max_size=3), hostile, hostile, hostile, st.none() | st.just("main"))
def test_splunks_envelope_has_the_item_and_its_source(several, node, source, sourcetype, index):
    envelope = HecEnvelope(native(), node, source, sourcetype, index)
    for fork, inside, item in zip(several, native().forks(STREAM, several), envelope.forks(STREAM, several), strict=True):
        assert "\n" not in item
        envelope = json.loads(item)
        assert envelope.pop("event") == json.loads(inside)
        assert envelope.pop("time") == pytest.approx(fork.time / 1e9, abs=1e-6)
        assert envelope == {"host": node, "source": source, "sourcetype": sourcetype} | ({"index": index} if index else {})


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event["event"])
def test_splunks_envelope_is_the_same_for_agent_events(event):
    item = json.loads(HecEnvelope(native(), "node1", "forklore", "forklore:native", None).event(event))
    assert item["event"] == event
    assert item["time"] == pytest.approx(1795376910, abs=60)


def test_a_time_has_all_decimals_that_splunk_keeps():
    fork = a_fork(time=1_700_000_000_000_001_999)
    (item,) = HecEnvelope(native(), "node1", "s", "t", None).forks(STREAM, [fork])
    assert item.startswith('{"time":1700000000.000001,')
    event = {"event": "gap", "timestamp": Rfc3339()(fork.time)}
    assert HecEnvelope(native(), "node1", "s", "t", None).event(event).startswith('{"time":1700000000.000001,')


@given(st.lists(forks(), max_size=3), st.none() | st.just("logs-forklore.process-default"))
def test_elasticsearchs_action_has_the_forks_id(several, index):
    envelope = BulkEnvelope(native(), index)
    for inside, item in zip(native().forks(STREAM, several), envelope.forks(STREAM, several), strict=True):
        action, document = item.split("\n")
        assert document == inside
        assert json.loads(action) == {"create": ({"_index": index} if index else {}) | {"_id": json.loads(inside)["id"]}}


@pytest.mark.parametrize("index", [None, "main"])
@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event["event"])
def test_elasticsearchs_action_is_the_same_for_agent_events(event, index):
    action, document = BulkEnvelope(native(), index).event(event).split("\n")
    assert json.loads(document) == event
    assert json.loads(action) == {"create": ({"_index": index} if index else {}) | {"_id": event["id"]}}


def test_an_id_is_escaped_in_an_action():
    action, _ = BulkEnvelope(native(), None).event({"id": 'a"}}\n{"delete":{"_id":"b"}}'}).split("\n")
    assert list(json.loads(action)) == ["create"]
