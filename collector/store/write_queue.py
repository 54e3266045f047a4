"""The thread of the writer. Batches that wait are written as one commit.

A commit costs some 30 ms however little it holds, so what comes meanwhile goes into the next one, and there is a pause
between two small ones: a hundred agents that post once a second would keep a core busy with nothing else. An agent that has
much to catch up with posts again as soon as it has its receipt, and does not wait for the pause.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from collector.model import CheckedBatch, Credential
from collector.store.bindings import StreamRefused
from collector.store.commit import InsertCounts
from collector.store.engine import unavailable
from collector.store.writer import SentBatch, Writer

__all__ = ["WriteQueue"]

_T = TypeVar("_T")
_LINES: Final = 50_000  # of one commit, or one batch
_BYTES: Final = 64 << 20  # of their bodies, unpacked
_ENOUGH: Final = 1000  # lines that are worth a commit at once
_POLL: Final = 0.02  # s
# s that a commit waits for batches that are being checked. Checking 50,000 lines takes some 2 s, and each commit costs its
# merges, too: with less of a wait, each large batch was a commit of its own.
CHECKS_WAIT = 4.0
PAUSE = 0.25  # s between commits of less; an agent that has few events posts once a second


class _Waiting(NamedTuple):
    batch: CheckedBatch
    sink: str | None
    credential: Credential | None
    delivered: int | None
    answer: Future[InsertCounts]


class WriteQueue:
    """`alone`: no other collector writes into this store. Turns errors of the engine into `StoreUnavailable`, for those whose
    batch it was."""

    def __init__(self, client: Client, *, alone: bool = True) -> None:
        self._client, self._writer = client, Writer(client, alone=alone)
        self._thread = ThreadPoolExecutor(1, "store-writer")
        self._waiting: deque[_Waiting] = deque()
        self._began: int | None = None  # when the commit that is being written began, ns
        self._ended = -math.inf  # when the last one was written, of the monotonic clock
        self._last_streams: set[str] = set()  # in the last commit
        self.more_soon: Callable[[], bool] = lambda: False  # whether batches are being checked that will wait in a moment

    def written_until(self, now: int) -> int:
        """Everything received up to this moment is in all its tables. `now`, ns, was read before this call."""
        began = self._began
        return (now if began is None else min(now, began)) - 1

    async def insert(
        self, batch: CheckedBatch, sink: str | None, credential: Credential | None = None, delivered: int | None = None
    ) -> InsertCounts:
        """Inserts a batch; when this returns, it is committed."""
        answer: Future[InsertCounts] = Future()
        self._waiting.append(_Waiting(batch, sink, credential, delivered, answer))
        self._thread.submit(self._commit)
        return await asyncio.wrap_future(answer)

    async def run(self, work: Callable[[Client], _T]) -> _T:
        """Other work for the writer's thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._client)
        except (OSError, ClickHouseError) as error:
            raise unavailable(error) from error

    def close(self) -> None:
        self._thread.shutdown()

    def _commit(self) -> None:
        batches = self._gather([])
        pause = self._ended + PAUSE - time.monotonic()
        if batches and pause > 0 and not self._is_catching_up(batches) and sum(len(one.batch) for one in batches) < _ENOUGH:
            time.sleep(pause)
            batches = self._gather(batches)
        batches = self._gather_checked(batches)
        if batches:
            self._insert(batches)
            self._ended, self._last_streams = time.monotonic(), _streams(batches)

    def _is_catching_up(self, batches: Sequence[_Waiting]) -> bool:
        """They are of the one stream that the last commit was of."""
        return len(self._last_streams) == 1 and _streams(batches) == self._last_streams

    def _gather(self, batches: list[_Waiting]) -> list[_Waiting]:
        """`batches` and those that wait, up to the limits of a commit."""
        lines = sum(len(one.batch) for one in batches)
        size = sum(one.batch.size for one in batches)
        while self._waiting and lines < _LINES and size < _BYTES:
            waiting = self._waiting.popleft()
            if not waiting.answer.set_running_or_notify_cancel():
                continue
            batches.append(waiting)
            lines, size = lines + len(waiting.batch), size + waiting.batch.size
        return batches

    def _gather_checked(self, batches: list[_Waiting]) -> list[_Waiting]:
        """With those that are being checked, up to the limits of a commit: what many agents send at once in few commits costs
        three quarters of what it costs in many. Bounded in time, for bodies that are refused make a checker busy, too."""
        end = time.monotonic() + CHECKS_WAIT
        while batches and not _is_full(batches) and self.more_soon() and time.monotonic() < end:
            time.sleep(_POLL)
            batches = self._gather(batches)
        return batches

    def _insert(self, batches: Sequence[_Waiting]) -> None:
        self._began = time.time_ns()  # before the commit's own time: a read in between must not take it for written
        try:
            sent = [SentBatch(one.batch, one.sink, one.credential, one.delivered) for one in batches]
            counts = self._writer.insert(sent, time.time_ns())
        except BaseException as error:  # it goes to those who wait for these batches
            if len(batches) > 1:
                for one in batches:  # one of them may be the cause: the others can still be written
                    self._insert([one])
            else:
                known = isinstance(error, (OSError, ClickHouseError))
                batches[0].answer.set_exception(unavailable(error) if known else error)
            return
        finally:
            self._began = None
        for one, count in zip(batches, counts, strict=True):
            if isinstance(count, StreamRefused):
                one.answer.set_exception(count)
            else:
                one.answer.set_result(count)


def _is_full(batches: Sequence[_Waiting]) -> bool:
    """They are as much as one commit holds."""
    return sum(len(one.batch) for one in batches) >= _LINES or sum(one.batch.size for one in batches) >= _BYTES


def _streams(batches: Sequence[_Waiting]) -> set[str]:
    """An agent's batch is of one stream."""
    of_each = ((one.batch.forks, one.batch.summaries, one.batch.nodes, one.batch.gaps, one.batch.storms) for one in batches)
    return {kind[0].stream for kinds in of_each for kind in kinds if kind}
