"""The batches that wait for a sink: in order, bounded in bytes, and losses are counted."""

import asyncio

import pytest

from agent.journal import Journal
from tests.agent.journal.batches import STREAM, a_batch, at_once, counts, drained, nothing_yet


@pytest.fixture
async def journal():
    journal = Journal(None, {"siem": 100})
    await journal.open()
    yield journal
    await journal.close()


@pytest.fixture
def queue(journal):
    return journal.queue("siem")


async def test_the_oldest_comes_first_and_stays_until_it_is_completed(queue):
    first, second = a_batch("first"), a_batch("second")
    queue.put(first)
    queue.put(second)
    assert await queue.head() is first
    assert await queue.head() is first
    assert queue.complete(first, delivered={})
    assert await queue.head() is second


async def test_head_waits_for_the_first_batch(queue):
    waiting = asyncio.create_task(queue.head())
    await asyncio.sleep(0)
    assert not waiting.done()
    batch = a_batch()
    queue.put(batch)
    assert await waiting is batch


async def test_bytes_and_forks_are_those_of_the_waiting_batches(queue):
    queue.put(a_batch(size=30, forks={7: 2, 8: 1}))
    queue.put(a_batch(size=40, forks={7: 5}, stream="other"))
    assert (len(queue), queue.bytes, queue.forks) == (2, 70, 8)
    assert (queue.forks_of(STREAM), queue.forks_of("other"), queue.forks_of("none")) == (3, 5, 0)
    assert queue.counts_of(STREAM) == {7: 2, 8: 1}
    queue.complete(await queue.head(), delivered={})
    assert (len(queue), queue.bytes, queue.forks) == (1, 40, 5)
    assert (queue.forks_of(STREAM), queue.counts_of(STREAM)) == (0, {})


async def test_in_a_full_queue_the_oldest_are_lost_and_counted_by_cgroup_in_their_streams_account(journal, queue):
    queue.put(a_batch("1", 40, {7: 2}))
    queue.put(a_batch("2", 40, {7: 1, 8: 4}, stream="other"))
    queue.put(a_batch("3", 20, {9: 1}))
    assert journal.account(STREAM, "siem").lost == {}
    queue.put(a_batch("4", 60, {9: 9}))
    assert journal.account(STREAM, "siem").lost == {"journal_full": {7: 2}}
    assert journal.account("other", "siem").lost == {"journal_full": {7: 1, 8: 4}}
    assert (await queue.head()).id == "3"
    assert (queue.bytes, queue.forks) == (80, 10)


async def test_a_batch_above_the_limit_is_kept_alone(journal, queue):
    queue.put(a_batch("small", 10, {7: 1}))
    queue.put(a_batch("huge", 500, {8: 1}))
    assert journal.account(STREAM, "siem").lost == {"journal_full": {7: 1}}
    assert ((await queue.head()).id, len(queue)) == ("huge", 1)


async def test_delivered_and_lost_forks_are_counted_in_their_streams_account(journal, queue):
    queue.put(a_batch(forks={7: 5, 8: 1}, stream="other"))
    assert queue.complete(await queue.head(), delivered={7: 3, 8: 1}, lost={"rejected": {7: 2}})
    assert counts(journal.account("other", "siem")) == {("delivered", ""): {7: 3, 8: 1}, ("lost", "rejected"): {7: 2}}
    assert counts(journal.account(STREAM, "siem")) == {}


async def test_a_batch_that_is_being_sent_is_not_dropped_for_space(journal, queue):
    queue.put(a_batch("first", 90, {7: 1}))
    on_its_way = await queue.head()
    queue.put(a_batch("second", 90, {8: 1}))
    queue.put(a_batch("third", 90, {9: 1}))
    assert journal.account(STREAM, "siem").lost == {"journal_full": {8: 1}}
    assert queue.complete(on_its_way, delivered=on_its_way.forks)
    assert counts(journal.account(STREAM, "siem")) == {("delivered", ""): {7: 1}, ("lost", "journal_full"): {8: 1}}
    assert [batch.id for batch in await drained(queue)] == ["third"]


async def test_a_completed_batch_cannot_be_completed_again(journal, queue):
    queue.put(a_batch(forks={7: 1}))
    batch = await queue.head()
    assert queue.complete(batch, delivered=batch.forks)
    queue.put(a_batch(forks={7: 1}))
    assert not queue.complete(batch, delivered=batch.forks)
    await queue.head()
    assert not queue.complete(batch, delivered=batch.forks)
    assert (journal.account(STREAM, "siem").delivered, len(queue)) == ({7: 1}, 1)


async def test_the_parts_of_a_batch_take_its_position(queue):
    queue.put(a_batch("whole", 40, {7: 3}))
    queue.put(a_batch("after"))
    whole = await queue.head()
    assert queue.complete(whole, delivered={}, instead=[a_batch("0", 20, {7: 2}), a_batch("1", 20, {7: 1})])
    assert (len(queue), queue.bytes, queue.forks) == (3, 50, 3)
    assert [batch.id for batch in await drained(queue)] == ["0", "1", "after"]
    assert (queue.bytes, queue.forks) == (0, 0)


async def test_empty_waits_for_the_parts_of_the_last_batch_too(queue):
    queue.put(a_batch("whole"))
    waiting = asyncio.create_task(queue.empty())
    await asyncio.sleep(0)
    queue.complete(await queue.head(), delivered={}, instead=[a_batch("part")])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.complete(await queue.head(), delivered={})
    await at_once(waiting)


async def test_empty_returns_at_once_for_an_empty_queue(queue):
    await at_once(queue.empty())
    assert queue.oldest() is None


async def test_the_age_of_a_queue_is_that_of_its_oldest_batch(queue):
    queue.put(a_batch(since=3.0))
    queue.put(a_batch(since=9.0))
    assert queue.oldest() == 3.0


async def test_a_sender_gets_only_batches_that_a_commit_has_saved(state_dir):
    journal = await state_dir.opened()
    queue = journal.queue("siem")
    queue.put(a_batch("first"))
    assert await nothing_yet(queue)
    waiting = asyncio.create_task(queue.head())
    assert await journal.commit()
    assert (await at_once(waiting)).id == "first"
    queue.put(a_batch("second"))
    queue.complete(waiting.result(), delivered={})
    assert await nothing_yet(queue)


async def test_the_parts_of_a_saved_batch_need_not_wait_for_a_commit(state_dir):
    journal = await state_dir.opened()
    queue = journal.queue("siem")
    queue.put(a_batch("whole", 40, {7: 2}))
    await journal.commit()
    whole = await at_once(queue.head())
    queue.complete(whole, delivered={}, instead=[a_batch("0", 20, {7: 1}), a_batch("1", 20, {7: 1})])
    assert [batch.id for batch in await drained(queue, 1)] == ["0"]
    await journal.commit()
    assert [batch.id for batch in await drained(queue)] == ["1"]


async def test_a_batch_that_was_dropped_while_it_was_read_is_not_returned(state_dir):
    journal = await state_dir.opened(siem=25_000)
    for number in range(2):
        journal.queue("siem").put(a_batch(f"{number}", 10_000, {7: 1}))
    await journal.commit()
    journal = await state_dir.next_agent(journal, siem=25_000)
    waiting = asyncio.create_task(journal.queue("siem").head())
    await asyncio.sleep(0)
    journal.queue("siem").put(a_batch("2", 10_000, {7: 1}))
    assert (await at_once(waiting)).id == "1"
    assert [batch.id for batch in await drained(journal.queue("siem"), 1)] == ["1"]


async def test_without_a_file_batches_are_in_memory_and_losses_are_counted(journal):
    large = Journal(None, {"siem": 1 << 30, "collector": 1 << 30})
    await large.open()
    for number in range(10):
        large.queue("siem").put(a_batch(f"{number}", 4 << 20, {7: 1}))
    large.queue("collector").put(a_batch("other", 4 << 20, {7: 1}))
    assert await large.commit()
    assert large.queue("siem").bytes + large.queue("collector").bytes <= 32 << 20
    assert counts(large.account(STREAM, "siem")) == {("lost", "journal_full"): {7: 4}}
    assert (await large.queue("siem").head()).id == "4"
    assert (large.trouble, large.bytes_on_disk) == (None, 0)
    await large.close()


async def test_without_a_file_a_batch_that_is_being_sent_is_not_dropped_for_memory():
    journal = Journal(None, {"siem": 1 << 30})
    await journal.open()
    queue = journal.queue("siem")
    queue.put(a_batch("0", 4 << 20, {7: 1}))
    on_its_way = await queue.head()
    for number in range(1, 10):
        queue.put(a_batch(f"{number}", 4 << 20, {8: 1}))
    assert queue.bytes <= 32 << 20
    assert counts(journal.account(STREAM, "siem")) == {("lost", "journal_full"): {8: 3}}
    assert queue.complete(on_its_way, delivered=on_its_way.forks)
    await journal.close()


class BatchObserver:
    def __init__(self):
        self.parts, self.accepted = 1, []

    def split(self, parts):
        self.parts += parts - 1

    def left(self, *, accepted):
        self.accepted.append(accepted)


async def test_who_put_a_batch_learns_whether_all_of_it_was_accepted(queue):
    observers = [BatchObserver() for _ in range(3)]
    for number, observer in enumerate(observers):
        queue.put(a_batch(f"{number}"), observer)
    queue.complete(await queue.head(), delivered={})
    queue.complete(await queue.head(), delivered={}, accepted=False)
    queue.lose([*queue], "sink_changed")
    assert [one.accepted for one in observers] == [[True], [False], [False]]


async def test_a_batch_that_was_split_has_left_with_its_last_part(queue):
    observer = BatchObserver()
    queue.put(a_batch("whole"), observer)
    queue.complete(await queue.head(), delivered={}, instead=[a_batch("0"), a_batch("1")])
    assert (observer.parts, observer.accepted) == (3, [True])
    queue.complete(await queue.head(), delivered={})
    queue.complete(await queue.head(), delivered={}, accepted=False)
    assert observer.accepted == [True, True, False]
