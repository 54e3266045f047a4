"""The reads that the API and the pages ask for, each on a connection of its own while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from clickhouse_connect.driver.client import Client

from collector.model import (
    Filter,
    ForkQuery,
    FoundFork,
    LedgerRows,
    PairRow,
    Place,
    PodRow,
    PodRows,
    Snapshot,
    Span,
    TaskRow,
    TimelineRow,
)
from collector.query.forks.latest import latest_forks
from collector.query.forks.received import ReceivedForks, received_since
from collector.query.forks.search import search
from collector.query.history.lineage import lineage
from collector.query.history.pairs import pairs
from collector.query.history.timeline import timeline
from collector.query.ledger.gaps import gaps_of_pods
from collector.query.ledger.ledger import read_ledger
from collector.query.pods.counter_sources import SourceKey, attributions_of
from collector.query.pods.find import find_pods, pod_row
from collector.query.pods.snapshot import SnapshotOfSources, read_snapshot
from collector.query.pods.storms import storms_of
from collector.query.read_context import ReadContext
from collector.query.sizes import Sizes, sizes
from collector.store import Store
from collector.store.row_ids import pod_keys

__all__ = ["Sizes", "StoreReader"]

_T = TypeVar("_T")
POINTS: Final = 900_000_000_000  # ns of the rate's line that are read: 30 intervals of 30 s
HOLES: Final = 1000  # of each stream in the ledger; all of them are counted
SAME_NAME: Final = 100  # pods of one name that are read


class StoreReader:
    """Its coroutines may be awaited by many tasks at once and raise `StoreUnavailable`. A read that asks several questions
    may see a batch in one of them that it did not see in another."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def visible_after(self) -> float:
        """Seconds after which an inserted row is visible."""
        return self._store.visible_after

    async def pods(self, limit: int, pod_filter: Filter = Filter()) -> Snapshot:  # noqa: B008 - frozen
        """The `limit` most recently seen pods that fit, and all hosts and nodes."""

        def read(context: ReadContext) -> Snapshot:
            return _snapshot(context, *find_pods(context, pod_filter, limit)).snapshot

        return await self._read(read)

    async def workload(self, cluster: str, namespace: str, kind: str, name: str, limit: int) -> Snapshot:
        """Its pods, newest first."""
        pod_filter = Filter(cluster=cluster, namespace=namespace, workload=f"{kind}/{name}")

        def read(context: ReadContext) -> Snapshot:
            return _snapshot(context, *find_pods(context, pod_filter, limit, "first_seen")).snapshot

        return await self._read(read)

    async def pod(self, namespace: str, name: str, limit: int, cluster: str = "", uid: str = "") -> PodRows | None:
        """The newest pod of that name, of that cluster and uid where they are given, with its `limit` latest forks; and the
        others of its name, whatever their cluster and uid."""
        named = Filter(namespace=namespace, pod=name)

        def read(context: ReadContext) -> PodRows | None:
            pods, in_all = find_pods(context, named, SAME_NAME, "first_seen")
            found = [pod for pod in pods if cluster in ("", pod.cluster) and uid in ("", pod.uid)]
            if not found and in_all > len(pods):
                found, _ = find_pods(context, named._replace(cluster=cluster, pod_uid=uid), 1, "first_seen")
            if not found:
                return None
            pod, *_ = found
            return _pod_rows(context, pod, [other for other in pods if other != pod], limit)

        return await self._read(read)

    async def pod_by_id(self, pod: int, limit: int) -> PodRows | None:
        def read(context: ReadContext) -> PodRows | None:
            found = pod_row(context, pod)
            return None if found is None else _pod_rows(context, found, [], limit)

        return await self._read(read)

    async def host(self, cluster: str, node: str, limit: int) -> PodRows:
        """A node's forks outside pods."""

        def read(context: ReadContext) -> PodRows:
            whole = _snapshot(context, [], 0)
            own = [key for key, one in whole.sources.items() if (one.cluster, one.node) == (cluster, node)]
            latest = latest_forks(context, own, [(cluster, "", "")], limit)
            gaps = gaps_of_pods(context, [], own, whole.sources, whole.sinks, limit)
            return PodRows(whole.snapshot, [], latest, gaps, [])

        return await self._read(read)

    async def timeline(self, pod: int, span: Span, step: int) -> list[TimelineRow]:
        """Exact sums by container and step (ns), oldest first. Steps of whole minutes are the quickest."""
        return await self._read(lambda context: timeline(context, attributions_of(context, pod), span, step))

    async def pairs(self, pod: int, span: Span, limit: int) -> list[PairRow]:
        """Which comm forked which, most forks first."""

        def read(context: ReadContext) -> list[PairRow]:
            sources = attributions_of(context, pod)
            return pairs(context, sources, _keys(context, pod, sources), span, limit)

        return await self._read(read)

    async def lineage(self, pod: int, span: Span, limit: int) -> list[TaskRow]:
        """The newest `limit` processes, newest first."""

        def read(context: ReadContext) -> list[TaskRow]:
            sources = attributions_of(context, pod)
            return lineage(context, sources, _keys(context, pod, sources), span, limit)

        return await self._read(read)

    async def search(self, query: ForkQuery, limit: int, after: Place | None = None) -> list[FoundFork]:
        """Newest first; `after`: the last fork of the page before."""
        return await self._read(lambda context: search(context, query, limit, after))

    async def received_since(self, pod_filter: Filter, since: int, limit: int) -> ReceivedForks:
        """Received after `since` (ns, the store's clock), oldest first. On a server what other collectors insert is among
        it, and all of it `visible_after` late. `limit`: 100 at least, or some may be left out."""
        return await self._read(lambda context: received_since(context, pod_filter, since, limit))

    async def ledger(self) -> LedgerRows:
        rows = await self._read(lambda context: read_ledger(context, HOLES, by_cpu=True))
        return rows._replace(deleted_early=self._store.deleted_early)

    async def sizes(self) -> Sizes:
        return await self._read(sizes)

    async def _read(self, read: Callable[[ReadContext], _T]) -> _T:
        visible = self._store.visible(time.time_ns())

        def run(client: Client) -> _T:
            return read(ReadContext(client, visible.since, visible.until))

        return await self._store.readers.run(run)


def _snapshot(context: ReadContext, pods: Sequence[PodRow], in_all: int) -> SnapshotOfSources:
    return read_snapshot(context, pods, in_all, time.time_ns() - POINTS)


def _pod_rows(context: ReadContext, pod: PodRow, others: list[PodRow], limit: int) -> PodRows:
    whole = _snapshot(context, [pod], 1)
    sources = whole.of_pods()
    return PodRows(
        whole.snapshot,
        others,
        latest_forks(context, sources, pod_keys([pod], sources), limit),
        gaps_of_pods(context, [pod.id], sources, whole.sources, whole.sinks, limit),
        storms_of(context, [pod.id], limit).newest,
    )


def _keys(context: ReadContext, pod: int, sources: dict[SourceKey, bytes]) -> list[tuple[str, str, str]]:
    found = pod_row(context, pod)
    return pod_keys([] if found is None else [found], sources)
