"""What looks may count on while the writer's thread is at work."""

import time

import pytest

from collector.rows import CheckedLines
from collector.store.queue import Queue


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
