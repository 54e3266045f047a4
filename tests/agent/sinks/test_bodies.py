"""Items become bodies within limits, and no item is lost, doubled or altered on the way there or when a body is taken apart."""

import gzip
import json
from array import array
from collections import Counter

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from agent.model import NO_CGROUP
from agent.sinks.framing.json_array import JsonArray
from agent.sinks.framing.lines import Bulk, Ndjson
from agent.sinks.framing.otlp import Otlp
from agent.sinks.packer import COMPRESSIONS, BatchLimits, Packer

OPEN = {
    "none": bytes,
    "gzip": gzip.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}
STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"


def an_otlp_item(resource, record):
    """One field of a resource, one of a record, as the otel encoder joins them."""
    return b"\x0a%c%b\x12%c%b" % (len(resource), resource, len(record), record)


texts = st.text(max_size=30).map(json.dumps)
blobs = st.binary(max_size=30)
FRAMINGS = {
    "ndjson": (Ndjson(), texts),
    "array": (JsonArray(), texts),
    "bulk": (Bulk(), st.tuples(texts, texts).map("\n".join)),
    "otlp": (Otlp(), st.builds(an_otlp_item, st.sampled_from([b"\x0a\x00", b"", b"\x0a\x01a"]), blobs)),
}


@st.composite
def loads(draw, least=0):
    """A framing, items of its own kind, and whose each of them is."""
    framing, one = FRAMINGS[draw(st.sampled_from(list(FRAMINGS)))]
    items = draw(st.lists(one, min_size=least, max_size=30))
    return framing, items, [draw(st.integers(1, 4) | st.just(NO_CGROUP)) for _ in items]


def a_packer(compression="none", events=100, size=1 << 20, framing=None):
    return Packer(framing or Ndjson(), compression, BatchLimits(events, size))


def pack(packer, items, cgroups=None):
    return list(packer.pack(STREAM, items, [1] * len(items) if cgroups is None else cgroups, 5.0))


def contents(batch, framing, compression="none"):
    """Each item with its cgroup."""
    return list(zip(framing.items(OPEN[compression](batch.body)), batch.cgroups, strict=True))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_body_is_what_the_receiver_unpacks_with_tools_of_its_own(compression):
    (batch,) = pack(a_packer(compression), ['{"comm":"sh"}', '{"comm":"Käse"}'])
    assert OPEN[compression](batch.body) == '{"comm":"sh"}\n{"comm":"Käse"}\n'.encode()
    assert batch.uncompressed == len(OPEN[compression](batch.body))


@given(loads(), st.sampled_from(list(COMPRESSIONS)), st.integers(1, 10), st.integers(50, 600))
def test_every_item_is_in_one_body_with_its_cgroup(load, compression, events, size):
    framing, items, cgroups = load
    batches = pack(a_packer(compression, events, size, framing), items, cgroups)
    found = [one for batch in batches for one in contents(batch, framing, compression)]
    assert Counter(found) == Counter(zip(items, cgroups, strict=True))
    assert found == list(zip(items, cgroups, strict=True)) or isinstance(framing, Otlp)
    assert sum((batch.forks for batch in batches), Counter()) == Counter(one for one in cgroups if one != NO_CGROUP)
    assert len({batch.id for batch in batches}) == len(batches)


@given(loads(), st.integers(1, 10), st.integers(50, 600))
def test_no_body_is_over_its_limits_but_that_of_a_single_item(load, events, size):
    framing, items, cgroups = load
    for batch in pack(a_packer("none", events, size, framing), items, cgroups):
        assert batch.events <= events
        assert len(batch.body) <= size or batch.events == 1


def test_items_that_a_framing_groups_keep_their_cgroups():
    one, other = an_otlp_item(b"one", b"1"), an_otlp_item(b"other", b"2")
    (batch,) = pack(a_packer(framing=Otlp()), [one, other, one], [1, 2, 3])
    assert contents(batch, Otlp()) == [(one, 1), (one, 3), (other, 2)]


def test_bodies_are_as_full_as_they_may_be():
    item = '{"event":"gap"}'
    batches = pack(a_packer(size=3 * (len(item) + 1)), [item] * 7)
    assert [batch.events for batch in batches] == [3, 3, 1]
    assert [batch.events for batch in pack(a_packer(size=3 * (len(item) + 1) - 1), [item] * 4)] == [2, 2]
    assert [batch.events for batch in pack(a_packer(events=4), [item] * 8)] == [4, 4]


def test_the_limit_is_in_bytes():
    item = json.dumps({"path": "ß" * 100}, ensure_ascii=False)
    assert all(len(batch.body) <= 500 for batch in pack(a_packer(size=500), [item] * 10))


def test_nothing_makes_no_body():
    assert pack(a_packer(), []) == []


def test_a_batch_knows_its_stream_and_since_when_it_waits():
    (batch,) = pack(a_packer(), ["1"])
    assert (batch.stream, batch.since, batch.cgroups) == (STREAM, 5.0, array("Q", [1]))


def test_the_same_items_get_another_id_each_time_also_from_another_agent():
    ids = [batch.id for packer in (a_packer(), a_packer()) for _ in range(3) for batch in pack(packer, ["1"])]
    assert len(set(ids)) == 6
    assert all(len(one) == 32 and int(one, 16) for one in ids)


@given(loads(least=2), st.sampled_from(list(COMPRESSIONS)))
def test_a_halved_batch_has_the_same_items_byte_for_byte_and_cgroups_in_step(load, compression):
    framing, items, cgroups = load
    packer = a_packer(compression, framing=framing)
    (batch,) = pack(packer, items, cgroups)
    halves = packer.split(batch)
    assert [half.events for half in halves] == [len(items) // 2, len(items) - len(items) // 2]
    both = [one for half in halves for one in contents(half, framing, compression)]
    assert both == contents(batch, framing, compression)
    assert {(half.since, half.stream) for half in halves} == {(5.0, STREAM)}
    assert len({batch.id, *(half.id for half in halves)}) == 3


@given(loads(least=1))
def test_halving_goes_on_down_to_single_items_and_there_it_ends(load):
    framing, items, cgroups = load
    packer = a_packer(framing=framing)
    left, single = pack(packer, items, cgroups), []
    while left:
        batch = left.pop(0)
        halves = packer.split(batch)
        left = halves + left
        single += [] if halves else [batch]
    assert Counter(one for batch in single for one in contents(batch, framing)) == Counter(zip(items, cgroups, strict=True))
    assert {batch.events for batch in single} == {1}
    assert len({batch.id for batch in single}) == len(items)


@given(loads(least=1), st.lists(st.integers(0, 29) | st.integers(-99, 99), max_size=40))
def test_a_part_has_the_items_at_the_places_that_are_there_once_each(load, places):
    framing, items, cgroups = load
    packer = a_packer("gzip", framing=framing)
    (batch,) = pack(packer, items, cgroups)
    whole = contents(batch, framing, "gzip")
    part = packer.part(batch, places, "again")
    assert contents(part, framing, "gzip") == [whole[at] for at in sorted(set(places)) if 0 <= at < len(whole)]
    assert part.id == f"{batch.id}.again"


@pytest.mark.parametrize("places", [[2], [-1], [10**30], [-(10**30)]])
def test_places_that_are_not_there_are_passed_over(places):
    packer = a_packer()
    (batch,) = pack(packer, ["1", "2"])
    assert packer.part(batch, places, "again").events == 0


def test_the_parts_of_parts_have_names_of_bounded_length_that_differ():
    packer = a_packer()
    (batch,) = pack(packer, ["1", "2"])
    ids = [batch.id]
    for _ in range(300):
        batch = packer.part(batch, [0, 1], "again")
        ids.append(batch.id)
    assert len(set(ids)) == len(ids)
    assert max(map(len, ids)) <= 96


def test_what_can_not_be_utf8_is_replaced_rather_than_refused():
    (batch,) = pack(a_packer(), ['"\udcff"'])
    assert batch.body == b'"?"\n'
