"""Runs the checks of bodies on a thread of its own, slice by slice, so that no body holds up another for longer than a slice.

One thread: the checks are Python, which runs on one thread at a time; what the engine does to write
runs beside it. The order is decided on the event loop, so nothing here is locked.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

from collector.model import CheckedBatch

__all__ = ["BodyChecker", "SenderGone", "TooManyBodies", "TookTooLong"]

WAIT_S: Final = 20.0  # that a body waits for its first slice; a third of what an agent waits for the answer
CPU_S: Final = 10.0  # of the thread, for one body; 100,000 lines take some 3
# Bodies of more than one slice, which no agent sends. Of these one is checked at a time, so that the events that are held are
# those of one large body and of one slice of each of the others.
LARGE: Final = 8
LARGE_OF_SENDER: Final = 4
UNWRITTEN: Final = 50_000  # lines that are checked and wait for the store: one commit

Slices = Generator[None, None, CheckedBatch]


class TooManyBodies(Exception):
    """Too many bodies wait, or too many large ones."""


class TookTooLong(Exception):
    """The body took more than `CPU_S`."""


class SenderGone(Exception):
    """The client has closed the connection."""


class _Job:
    def __init__(self, sender: str, slices: Slices, is_gone: Callable[[], bool], answer: asyncio.Future[CheckedBatch]) -> None:
        self.sender, self.is_gone, self.answer = sender, is_gone, answer
        self.begin: Callable[[], None] | None = None
        self.is_large = False  # it has had a slice, and needs more
        self._slices, self._spent = slices, 0.0

    def step(self) -> CheckedBatch | None:
        """One slice. None: there are more. On the thread."""
        begun = time.thread_time()
        try:
            next(self._slices)
        except StopIteration as end:
            batch: CheckedBatch = end.value
            return batch
        self._spent += time.thread_time() - begun
        if self._spent > CPU_S:
            raise TookTooLong
        return None


class BodyChecker:
    """Takes a slice of each sender in turn; of one sender its bodies in the order of arrival. A body that needs more than one
    slice goes on in every second slice, when those before it are done."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "body-checker")
        self._waiting: OrderedDict[str, deque[_Job]] = OrderedDict()  # by sender, the next one first
        self._large: deque[_Job] = deque()
        self._is_turn_of_large = False
        self._unwritten = 0
        self._written = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._is_first_slice = False

    def is_busy(self) -> bool:
        """Whether a body is in its first slice, or waits for it. From any thread."""
        return self._is_first_slice or bool(self._waiting)

    def close(self) -> None:
        self._thread.shutdown()

    @asynccontextmanager
    async def checked(self, sender: str, slices: Slices, is_gone: Callable[[], bool]) -> AsyncIterator[CheckedBatch]:
        """The batch, to be written within the block. `is_gone`: asked before each slice.

        Raises `TooManyBodies`, `TookTooLong`, `SenderGone`, and what `slices` raises.
        """
        batch = await self._check(_Job(sender, slices, is_gone, asyncio.get_running_loop().create_future()))
        lines = len(batch)
        self._unwritten += lines
        try:
            yield batch
        finally:
            self._unwritten -= lines
            self._written.set()

    async def _check(self, job: _Job) -> CheckedBatch:
        self._waiting.setdefault(job.sender, deque()).append(job)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="body checker")
        try:
            async with asyncio.timeout(WAIT_S) as deadline:
                job.begin = lambda: deadline.reschedule(None)
                return await job.answer
        except TimeoutError:
            raise TooManyBodies from None
        finally:
            job.begin = None
            job.answer.cancel()  # where it is not done: the job is dropped at its next slice

    async def _run(self) -> None:
        """Until no body waits."""
        loop = asyncio.get_running_loop()
        while (job := self._next()) is not None:
            if job.answer.done() or job.is_gone():
                _fail(job, SenderGone())
                continue
            if job.begin is not None:
                job.begin()
            self._is_first_slice = not job.is_large
            try:
                batch = await loop.run_in_executor(self._thread, job.step)
            except Exception as error:
                _fail(job, error)  # it goes to the one who waits for this body
                continue
            finally:
                self._is_first_slice = False
            if batch is None:
                self._continue_later(job)
            elif not job.answer.done():
                job.answer.set_result(batch)
                await self._until_written()

    async def _until_written(self) -> None:
        """The checker runs ahead of the store by one commit, and no further."""
        await asyncio.sleep(0)  # lets the one who waits count its lines
        while self._unwritten >= UNWRITTEN:
            self._written.clear()
            await self._written.wait()

    def _next(self) -> _Job | None:
        self._is_turn_of_large = not self._is_turn_of_large
        if self._large and (self._is_turn_of_large or not self._waiting):
            return self._large.popleft()
        if not self._waiting:
            return None
        sender, jobs = next(iter(self._waiting.items()))
        job = jobs.popleft()
        if jobs:
            self._waiting.move_to_end(sender)
        else:
            del self._waiting[sender]
        return job

    def _continue_later(self, job: _Job) -> None:
        if job.is_large:
            self._large.appendleft(job)
            return
        self._large = deque(one for one in self._large if not (one.answer.done() or one.is_gone()))
        if len(self._large) >= LARGE or sum(one.sender == job.sender for one in self._large) >= LARGE_OF_SENDER:
            _fail(job, TooManyBodies())
            return
        job.is_large = True
        self._large.append(job)


def _fail(job: _Job, error: Exception) -> None:
    if not job.answer.done():
        job.answer.set_exception(error)
