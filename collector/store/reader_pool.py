"""The connections and threads of reads: a few at once, so that a slow read does not hold up the others.

A connection serves one query at a time. The first is the engine's own; the others are opened when reads overlap. Memory does
not grow with them: the engine refuses what would exceed its limit (see `engine`), and such a read fails with
`StoreUnavailable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, LifoQueue
from typing import Final, TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from collector.store.engine import Engine, unavailable

__all__ = ["READERS", "ReaderPool"]

_T = TypeVar("_T")
READERS: Final = 3  # a pod's page asks three questions at once; each may use two cores


class ReaderPool:
    def __init__(self, engine: Engine, most: int = READERS) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(most, "store-reader")
        self._idle: LifoQueue[Client] = LifoQueue()
        self._idle.put(engine.reader)

    async def run(self, read: Callable[[Client], _T]) -> _T:
        """Raises `StoreUnavailable`."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, read)
        except (OSError, ClickHouseError) as error:
            raise unavailable(error) from error

    def close(self) -> None:
        """Waits for running reads. The engine's own connection stays open."""
        self._threads.shutdown()
        while not self._idle.empty():
            client = self._idle.get()
            if client is not self._engine.reader:
                client.close()

    def _run(self, read: Callable[[Client], _T]) -> _T:
        try:
            client = self._idle.get_nowait()
        except Empty:
            client = self._engine.connect()
        try:
            return read(client)
        finally:
            self._idle.put(client)
