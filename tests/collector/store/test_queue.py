"""What looks may count on while the writer's thread is at work."""

import asyncio
import time
from functools import partial
from types import SimpleNamespace

import pytest

from collector.model import CheckedLines
from collector.store import write_queue as queues
from collector.store.write_queue import Queue


@pytest.fixture
def queue():
    here = Queue(None)  # the client is Filing's, which is another here
    yield here
    here.close()


async def test_what_a_commit_is_still_writing_is_not_settled_and_afterwards_it_is(queue):
    seen = {}

    class Filing:
        def file(self, batches, now):
            seen.update(now=now, during=queue.settled(time.time_ns()))
            return [None for _ in batches]

    queue._filing = Filing()
    await queue.file(CheckedLines, None)
    assert seen["during"] < seen["now"]
    assert queue.settled(time.time_ns()) > seen["now"]


async def test_a_commit_that_failed_holds_nothing_up(queue):
    class Filing:
        def file(self, batches, now):
            raise ZeroDivisionError

    queue._filing = Filing()
    with pytest.raises(ZeroDivisionError):
        await queue.file(CheckedLines, None)
    now = time.time_ns()
    assert queue.settled(now) == now - 1


@pytest.fixture
def commits(queue):
    """How many batches went into each."""
    made = []

    class Filing:
        def file(self, batches, now):
            made.append(len(batches))
            return [None for _ in batches]

    queue._filing = Filing()
    return made


def of(stream):
    return CheckedLines(gaps=[SimpleNamespace(stream=stream)])


def lines(count, size=0):
    return CheckedLines(refused=[(number, "no event") for number in range(count)], size=size)


async def test_after_a_commit_what_comes_within_the_rest_goes_together(queue, commits, monkeypatch):
    monkeypatch.setattr(queues, "REST", 0.5)
    await queue.file(CheckedLines, None)
    waiting = [asyncio.create_task(queue.file(CheckedLines, None))]
    await asyncio.sleep(0.1)
    waiting += [asyncio.create_task(queue.file(CheckedLines, None)) for _ in range(20)]
    await asyncio.gather(*waiting)
    assert commits == [1, 21]


@pytest.mark.timeout(20)
async def test_what_is_enough_for_a_commit_does_not_rest(queue, commits, monkeypatch):
    monkeypatch.setattr(queues, "REST", 30)
    await queue.file(CheckedLines, None)
    await queue.file(lambda: lines(1000), None)
    assert commits == [1, 1]


@pytest.mark.timeout(20)
async def test_one_agent_that_catches_up_does_not_rest_until_another_comes(queue, commits, monkeypatch):
    monkeypatch.setattr(queues, "REST", 30)
    for _ in range(3):
        await queue.file(lambda: of("one"), None)
    assert commits == [1, 1, 1]
    monkeypatch.setattr(queues, "REST", 0.5)
    await asyncio.gather(*(queue.file(partial(of, stream), None) for stream in ("other", "one", "third")))
    assert commits == [1, 1, 1, 3]


async def test_a_commit_holds_no_more_than_there_is_memory_for(queue, commits, monkeypatch):
    monkeypatch.setattr(queues, "REST", 0.5)
    await queue.file(CheckedLines, None)
    await asyncio.gather(
        *(queue.file(lambda: lines(1, 40 << 20), None) for _ in range(3)),
        *(queue.file(lambda: lines(30_000), None) for _ in range(3)),
    )
    assert commits == [1, 2, 3, 1]  # 80 MiB; 40 MiB and 60,000 lines; 30,000 lines


async def test_a_batch_that_cannot_be_read_holds_no_other_up(queue, commits, monkeypatch):
    monkeypatch.setattr(queues, "REST", 0.2)

    def broken():
        raise ValueError("no batch")

    await queue.file(CheckedLines, None)
    answers = await asyncio.gather(
        *(queue.file(made, None) for made in (CheckedLines, broken, CheckedLines)), return_exceptions=True
    )
    assert [isinstance(answer, ValueError) for answer in answers] == [False, True, False]
    assert commits == [1, 2]
