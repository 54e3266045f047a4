"""What the answer tables' tests have in common: a batch, a moment, and bodies that mean harm."""

from array import array
from datetime import UTC, datetime

import orjson
from hypothesis import strategies as st

from agent.model import Batch

NOW = datetime(2026, 11, 22, 20, 0, 0, tzinfo=UTC)


def a_batch(events):
    return Batch("id", "boot.instance", b"", array("Q", [7] * events), 0.0, 0)


def call(interpret, status, body=b"", events=5, **headers):
    """`body`: bytes, or anything that is to be sent as JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return interpret(status, named, body if isinstance(body, bytes) else orjson.dumps(body), NOW, a_batch(events))


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8)
# Names that a protocol reads, so that wrong values are where they are read.
names = st.one_of(
    st.sampled_from(["code", "text", "invalid-event-number"]),
    st.sampled_from(["rejected", "line"]),
    st.sampled_from(["errors", "items", "create", "status", "error", "type", "reason"]),
    st.sampled_from(["partialSuccess", "rejectedLogRecords", "errorMessage", "message"]),
)
json = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5), max_leaves=20
)
hostile_bodies = st.one_of(
    st.binary(max_size=300),
    json.map(orjson.dumps),
    st.sampled_from(
        [
            b"[" * 5000 + b"]" * 5000,
            b'{"items":' * 900 + b"1" + b"}" * 900,
            b'{"text":' + b"[" * 1000 + b"]" * 1000 + b',"code":6}',
            b'{"error":' + b'{"error":' * 800 + b"1" + b"}" * 801,
            b"\xff" * (1 << 20),
            b"{" + b" " * (1 << 20),
            b'{"code":1e999}',
            b'{"code":-0}',
            b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
            b"\x0a\x03\x08\xff\xff",
        ]
    ),
)
content_types = st.sampled_from(["application/json", "application/x-protobuf", "text/html", "", "\xff"])


def holds(interpret, status, body, events, content_type):
    """What is so of every answer to every body: places are in the batch and in one group only, and the words do no harm."""
    given = call(interpret, status, body, events, Content_Type=content_type)
    places = (*given.rejected_items, *given.retry_items)
    assert all(type(place) is int and 0 <= place < events for place in places)
    assert len({*places}) == len(places)
    assert 0 <= given.rejected_count <= events - len(places)
    assert given.text.isprintable()
    assert given.text.startswith(str(status))
    assert len(given.text) < 600
    assert given.pause_s is None or 0 <= given.pause_s <= 3600
    if given.result.name != "ACCEPTED":
        assert not places
        assert given.rejected_count == 0
    return True
