"""The order in which bodies are checked, and how many of them are held."""

import asyncio

import pytest

from collector.ingest import checker as checker_module
from collector.ingest.body_memory import BodyMemory, MemoryFull
from collector.ingest.checker import BodyChecker, TooManyBodies
from collector.model import CheckedBatch

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def done():
    """The names of the bodies, one for each slice."""
    return []


@pytest.fixture
async def check(done):
    """`check(sender, name, slices)`: a task that checks a body."""
    checker = BodyChecker()

    def slices(name, count):
        for _ in range(count):
            done.append(name)
            yield
        return CheckedBatch()

    async def run(sender, name, count):
        async with checker.checked(sender, slices(name, count - 1), lambda: False):
            pass

    yield lambda *body: asyncio.create_task(run(*body))
    checker.close()


async def test_senders_take_turns_and_a_sender_s_own_bodies_keep_their_order(check, done):
    bodies = [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("c", "c2")]
    await asyncio.gather(*(check(sender, name, 2) for sender, name in bodies))
    assert [done.index(name) for name in ("a1", "a2", "a3")] == sorted(done.index(name) for name in ("a1", "a2", "a3"))
    assert {*done[:3]} == {"a1", "b1", "c1"}


async def test_a_large_body_gets_every_second_slice_while_others_wait(check, done):
    await asyncio.gather(check("a", "large", 8), *(check(sender, sender, 2) for sender in "bcd"))
    first_of_others = [done.index(sender) for sender in "bcd"]
    assert max(first_of_others) <= 6
    assert done[-1] == "large"


async def test_large_bodies_are_checked_one_after_the_other(check, done):
    """So that the events that are held are those of one."""
    await asyncio.gather(check("a", "first", 5), check("b", "second", 5))
    assert done == ["first", "second", "first", "first", "first", "second", "second", "second"]


async def test_the_checker_waits_for_the_store(done):
    """A store that does not answer makes bodies wait, and not events."""
    checker = BodyChecker()

    def full():
        done.append("full")
        yield
        return CheckedBatch(refused=[(0, "")] * 60_000)

    def small():
        done.append("small")
        return CheckedBatch()
        yield

    async with checker.checked("a", full(), lambda: False):
        other = asyncio.create_task(checker.checked("b", small(), lambda: False).__aenter__())
        for _ in range(20):
            await asyncio.sleep(0)
        assert done == ["full"]
    await other
    assert done == ["full", "small"]
    checker.close()


async def test_large_bodies_of_all_senders_together_are_few(check, done, monkeypatch):
    monkeypatch.setattr(checker_module, "LARGE", 2)
    results = await asyncio.gather(*(check(sender, sender, 6) for sender in "abc"), return_exceptions=True)
    assert [type(one) for one in results] == [type(None), type(None), TooManyBodies]
    assert (done.count("a"), done.count("b"), done.count("c")) == (5, 5, 1)


def test_bodies_take_no_more_memory_than_there_is_for_all_and_for_each_sender():
    memory = BodyMemory(total=100, share=60)
    with memory.body("a") as first, memory.body("b") as second:
        first.add(bytes(60))
        with pytest.raises(MemoryFull):
            first.add(b"x")  # its share
        second.add(bytes(40))
        with pytest.raises(MemoryFull):
            second.add(b"x")  # all that there is
    with memory.body("b") as third:
        third.add(bytes(60))
