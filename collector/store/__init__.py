"""The store: the only SQL of the collector, behind one class whose methods never block the event loop.

One DSN, one SQL: ClickHouse, embedded in this process or a server or cluster of them. Must not live here: HTTP, what an answer
looks like, sums that a view makes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from clickhouse_connect.driver.exceptions import ClickHouseError

from collector.model import (
    CheckedLines,
    Filter,
    ForkQuery,
    FoundFork,
    LedgerRows,
    PairRow,
    Place,
    PodPage,
    PodRow,
    Snapshot,
    Span,
    TaskRow,
    TimelineRow,
)
from collector.query import forks as fork_queries
from collector.query import history
from collector.query import pods as pod_queries
from collector.query.ledger import ledger_rows
from collector.query.read_context import ReadContext
from collector.store import retention as cleanup
from collector.store.commit import InsertCounts
from collector.store.engine import Engine, StoreUnavailable, told, wrong_dsn
from collector.store.naming import keys_of_pods
from collector.store.schema import Stale, prepare, retain
from collector.store.write_queue import Queue

__all__ = ["InsertCounts", "Sizes", "Store", "StoreUnavailable", "wrong_dsn"]

_T = TypeVar("_T")
POINTS: Final = 900_000_000_000  # ns of the rate's line that are read: 30 intervals of 30 s
HOLES: Final = 1000  # of each stream in the ledger; all of them are counted
LATE: Final = 2_000_000_000  # ns that another collector's rows may take to be seen, and its clock to be behind
WEEK: Final = 604800.0  # seconds


class Sizes(NamedTuple):
    """Rows and bytes, for the metrics."""

    forks: int
    pods: int
    bytes: int


class Store:
    """Opened by `open`, closed by `close`. All methods but these are coroutines and may be called at once from many tasks.

    Writes run one after the other in a thread of their own, reads in another on their own connection, so that a reader never
    waits for a batch. A look that asks several questions may see a batch in one of them that it did not in another.
    """

    def __init__(self, engine: Engine, retention: float) -> None:
        self._engine, self._retention = engine, int(retention * 1e9)
        self._reading = ThreadPoolExecutor(1, "store-reader")
        self._queue = Queue(engine.writer)
        self._swept = time.time_ns() - self._retention

    @classmethod
    def open(cls, dsn: str, retention: float = WEEK, password: str | None = None) -> Store:
        """Makes the folder, the database and its tables where there are none. `retention` in seconds.

        Raises `StoreUnavailable`."""
        engine = Engine.open(dsn, password)
        try:
            prepare(engine.writer, max(1, int(retention)))
            retain(engine.writer, max(1, int(retention)))
        except (OSError, ClickHouseError, Stale) as wrong:
            engine.close()
            raise told(wrong, engine.where) from None
        return cls(engine, retention)

    def close(self) -> None:
        """Waits for what is being written."""
        self._queue.close()
        self._reading.shutdown()
        self._engine.close()

    @property
    def late(self) -> float:
        """Seconds after which what was filed is seen, if another collector could have filed it."""
        return 0.0 if self._engine.embedded else LATE / 1e9

    async def file(self, prepared: Callable[[], CheckedLines], sink: str | None = None) -> tuple[CheckedLines, InsertCounts]:
        """Checks and files a batch; when this returns, its rows are where a killed process does not take them along. `sink`:
        what the sender calls us.

        `prepared` makes the checked lines; it runs in the writer's thread too, because it is work of the same order and the
        event loop should stay free. What it raises comes through. Batches that wait are written together. Raises
        `StoreUnavailable`
        when the batch must come again.

        The receipt tells what this collector knows: of events that another has filed in the same moments it may say that they
        are new. They are in the tables once all the same.
        """
        return await self._queue.file(prepared, sink)

    async def pods(self, limit: int, wish: Filter = Filter()) -> Snapshot:  # noqa: B008 - frozen
        """The `limit` most recently seen pods that are wished, and all hosts and nodes."""
        return await self._read(lambda look: self._snapshot(look, *pod_queries.find_pods(look, wish, limit)))

    async def workload(self, cluster: str, namespace: str, kind: str, name: str, limit: int) -> Snapshot:
        """Its pods, newest first."""
        wish = Filter(cluster=cluster, namespace=namespace, workload=f"{kind}/{name}")
        return await self._read(lambda look: self._snapshot(look, *pod_queries.find_pods(look, wish, limit, by="first_seen")))

    async def pod(self, namespace: str, name: str, limit: int, cluster: str = "", uid: str = "") -> PodPage | None:
        """The newest pod of that name, of that cluster and uid where they are said, with its `limit` latest forks; and the
        others of its name, whatever their cluster and uid."""

        def ask(look: ReadContext) -> PodPage | None:
            named = Filter(namespace=namespace, pod=name)
            all_, in_all = pod_queries.find_pods(look, named, 100, by="first_seen")
            found = [one for one in all_ if cluster in ("", one.cluster) and uid in ("", one.uid)]
            if not found and in_all > len(all_):
                found, _ = pod_queries.find_pods(look, named._replace(cluster=cluster, pod_uid=uid), 1, by="first_seen")
            return self._page(look, found[:1], [one for one in all_ if one != found[0]], limit) if found else None

        return await self._read(ask)

    async def pod_by_id(self, pod: int, limit: int) -> PodPage | None:
        def ask(look: ReadContext) -> PodPage | None:
            found, _ = pod_queries.find_pods(look, Filter(), 1, owner=pod)
            return self._page(look, found, [], limit) if found else None

        return await self._read(ask)

    async def host(self, cluster: str, node: str, limit: int) -> PodPage:
        """A node's forks outside pods."""

        def ask(look: ReadContext) -> PodPage:
            snapshot, chosen = pod_queries.snapshot(look, [], 0, time.time_ns() - POINTS)
            mine = [key for key, one in chosen.mine.items() if (one.cluster, one.node) == (cluster, node)]
            sinks = {stream.name: stream.sink for stream in snapshot.ledger.streams}
            latest = fork_queries.latest_forks(look, mine, [(cluster, "", "")], limit)
            return PodPage(snapshot, [], latest, pod_queries.gaps_of(look, chosen, mine, sinks, limit), [])

        return await self._read(ask)

    async def timeline(self, pod: int, span: Span, step: int) -> list[TimelineRow]:
        """Exact sums by container and step (ns), oldest first; what was told in steps of a minute is quickest."""

        def ask(look: ReadContext) -> list[TimelineRow]:
            return history.timeline(look, self._of(look, pod)[1], span, step)

        return await self._read(ask)

    async def pairs(self, pod: int, span: Span, limit: int) -> list[PairRow]:
        """Who forked whom, most forks first."""

        def ask(look: ReadContext) -> list[PairRow]:
            found, mine = self._of(look, pod)
            return history.pairs(look, mine, keys_of_pods(found, mine), span, limit)

        return await self._read(ask)

    async def lineage(self, pod: int, span: Span, limit: int) -> list[TaskRow]:
        """The newest `limit` processes, newest first."""

        def ask(look: ReadContext) -> list[TaskRow]:
            found, mine = self._of(look, pod)
            return history.lineage(look, mine, keys_of_pods(found, mine), span, limit)

        return await self._read(ask)

    async def search(self, fork_query: ForkQuery, limit: int, after: Place | None = None) -> list[FoundFork]:
        """Newest first; `after`: where the last answer ended."""
        return await self._read(lambda look: fork_queries.search(look, fork_query, limit, after))

    async def news(self, wish: Filter, since: int, limit: int) -> tuple[list[FoundFork], int]:
        """Filed after `since` (ns, the store's clock), oldest first, and the next `since`. On a server what other collectors
        file is among it, and all of it 2 s late. `limit`: 100 at least, or some may be left out."""
        return await self._read(lambda look: fork_queries.news(look, wish, since, limit))

    async def ledger(self) -> LedgerRows:
        return await self._read(lambda look: ledger_rows(look, HOLES, by_cpu=True))

    async def sizes(self) -> Sizes:
        return Sizes(*await self._read(pod_queries.sizes))

    async def sweep(self, retention: float) -> int:
        """Forgets what is older than `retention` seconds; how many forks."""
        self._retention, now = int(retention * 1e9), time.time_ns()
        after, before = self._swept, now - self._retention
        await self._queue.run(lambda writer: retain(writer, max(1, int(retention))))
        await self._queue.run(lambda writer: cleanup.tell_again(writer, before, now))
        forgotten = await self._queue.run(lambda writer: cleanup.forgotten(writer, after, before))
        self._swept = before
        return forgotten

    async def check(self) -> None:
        """Raises `StoreUnavailable` when nothing can be written."""
        await self._queue.run(cleanup.try_writing)

    @staticmethod
    def _of(look: ReadContext, pod: int) -> tuple[list[PodRow], history.Mine]:
        found, _ = pod_queries.find_pods(look, Filter(), 1, owner=pod)
        return found, pod_queries.attributions_of(look, found)

    @staticmethod
    def _snapshot(look: ReadContext, pods: list[PodRow], in_all: int) -> Snapshot:
        return pod_queries.snapshot(look, pods, in_all, time.time_ns() - POINTS)[0]

    @staticmethod
    def _page(look: ReadContext, pods: list[PodRow], others: list[PodRow], limit: int) -> PodPage:
        snapshot, chosen = pod_queries.snapshot(look, pods, 1, time.time_ns() - POINTS)
        mine = chosen.of_pods()
        sinks = {stream.name: stream.sink for stream in snapshot.ledger.streams}
        return PodPage(
            snapshot,
            others,
            fork_queries.latest_forks(look, list(mine), keys_of_pods(pods, mine), limit),
            pod_queries.gaps_of(look, chosen, list(mine), sinks, limit),
            pod_queries.storms_of(look, chosen.pods, limit)[0],
        )

    async def _read(self, ask: Callable[[ReadContext], _T]) -> _T:
        now = time.time_ns()
        until = self._queue.settled(now) if self._engine.embedded else now - LATE
        look = ReadContext(self._engine.reader, now - self._retention, until)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reading, ask, look)
        except (OSError, ClickHouseError) as wrong:
            raise told(wrong) from wrong
