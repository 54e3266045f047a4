"""Framings: a receiver can read the body, and the items come out of it unchanged, whatever is in them."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sinks.framing.json_array import JsonArray
from agent.sinks.framing.lines import Bulk, Hec, Ndjson

# JSON texts as encoders make them: on one line, whatever line separators, brackets and commas the strings in it hold.
hostile = st.text(max_size=20) | st.sampled_from(
    ["\n", ",\n", "]\n[", "\r\n", "\u2028", "\x85", "\x0b", "\x00", '"},{"', "[", "]", ",", '{"create":{}}', "\ufeff", ""]
)
values = st.recursive(
    hostile | st.integers(-(2**63), 2**64 - 1),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(hostile, inner, max_size=2),
    max_leaves=4,
)
documents = st.dictionaries(hostile, values, max_size=2).map(lambda one: orjson.dumps(one).decode())
pairs = st.tuples(documents, documents).map("\n".join)
ITEMS = {Ndjson: documents, Hec: documents, JsonArray: documents, Bulk: pairs}


@pytest.mark.parametrize("framing", ITEMS)
@given(st.data())
def test_the_items_of_a_body_are_those_that_went_in(framing, data):
    items = data.draw(st.lists(ITEMS[framing], max_size=6))
    assert framing().items(framing().body(items)) == items


@pytest.mark.parametrize("framing", ITEMS)
@given(st.data())
def test_a_body_has_the_bytes_that_its_items_add(framing, data):
    items = data.draw(st.lists(ITEMS[framing], min_size=1, max_size=6))
    assert sum(map(framing().size, items)) == len(framing().body(items))


@pytest.mark.parametrize("framing", ITEMS)
def test_items_keep_their_order(framing):
    assert framing().order(["2\n2", "1\n1"]) is None


@given(st.lists(documents, max_size=5))
def test_an_array_is_valid_json(items):
    assert json.loads(JsonArray().body(items)) == [json.loads(item) for item in items]


@given(st.lists(documents, max_size=5))
def test_lines_are_valid_ndjson(items):
    assert [json.loads(line) for line in Ndjson().body(items).split(b"\n")[:-1]] == [json.loads(item) for item in items]


@given(st.lists(pairs, min_size=1, max_size=5))
def test_a_bulk_body_alternates_actions_and_documents_and_ends_with_a_newline(items):
    body = Bulk().body(items)
    assert body.endswith(b"\n")
    assert body.count(b"\n") == 2 * len(items)


def test_each_framing_has_its_content_type():
    kinds = [framing.content_type for framing in (Ndjson, Bulk, JsonArray, Hec)]
    assert kinds == ["application/x-ndjson", "application/x-ndjson", "application/json", "application/json"]
