"""The writer's thread: one at a time, and batches that wait are written as one commit.

A commit costs some 20 ms however little it holds, so what comes meanwhile goes along with the next. Must not live here: SQL.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from collector.rows import CheckedLines
from collector.store.commit import Filed
from collector.store.engine import told
from collector.store.filing import Filing

__all__ = ["Queue"]

_T = TypeVar("_T")
_LINES: Final = 50_000  # of one commit, or one batch


class _Waiting(NamedTuple):
    prepared: Callable[[], CheckedLines]
    sink: str | None
    answer: Future[tuple[CheckedLines, Filed]]


class Queue:
    """Raises what `engine.told` makes of the engine's errors, to whom it concerns."""

    def __init__(self, client: Client) -> None:
        self._client, self._filing = client, Filing(client)
        self._thread = ThreadPoolExecutor(1, "store-writer")
        self._waiting: deque[_Waiting] = deque()
        self._begun: int | None = None  # when the commit that is being written began

    def settled(self, now: int) -> int:
        """What was filed up to this moment is written in all its tables. `now`, ns, was read before this was asked."""
        begun = self._begun
        return (now if begun is None else min(now, begun)) - 1

    async def file(self, prepared: Callable[[], CheckedLines], sink: str | None) -> tuple[CheckedLines, Filed]:
        answer: Future[tuple[CheckedLines, Filed]] = Future()
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
        batches: list[tuple[_Waiting, CheckedLines]] = []
        lines = 0
        while self._waiting and lines < _LINES:
            one = self._waiting.popleft()
            if not one.answer.set_running_or_notify_cancel():
                continue
            try:
                checked = one.prepared()
            except BaseException as wrong:
                one.answer.set_exception(wrong)
                continue
            batches.append((one, checked))
            lines += len(checked)
        if batches:
            self._file(batches)

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
