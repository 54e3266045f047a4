"""Bodies are within limits, and no item is lost, duplicated or changed, also when a body is split."""

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
    """A framing, items of its kind, and the cgroup of each."""
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
def test_a_body_can_be_decompressed_by_other_tools(compression):
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
def test_only_the_body_of_a_single_item_may_exceed_the_limits(load, events, size):
    framing, items, cgroups = load
    for batch in pack(a_packer("none", events, size, framing), items, cgroups):
        assert batch.events <= events
        assert len(batch.body) <= size or batch.events == 1


def test_items_that_a_framing_groups_keep_their_cgroups():
    one, other = an_otlp_item(b"one", b"1"), an_otlp_item(b"other", b"2")
    (batch,) = pack(a_packer(framing=Otlp()), [one, other, one], [1, 2, 3])
    assert contents(batch, Otlp()) == [(one, 1), (one, 3), (other, 2)]


def test_bodies_are_filled_up_to_the_limits():
    item = '{"event":"gap"}'
    batches = pack(a_packer(size=3 * (len(item) + 1)), [item] * 7)
    assert [batch.events for batch in batches] == [3, 3, 1]
    assert [batch.events for batch in pack(a_packer(size=3 * (len(item) + 1) - 1), [item] * 4)] == [2, 2]
    assert [batch.events for batch in pack(a_packer(events=4), [item] * 8)] == [4, 4]


def test_the_limit_is_in_bytes():
    item = json.dumps({"path": "ß" * 100}, ensure_ascii=False)
    assert all(len(batch.body) <= 500 for batch in pack(a_packer(size=500), [item] * 10))


def test_no_items_make_no_body():
    assert pack(a_packer(), []) == []


def test_a_batch_has_its_stream_and_the_time_of_its_first_item():
    (batch,) = pack(a_packer(), ["1"])
    assert (batch.stream, batch.since, batch.cgroups) == (STREAM, 5.0, array("Q", [1]))


def test_the_same_items_get_another_id_each_time():
    ids = [batch.id for packer in (a_packer(), a_packer()) for _ in range(3) for batch in pack(packer, ["1"])]
    assert len(set(ids)) == 6
    assert all(len(one) == 32 and int(one, 16) for one in ids)


@given(loads(least=2), st.sampled_from(list(COMPRESSIONS)))
def test_the_halves_of_a_batch_have_its_items_and_their_cgroups(load, compression):
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
def test_a_batch_can_be_split_down_to_single_items(load):
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
def test_a_part_has_each_item_once(load, places):
    framing, items, cgroups = load
    packer = a_packer("gzip", framing=framing)
    (batch,) = pack(packer, items, cgroups)
    whole = contents(batch, framing, "gzip")
    part = packer.part(batch, places, "again")
    assert contents(part, framing, "gzip") == [whole[at] for at in sorted(set(places)) if 0 <= at < len(whole)]
    assert part.id == f"{batch.id}.again"


@pytest.mark.parametrize("places", [[2], [-1], [10**30], [-(10**30)]])
def test_indices_outside_of_the_batch_are_skipped(places):
    packer = a_packer()
    (batch,) = pack(packer, ["1", "2"])
    assert packer.part(batch, places, "again").events == 0


def test_the_ids_of_parts_of_parts_are_bounded_and_differ():
    packer = a_packer()
    (batch,) = pack(packer, ["1", "2"])
    ids = [batch.id]
    for _ in range(300):
        batch = packer.part(batch, [0, 1], "again")
        ids.append(batch.id)
    assert len(set(ids)) == len(ids)
    assert max(map(len, ids)) <= 96


def test_invalid_unicode_is_replaced():
    (batch,) = pack(a_packer(), ['"\udcff"'])
    assert batch.body == b'"?"\n'
