"""How batches become commits, and what reads may see meanwhile."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from collector.model import CheckedBatch
from collector.store import write_queue as queues
from collector.store.write_queue import WriteQueue


@pytest.fixture
def queue():
    here = WriteQueue(None)  # the client is a Writer's, which is another here
    yield here
    here.close()


async def test_rows_of_a_running_commit_are_visible_only_afterwards(queue):
    seen = {}

    class Writer:
        def insert(self, batches, now):
            seen.update(now=now, during=queue.written_until(time.time_ns()))
            return [None for _ in batches]

    queue._writer = Writer()
    await queue.insert(CheckedBatch(), None)
    assert seen["during"] < seen["now"]
    assert queue.written_until(time.time_ns()) > seen["now"]


async def test_a_failed_commit_does_not_hold_up_reads(queue):
    class Writer:
        def insert(self, batches, now):
            raise ZeroDivisionError

    queue._writer = Writer()
    with pytest.raises(ZeroDivisionError):
        await queue.insert(CheckedBatch(), None)
    now = time.time_ns()
    assert queue.written_until(now) == now - 1


@pytest.fixture
def commits(queue):
    """How many batches went into each."""
    made = []

    class Writer:
        def insert(self, batches, now):
            made.append(len(batches))
            return [None for _ in batches]

    queue._writer = Writer()
    return made


def of(stream):
    return CheckedBatch(gaps=[SimpleNamespace(stream=stream)])


def lines(count, size=0):
    return CheckedBatch(refused=[(number, "no event") for number in range(count)], size=size)


async def test_batches_within_the_pause_after_a_commit_are_one_commit(queue, commits, monkeypatch):
    monkeypatch.setattr(queues, "PAUSE", 0.5)
    await queue.insert(CheckedBatch(), None)
    waiting = [asyncio.create_task(queue.insert(CheckedBatch(), None))]
    await asyncio.sleep(0.1)
    waiting += [asyncio.create_task(queue.insert(CheckedBatch(), None)) for _ in range(20)]
    await asyncio.gather(*waiting)
    assert commits == [1, 21]


@pytest.mark.timeout(20)
async def test_enough_lines_for_a_commit_do_not_wait_for_the_pause(queue, commits, monkeypatch):
    monkeypatch.setattr(queues, "PAUSE", 30)
    await queue.insert(CheckedBatch(), None)
    await queue.insert(lines(1000), None)
    assert commits == [1, 1]


@pytest.mark.timeout(20)
async def test_an_agent_that_catches_up_alone_does_not_wait_for_the_pause(queue, commits, monkeypatch):
    monkeypatch.setattr(queues, "PAUSE", 30)
    for _ in range(3):
        await queue.insert(of("one"), None)
    assert commits == [1, 1, 1]
    monkeypatch.setattr(queues, "PAUSE", 0.5)
    await asyncio.gather(*(queue.insert(of(stream), None) for stream in ("other", "one", "third")))
    assert commits == [1, 1, 1, 3]


async def test_a_commit_is_limited_by_lines_and_bytes(queue, commits, monkeypatch):
    monkeypatch.setattr(queues, "PAUSE", 0.5)
    await queue.insert(CheckedBatch(), None)
    await asyncio.gather(
        *(queue.insert(lines(1, 40 << 20), None) for _ in range(3)),
        *(queue.insert(lines(30_000), None) for _ in range(3)),
    )
    assert commits == [1, 2, 3, 1]  # 80 MiB; 40 MiB and 60,000 lines; 30,000 lines


async def test_a_batch_that_cannot_be_written_does_not_fail_those_beside_it(queue, monkeypatch):
    monkeypatch.setattr(queues, "PAUSE", 0.2)

    class Writer:
        def insert(self, batches, now):
            if any(batch.size == 13 for batch, *_ in batches):
                raise ValueError("no batch")
            return [None for _ in batches]

    queue._writer = Writer()
    answers = await asyncio.gather(*(queue.insert(lines(1, size), None) for size in (1, 13, 2)), return_exceptions=True)
    assert [isinstance(answer, ValueError) for answer in answers] == [False, True, False]


@pytest.mark.timeout(60)
async def test_a_commit_waits_for_all_large_batches_that_are_being_checked(queue, commits, monkeypatch):
    monkeypatch.setattr(queues, "PAUSE", 0.0)  # which is less than a check takes
    monkeypatch.setattr(queues, "CHECKS_WAIT", 50.0)
    checking, queue.more_soon = [True], lambda: checking[0]
    waiting = [asyncio.create_task(queue.insert(lines(6000), None))]
    await asyncio.sleep(0.2)
    waiting += [asyncio.create_task(queue.insert(lines(6000), None)) for _ in range(2)]
    await asyncio.sleep(0.2)
    checking[0] = False
    await asyncio.gather(*waiting)
    assert commits == [3]


@pytest.mark.timeout(20)
async def test_a_commit_that_is_full_does_not_wait_for_checks(queue, commits, monkeypatch):
    monkeypatch.setattr(queues, "CHECKS_WAIT", 50.0)
    queue.more_soon = lambda: True
    await queue.insert(lines(50_000), None)
    assert commits == [1]


@pytest.mark.timeout(20)
async def test_bodies_that_are_refused_do_not_hold_up_a_commit_without_end(queue, commits, monkeypatch):
    monkeypatch.setattr(queues, "CHECKS_WAIT", 0.1)
    queue.more_soon = lambda: True
    await queue.insert(lines(1), None)
    assert commits == [1]
