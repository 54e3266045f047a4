"""The store's writing side: it makes and migrates the tables, inserts checked batches, and applies the retention.

One DSN, one SQL: ClickHouse, embedded in this process, or a server or cluster. `collector.query` reads. This package must not
know HTTP or the form of a batch's body, and must not read for a view.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from collector.model import CheckedBatch, Credential, DeletedEarly
from collector.store.bindings import StreamRefused
from collector.store.commit import InsertCounts
from collector.store.deletion.disk import (
    FULL,
    DiskUse,
    Partition,
    check_writable,
    deleted_early,
    disk_use,
    drop_oldest,
    make_record,
)
from collector.store.deletion.retention import count_expired, refresh
from collector.store.engine import Engine, StoreUnavailable, unavailable, wrong_dsn
from collector.store.migrations import WrongDatabase, migrate, set_retention
from collector.store.reader_pool import ReaderPool
from collector.store.write_queue import WriteQueue

__all__ = ["InsertCounts", "Store", "StoreUnavailable", "StreamRefused", "Visible", "wrong_dsn"]

REPLICATION: Final = 2_000_000_000  # ns that another collector's rows may take to be seen, and its clock to be behind
WEEK: Final = 604800.0  # seconds
_log = logging.getLogger(__name__)


class Visible(NamedTuple):
    """What a read may see, ns. `since`: what has no event since then has expired. `until`: what was received after it may be
    half written, or on its way from another collector."""

    since: int
    until: int


class Store:
    """Opened by `open`, closed by `close`. Its coroutines may be awaited by many tasks at once.

    Writes run one after the other on a thread of their own; reads on the threads of `readers`, with connections of their
    own, so that a reader never waits for a batch.
    """

    def __init__(self, engine: Engine, retention: float) -> None:
        self._engine, self._retention = engine, int(retention * 1e9)
        self.readers = ReaderPool(engine)
        self._queue = WriteQueue(engine.writer, alone=engine.embedded)
        self._swept = time.time_ns() - self._retention
        self._deleted_early: Sequence[DeletedEarly] = ()
        self.disk = DiskUse(0, 0)  # as of the last `free_disk`

    @classmethod
    def open(cls, dsn: str, retention: float = WEEK, password: str | None = None) -> Store:
        """Makes the folder, the database and its tables where there are none. `retention` in seconds.

        Raises `StoreUnavailable`.
        """
        engine = Engine.open(dsn, password)
        try:
            migrate(engine.writer, max(1, int(retention)))
            set_retention(engine.writer, max(1, int(retention)))
            if engine.embedded:
                make_record(engine.writer)
        except (OSError, ClickHouseError, WrongDatabase) as error:
            engine.close()
            raise unavailable(error, engine.where) from None
        store = cls(engine, retention)
        store._read_deleted_early(engine.writer)
        return store

    def close(self) -> None:
        """Waits for what is being written."""
        self._queue.close()
        self.readers.close()
        self._engine.close()

    def expect(self, more_soon: Callable[[], bool]) -> None:
        """`more_soon`: whether batches come in a moment, for which a commit waits a little. Called from the writer's thread."""
        self._queue.more_soon = more_soon

    @property
    def visible_after(self) -> float:
        """Seconds after which an inserted row is visible."""
        return 0.0 if self._engine.embedded else REPLICATION / 1e9

    def visible(self, now: int) -> Visible:
        """`now` in ns."""
        until = self._queue.written_until(now) if self._engine.embedded else now - REPLICATION
        return Visible(now - self._retention, until)

    async def insert(
        self,
        batch: CheckedBatch,
        sink: str | None = None,
        credential: Credential | None = None,
        delivered: int | None = None,
    ) -> InsertCounts:
        """Inserts a batch; when this returns, it is committed and survives the process. The other arguments: as in SentBatch.

        Batches that wait are written together. Raises `StoreUnavailable` when the batch must be sent again, `StreamRefused`
        when it is of another's stream.

        The counts are of what this collector knows: they may call an event new that another one inserted a moment before. It
        is in the tables once all the same.
        """
        return await self._queue.insert(batch, sink, credential, delivered)

    async def sweep(self, retention: float) -> int:
        """Applies the retention, in seconds. Gives how many forks have expired since the last sweep."""
        self._retention, now = int(retention * 1e9), time.time_ns()
        after, before = self._swept, now - self._retention
        await self._queue.run(lambda client: set_retention(client, max(1, int(retention))))
        await self._queue.run(lambda client: refresh(client, before, now))
        expired = await self._queue.run(lambda client: count_expired(client, after, before))
        self._swept = before
        return expired

    @property
    def deleted_early(self) -> Sequence[DeletedEarly]:
        """What the retention would have kept, and a full volume did not."""
        return self._deleted_early

    async def free_disk(self) -> list[Partition]:
        """Deletes the oldest rows while the volume of an embedded store is nearly full. Raises `StoreUnavailable`."""
        return await self._queue.run(self._free_disk) if self._engine.embedded else []

    def _free_disk(self, client: Client) -> list[Partition]:
        dropped = drop_oldest(client, time.time_ns())
        for one in dropped:
            _log.warning(
                "the store's volume is more than %d %% full: deleted the %d rows of %s that were received before %s",
                *(FULL * 100, one.rows, one.table, f"{one.end:%Y-%m-%d %H:%M} UTC"),
            )
        self.disk = disk_use(client)
        self._read_deleted_early(client)
        return dropped

    def _read_deleted_early(self, client: Client) -> None:
        if self._engine.embedded:
            self._deleted_early = deleted_early(client, time.time_ns() - self._retention)

    async def check(self) -> None:
        """Raises `StoreUnavailable` when nothing can be written."""
        await self._queue.run(check_writable)
