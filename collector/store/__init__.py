"""The store: the only SQL of the collector, behind one class whose methods never block the event loop.

SQLite now; another engine later takes the place of this folder, method for method. Must not live here: HTTP, what an answer
looks like, sums that a view makes.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from collector.rows import CheckedLines, LedgerRows, PodPage, PodRow, Snapshot
from collector.store import filing, reading, sweeping
from collector.store.filing import Filed
from collector.store.ledger import ledger_rows
from collector.store.schema import Stale, open_connection, prepare

__all__ = ["Filed", "Sizes", "Store", "StoreAway", "wrong_dsn"]

_T = TypeVar("_T")
POINTS: Final = 900_000_000_000  # ns of the rate's line that are read: 30 intervals of 30 s
HOLES: Final = 1000  # of each stream in the ledger; all of them are counted


class StoreAway(Exception):
    """The store cannot be opened or does not answer; its text says why."""


class Sizes(NamedTuple):
    """Rows and bytes, for the metrics."""

    forks: int
    pods: int
    bytes: int


def wrong_dsn(dsn: str) -> str | None:
    """What is wrong with a store's address, or None."""
    scheme, colon, rest = dsn.partition(":")
    if dsn == "memory:":
        return None
    if scheme == "sqlite" and colon:
        return None if rest.startswith("///") and len(rest) > 3 else "a SQLite store is sqlite:///absolute/path/of/file"
    return f"there is no store of the kind {scheme!r}; there are sqlite:///absolute/path and memory:"


class Store:
    """Opened by `open`, closed by `close`. All methods but these are coroutines and may be called at once from many tasks.

    Writes run one after the other in a thread of their own, reads in another on their own connection, so that a reader sees
    one moment and never waits for a batch. In memory there is one connection and so one thread for both.
    """

    def __init__(self, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self._writer, self._reader = writer, reader
        self._writing = ThreadPoolExecutor(1, "store-writer")
        self._reading = self._writing if reader is writer else ThreadPoolExecutor(1, "store-reader")

    @classmethod
    def open(cls, dsn: str) -> Store:
        """Makes the file, its folder and its tables where there are none. Raises `StoreAway`."""
        if wrong := wrong_dsn(dsn):
            raise StoreAway(wrong)
        path = ":memory:" if dsn == "memory:" else dsn.removeprefix("sqlite://")
        try:
            if path != ":memory:":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            writer = open_connection(path)
            prepare(writer)
            return cls(writer, writer if path == ":memory:" else open_connection(path))
        except (OSError, sqlite3.Error, Stale) as wrong_file:
            raise StoreAway(f"{path}: {wrong_file}") from wrong_file

    def close(self) -> None:
        """Waits for what is being written, and folds the write-ahead log into the file."""
        self._writing.shutdown()
        self._reading.shutdown()
        if self._reader is not self._writer:
            self._reader.close()
        try:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._writer.close()

    async def file(self, prepared: Callable[[], CheckedLines], sink: str | None = None) -> tuple[CheckedLines, Filed]:
        """Checks and files a batch; when this returns, it is committed. `sink`: what the sender calls us.

        `prepared` makes the checked lines; it runs in the writer's thread too, because it is work of the same order and the
        event loop should stay free. What it raises comes through. Raises `StoreAway` when nothing of the batch was kept.
        """

        def work() -> tuple[CheckedLines, Filed]:
            lines = prepared()
            return lines, filing.file_lines(self._writer, lines, time.time_ns(), sink)

        return await self._run(self._writing, work)

    async def pods(self, limit: int) -> Snapshot:
        """The `limit` most recently seen pods, and all hosts and nodes."""
        return await self._read(lambda db: reading.snapshot(db, None, limit, time.time_ns() - POINTS))

    async def pod(self, namespace: str, name: str, limit: int) -> PodPage | None:
        """The newest pod of that name, with its `limit` latest forks."""

        def look(db: sqlite3.Connection) -> PodPage | None:
            found = reading.pods_named(db, namespace, name)
            return self._page(db, found[:1], found[1:], limit) if found else None

        return await self._read(look)

    async def pod_by_id(self, pod: int, limit: int) -> PodPage | None:
        def look(db: sqlite3.Connection) -> PodPage | None:
            found = reading.pods_with_id(db, pod)
            return self._page(db, found, [], limit) if found else None

        return await self._read(look)

    async def host(self, cluster: str, node: str, limit: int) -> PodPage:
        """A node's forks outside pods."""

        def look(db: sqlite3.Connection) -> PodPage:
            snapshot = reading.snapshot(db, [], 0, time.time_ns() - POINTS)
            mine = [holder.id for holder in snapshot.holders if (holder.cluster, holder.node) == (cluster, node)]
            return PodPage(snapshot, [], reading.latest_forks(db, mine, limit), reading.gaps_of(db, [], mine, limit), [])

        return await self._read(look)

    async def ledger(self) -> LedgerRows:
        return await self._read(lambda db: ledger_rows(db, HOLES, by_cpu=True))

    async def sizes(self) -> Sizes:
        return Sizes(*await self._read(reading.sizes))

    async def sweep(self, retention: float) -> int:
        """Deletes what is older than `retention` seconds; how many forks."""
        now = time.time_ns()
        before, deleted = now - int(retention * 1e9), 0
        while some := await self._run(self._writing, lambda: sweeping.sweep_forks(self._writer, before)):
            deleted += some  # one transaction each, so that batches come in between
        await self._run(self._writing, lambda: sweeping.sweep_rest(self._writer, before, now))
        return deleted

    async def check(self) -> None:
        """Raises `StoreAway` when nothing can be written."""

        def work() -> None:
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.execute("ROLLBACK")

        await self._run(self._writing, work)

    @staticmethod
    def _page(db: sqlite3.Connection, pods: list[PodRow], others: list[PodRow], limit: int) -> PodPage:
        snapshot = reading.snapshot(db, pods, 0, time.time_ns() - POINTS)
        mine = [holder.id for holder in snapshot.holders if holder.pod is not None]
        return PodPage(
            snapshot,
            others,
            reading.latest_forks(db, mine, limit),
            reading.gaps_of(db, pods, [], limit),
            reading.storms_of(db, pods, limit),
        )

    async def _read(self, look: Callable[[sqlite3.Connection], _T]) -> _T:
        def work() -> _T:
            self._reader.execute("BEGIN")  # one moment for all that the look asks
            try:
                return look(self._reader)
            finally:
                self._reader.execute("COMMIT")

        return await self._run(self._reading, work)

    @staticmethod
    async def _run(thread: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        except sqlite3.Error as wrong:
            raise StoreAway(f"{type(wrong).__name__}: {wrong}") from wrong
