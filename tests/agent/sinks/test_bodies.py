"""Lines become bodies within limits, and no line is lost, doubled or altered on the way there or when a body is halved."""

import gzip
import json
from collections import Counter

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from agent.nouns import Batch
from agent.sinks.bodies import ENCODINGS, Packer, line_forks

OPEN = {
    "none": bytes,
    "gzip": gzip.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}


def a_fork(cgroup, comm="sh", by=None, parent=None):
    event = {"event": "sched_process_fork", "comm": comm, "cgroup": {"id": cgroup, "path": "/"}}
    return json.dumps({**event, "parent_cgroup": parent and {"id": parent}, "enrichment": {"by": by}})


def a_packer(compression="none", events=100, size=1 << 20):
    return Packer(compression, events, size, "stream.siem")


def pack(packer, lines):
    return list(packer.pack(lines, [line_forks(line) for line in lines], 5.0))


def lines_in(batch, compression="none"):
    return OPEN[compression](batch.body).decode().splitlines()


SUMMARY = json.dumps({"event": "fork_summary", "cgroup": {"id": 7, "path": "/"}})
lines = st.lists(st.builds(a_fork, st.integers(1, 4), st.text(max_size=30)) | st.just(SUMMARY), max_size=30)


@pytest.mark.parametrize("compression", ENCODINGS)
def test_a_body_is_what_the_receiver_unpacks_with_tools_of_its_own(compression):
    (batch,) = pack(a_packer(compression), [a_fork(1), a_fork(2, "Käse")])
    assert OPEN[compression](batch.body) == f"{a_fork(1)}\n{a_fork(2, 'Käse')}\n".encode()


@given(lines, st.sampled_from(list(ENCODINGS)), st.integers(1, 10), st.integers(50, 600))
def test_every_line_is_in_one_body_in_its_order(lines, compression, events, size):
    batches = pack(a_packer(compression, events, size), lines)
    assert [line for batch in batches for line in lines_in(batch, compression)] == lines
    assert sum((Counter(batch.forks) for batch in batches), Counter()) == Counter(filter(None, map(line_forks, lines)))
    assert [batch.events for batch in batches] == [len(lines_in(batch, compression)) for batch in batches]
    assert len({batch.id for batch in batches}) == len(batches)


@given(lines, st.integers(1, 10), st.integers(50, 600))
def test_no_body_is_over_its_limits_but_that_of_a_single_line(lines, events, size):
    for batch in pack(a_packer("none", events, size), lines):
        assert batch.events <= events
        assert len(batch.body) <= size or batch.events == 1


def test_bodies_are_as_full_as_they_may_be():
    line = a_fork(1)
    batches = pack(a_packer(size=3 * (len(line) + 1)), [line] * 7)
    assert [batch.events for batch in batches] == [3, 3, 1]
    assert [batch.events for batch in pack(a_packer(size=3 * (len(line) + 1) - 1), [line] * 4)] == [2, 2]
    assert [batch.events for batch in pack(a_packer(events=4), [line] * 8)] == [4, 4]


def test_nothing_makes_no_body():
    assert pack(a_packer(), []) == []


def test_two_packs_give_no_id_twice():
    packer = a_packer()
    ids = [batch.id for _ in range(3) for batch in pack(packer, [SUMMARY])]
    assert len(set(ids)) == 3
    assert all(one.startswith("stream.siem.") for one in ids)


@given(lines.filter(lambda lines: len(lines) > 1), st.sampled_from(list(ENCODINGS)))
def test_a_halved_batch_has_the_same_lines_byte_for_byte_and_the_same_counts(lines, compression):
    packer = a_packer(compression)
    (batch,) = pack(packer, lines)
    halves = packer.halve(batch)
    assert len(halves) == 2
    assert b"".join(OPEN[compression](half.body) for half in halves) == OPEN[compression](batch.body)
    assert sum((Counter(half.forks) for half in halves), Counter()) == Counter(batch.forks)
    assert sum(half.events for half in halves) == batch.events
    assert {half.since for half in halves} == {5.0}
    assert len({batch.id, *(half.id for half in halves)}) == 3


def test_halving_goes_on_down_to_single_lines_and_there_it_ends():
    packer = a_packer()
    left, single = pack(packer, [a_fork(number) for number in range(1, 8)]), []
    while left:
        batch = left.pop(0)
        halves = packer.halve(batch)
        left = halves + left
        single += [] if halves else [batch]
    assert [next(iter(batch.forks)) for batch in single] == list(range(1, 8))
    assert len({batch.id for batch in single}) == 7


def test_whose_forks_certain_lines_are_is_told_and_each_counts_once():
    packer = a_packer("gzip")
    (batch,) = pack(packer, [a_fork(1), SUMMARY, a_fork(2), a_fork(2)])
    assert packer.forks_at(batch, [0, 1, 3]) == {1: 1, 2: 1}
    assert packer.forks_at(batch, [3, 3, 3]) == {2: 1}


@pytest.mark.parametrize("numbers", [[], [4], [-1], [10**30], [-(10**30)]])
def test_lines_that_are_not_there_are_nobodys(numbers):
    packer = a_packer()
    (batch,) = pack(packer, [a_fork(1)] * 4)
    assert packer.forks_at(batch, numbers) == {}


def test_what_is_not_a_fork_is_nobodys():
    assert line_forks(SUMMARY) is None
    assert line_forks(a_fork(7)) == 7


def test_a_fork_that_entered_its_container_was_counted_where_its_parent_was():
    assert line_forks(a_fork(7, by="attach", parent=1)) == 1


def test_what_can_not_be_utf8_is_replaced_rather_than_refused():
    (batch,) = a_packer().pack(['"\udcff"'], [None], 0.0)
    assert batch.body == b'"?"\n'


def test_a_batch_is_only_values():
    assert Batch("id", b"", 0, {}, 0.0) == Batch("id", b"", 0, {}, 0.0)


def test_the_limit_is_in_bytes():
    line = json.dumps({"event": "fork_summary", "path": "ß" * 100}, ensure_ascii=False)
    assert all(len(batch.body) <= 500 for batch in pack(a_packer(size=500), [line] * 10))


def test_an_entrant_whose_parent_was_in_the_container_already_can_be_halved():
    """Its parent cloned it into another cgroup, and it was moved back."""
    packer = a_packer()
    (batch,) = packer.pack([a_fork(7, by="attach")] * 2, [1, 1], 0.0)
    assert len(packer.halve(batch)) == 2
