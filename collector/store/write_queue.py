"""The writer's thread: one at a time, and batches that wait are written as one commit.

A commit costs some 30 ms however little it holds, so what comes meanwhile goes along with the next, and between two small ones
there is a rest: a hundred agents that post once a second would keep a core busy with nothing else. One alone that has much to
catch up with posts again when it is answered, and is not kept waiting. Must not live here: SQL.
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

from collector.model import CheckedLines
from collector.store.commit import InsertCounts
from collector.store.engine import told
from collector.store.writer import Filing

__all__ = ["Queue"]

_T = TypeVar("_T")
_LINES: Final = 50_000  # of one commit, or one batch
_BYTES: Final = 64 << 20  # of their bodies, unpacked
_ENOUGH: Final = 1000  # lines that are worth a commit at once
REST = 0.25  # s between commits of less; an agent that has little to say posts once a second


class _Waiting(NamedTuple):
    prepared: Callable[[], CheckedLines]
    sink: str | None
    answer: Future[tuple[CheckedLines, InsertCounts]]


class Queue:
    """Raises what `engine.told` makes of the engine's errors, to whom it concerns."""

    def __init__(self, client: Client) -> None:
        self._client, self._filing = client, Filing(client)
        self._thread = ThreadPoolExecutor(1, "store-writer")
        self._waiting: deque[_Waiting] = deque()
        self._begun: int | None = None  # when the commit that is being written began
        self._ended = -math.inf  # when the last one was written, of the monotonic clock
        self._whose: set[str] = set()  # the streams that it was of

    def settled(self, now: int) -> int:
        """What was filed up to this moment is written in all its tables. `now`, ns, was read before this was asked."""
        begun = self._begun
        return (now if begun is None else min(now, begun)) - 1

    async def file(self, prepared: Callable[[], CheckedLines], sink: str | None) -> tuple[CheckedLines, InsertCounts]:
        answer: Future[tuple[CheckedLines, InsertCounts]] = Future()
        self._waiting.append(_Waiting(prepared, sink, answer))
        self._thread.submit(self._commit)
        return await asyncio.wrap_future(answer)

    async def run(self, work: Callable[[Client], _T]) -> _T:
        """Something else that is for the writer's thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._client)
        except (OSError, ClickHouseError) as wrong:
            raise told(wrong) from wrong

    def close(self) -> None:
        self._thread.shutdown()

    def _commit(self) -> None:
        batches = self._gathered([])
        rest = self._ended + REST - time.monotonic()
        if batches and rest > 0 and not self._again(batches) and sum(len(checked) for _, checked in batches) < _ENOUGH:
            time.sleep(rest)
            batches = self._gathered(batches)
        if batches:
            self._file(batches)
            self._ended, self._whose = time.monotonic(), _streams(batches)

    def _again(self, batches: Sequence[tuple[_Waiting, CheckedLines]]) -> bool:
        """They are of the one stream that the last commit was of."""
        return len(self._whose) == 1 and _streams(batches) == self._whose

    def _gathered(self, batches: list[tuple[_Waiting, CheckedLines]]) -> list[tuple[_Waiting, CheckedLines]]:
        """With those that wait, as far as they may go together."""
        lines = sum(len(checked) for _, checked in batches)
        size = sum(checked.size for _, checked in batches)
        while self._waiting and lines < _LINES and size < _BYTES:
            one = self._waiting.popleft()
            if not one.answer.set_running_or_notify_cancel():
                continue
            try:
                checked = one.prepared()
            except BaseException as wrong:
                one.answer.set_exception(wrong)
                continue
            batches.append((one, checked))
            lines, size = lines + len(checked), size + checked.size
        return batches

    def _file(self, batches: Sequence[tuple[_Waiting, CheckedLines]]) -> None:
        self._begun = time.time_ns()  # before the commit's own time: who asks in between must not take it for written
        try:
            filed = self._filing.file([(checked, one.sink) for one, checked in batches], time.time_ns())
        except BaseException as wrong:  # it is those who wait that must hear of it
            if len(batches) > 1:
                for batch in batches:  # one of them may be at fault: the others need not suffer with it
                    self._file([batch])
            else:
                batches[0][0].answer.set_exception(told(wrong) if isinstance(wrong, (OSError, ClickHouseError)) else wrong)
            return
        finally:
            self._begun = None
        for (one, checked), answer in zip(batches, filed, strict=True):
            one.answer.set_result((checked, answer))


def _streams(batches: Sequence[tuple[_Waiting, CheckedLines]]) -> set[str]:
    """An agent's batch is of one stream."""
    of_each = ((checked.forks, checked.summaries, checked.nodes, checked.gaps, checked.storms) for _, checked in batches)
    return {kind[0].stream for kinds in of_each for kind in kinds if kind}
