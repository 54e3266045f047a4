"""What waits for a sink: in order, bounded in bytes, and what had to go is named."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.nouns import Batch
from agent.sinks.journal import Journal


def a_batch(name="a", size=10, forks=(), since=0.0):
    return Batch(name, bytes(size), 1, dict(forks), since)


@pytest.fixture
async def journal():
    return Journal(100)


async def test_the_oldest_comes_first_and_stays_until_it_is_done(journal):
    first, second = a_batch("first"), a_batch("second")
    journal.put(first)
    journal.put(second)
    assert await journal.head() is first
    assert await journal.head() is first
    assert journal.done(first)
    assert await journal.head() is second


async def test_who_comes_too_early_waits_for_the_first(journal):
    waiting = asyncio.create_task(journal.head())
    await asyncio.sleep(0)
    assert not waiting.done()
    batch = a_batch()
    journal.put(batch)
    assert await waiting is batch


async def test_bytes_and_forks_are_those_of_what_is_there(journal):
    first = a_batch(size=30, forks={7: 2, 8: 1})
    journal.put(first)
    journal.put(a_batch(size=40, forks={7: 5}))
    assert (len(journal), journal.bytes, journal.forks) == (2, 70, 8)
    journal.done(first)
    assert (len(journal), journal.bytes, journal.forks) == (1, 40, 5)


async def test_when_it_is_full_the_oldest_go_and_are_named_by_cgroup(journal):
    journal.put(a_batch("1", 40, {7: 2}))
    journal.put(a_batch("2", 40, {7: 1, 8: 4}))
    assert journal.put(a_batch("3", 20, {9: 1})) == {}
    assert journal.put(a_batch("4", 60, {9: 9})) == {7: 3, 8: 4}
    assert (await journal.head()).id == "3"
    assert (journal.bytes, journal.forks) == (80, 10)


async def test_a_batch_that_is_too_large_for_it_is_kept_alone(journal):
    journal.put(a_batch("small", 10, {7: 1}))
    assert journal.put(a_batch("huge", 500, {8: 1})) == {7: 1}
    assert ((await journal.head()).id, len(journal)) == ("huge", 1)


async def test_what_was_dropped_while_it_was_on_its_way_is_not_done(journal):
    on_its_way = a_batch(size=90, forks={7: 1})
    journal.put(on_its_way)
    lost = journal.put(a_batch(size=90, forks={8: 1}))
    assert lost == {7: 1}
    assert not journal.done(on_its_way)
    assert journal.forks == 1


async def test_parts_take_the_place_of_the_whole_in_its_order(journal):
    whole, after = a_batch("whole", 40, {7: 3}), a_batch("after")
    journal.put(whole)
    journal.put(after)
    journal.replace(whole, [a_batch("0", 20, {7: 2}), a_batch("1", 20, {7: 1})])
    order = []
    while len(journal):
        batch = await journal.head()
        order.append(batch.id)
        journal.done(batch)
    assert order == ["0", "1", "after"]
    assert (journal.bytes, journal.forks) == (0, 0)


async def test_parts_of_what_was_dropped_meanwhile_are_not_put_back(journal):
    whole = a_batch("whole", 90, {7: 2})
    journal.put(whole)
    journal.put(a_batch("after", 90))
    journal.replace(whole, [a_batch("0"), a_batch("1")])
    assert (len(journal), journal.forks) == (1, 0)


async def test_empty_waits_until_the_last_is_done_and_not_for_a_replacement(journal):
    whole = a_batch("whole")
    journal.put(whole)
    waiting = asyncio.create_task(journal.empty())
    await asyncio.sleep(0)
    part = a_batch("part")
    journal.replace(whole, [part])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    journal.done(part)
    await waiting


async def test_nothing_to_wait_for_is_no_wait(journal):
    await journal.empty()
    assert journal.oldest() is None


async def test_the_age_is_that_of_the_oldest(journal):
    journal.put(a_batch(since=3.0))
    journal.put(a_batch(since=9.0))
    assert journal.oldest() == 3.0


@given(
    st.lists(st.tuples(st.sampled_from(["put", "put", "done", "halve"]), st.integers(1, 70), st.integers(0, 5)), max_size=50)
)
def test_whatever_happens_each_fork_is_here_or_done_or_named_as_lost(steps):
    async def play():
        journal, put, done, lost = Journal(100), Counter(), Counter(), Counter()
        for what, size, forks in steps:
            if what == "put":
                batch = a_batch(size=size, forks={forks % 3: forks})
                put.update(batch.forks)
                lost.update(journal.put(batch))
            elif len(journal):
                batch = await journal.head()
                ((cgroup, count),) = batch.forks.items()
                if what == "done":
                    done.update(batch.forks)
                    assert journal.done(batch)
                else:
                    half = len(batch.body) // 2
                    parts = [a_batch("0", half, {cgroup: count // 2}), a_batch("1", half, {cgroup: count - count // 2})]
                    journal.replace(batch, parts)
            assert put.total() == done.total() + lost.total() + journal.forks
            assert journal.bytes <= 100 or len(journal) == 1
        while len(journal):
            batch = await journal.head()
            done.update(batch.forks)
            journal.done(batch)
        assert put == done + lost
        assert (journal.bytes, journal.forks) == (0, 0)

    asyncio.run(play())
