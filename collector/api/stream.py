"""`GET /v1/stream`: forks as they are stored, and ticks when there is anything new, as server-sent events.

Each reader reads the store at its own pace and holds one page, so a slow one costs no memory: forks that it is too late for are
counted, skipped and reported (event `lost`). Between two pages it sleeps until something was stored, here or by another
collector; one task polls the store for all readers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import orjson
from aiohttp import web

from collector.http.limits import ConcurrencyLimit, LimitReached
from collector.http.metrics import Metrics
from collector.http.query_params import (
    FORK_PARAMETERS,
    POD_PARAMETERS,
    Query,
    allow_only,
    parse_choice,
    parse_fork_query,
    parse_last_event_id,
)
from collector.http.responses import refuse
from collector.model import Filter, ForkQuery
from collector.query import ReceivedForks, StoreReader
from collector.store import StoreUnavailable
from collector.views.times import stamp
from wire.api import LostForks, PodsTick
from wire.events import Fork

__all__ = ["StreamApi"]

POLL_INTERVAL: Final = 1.0  # seconds between two reads of what is new, and between two ticks
HEARTBEAT: Final = 15.0  # seconds between two comments: proxies close connections that are silent for 30 to 60
PAGE_FORKS: Final = 500  # sent to a reader at once: some 1 MB
SKIP_FORKS: Final = 5000  # skipped at once
MAX_SKIPS: Final = 40  # such steps; forks beyond are not counted ("more")
MAX_LAG: Final = 20.0  # seconds that a reader may be behind, also after it reconnected
MAX_SKEW: Final = 5 * 10**9  # ns that the store's clock may be behind ours
WRITE_TIMEOUT: Final = 60.0  # seconds that a reader may take for a page; when it reconnects it gets `lost`
MAX_READS: Final = 2  # of readers, in the store at once: the rest of it is for other queries
RETRY: Final = b"retry: 2000\n\n"  # ms before a browser reconnects
_log = logging.getLogger(__name__)
_ReadNews = Callable[[Filter, int, int], Awaitable[ReceivedForks]]


class StreamApi:
    """`readers`: so many at once. `may_read`: asked again and again while a request is open."""

    def __init__(self, reader: StoreReader, metrics: Metrics, readers: int, may_read: Callable[[web.Request], bool]) -> None:
        self._reader, self._metrics, self._may_read = reader, metrics, may_read
        self._places = ConcurrencyLimit(readers, metrics.streams.set)
        self._reads = asyncio.Semaphore(MAX_READS)
        self._news = asyncio.Event()  # replaced when it is set, so that each waiting reader wakes once
        # When the first and the last was stored here of which the readers do not know yet.
        self._pending: tuple[float, float] | None = None
        self._readers = 0
        self._closing = False

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/v1/stream", self._get, allow_head=False)
        app.cleanup_ctx.append(self._life)
        app.on_shutdown.append(self._close)

    def notify(self) -> None:
        """Something was stored here, whatever its kind."""
        now = time.monotonic()
        self._pending = (self._pending[0] if self._pending else now, now)

    async def _life(self, _app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._watch(), name="stream")
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _close(self, _app: web.Application) -> None:
        self._closing = True
        self._wake_readers()

    async def _watch(self) -> None:
        """Wakes the readers when there is anything new; reads the store only for what other collectors may have stored."""
        since = 0
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            if not self._readers:
                continue
            if self._is_readable():
                since = time.time_ns() - int(self._reader.visible_after * 1e9)
                self._wake_readers()
                continue
            try:
                found, following = await self._reader.received_since(Filter(), max(since, time.time_ns() - MAX_SKEW), 1)
            except StoreUnavailable as wrong:
                self._metrics.store_errors.inc()
                _log.error("cannot read what is new, trying again in a second: %s", wrong)
                continue
            since = following
            if found:
                self._wake_readers()

    def _is_readable(self) -> bool:
        """Something of which the readers do not know was stored here, and can be read: on a server only after a while."""
        until = time.monotonic() - self._reader.visible_after
        if self._pending is None or self._pending[0] > until:
            return False
        last = self._pending[1]
        self._pending = (last, last) if last > until else None
        return True

    def _wake_readers(self) -> None:
        waiting_for, self._news = self._news, asyncio.Event()
        waiting_for.set()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        query: Query = request.query
        allow_only(query, (*POD_PARAMETERS, *FORK_PARAMETERS, "events"))
        fork_query = parse_fork_query(query, time.time_ns(), "-1h")
        kind = parse_choice(query, "events", ("fork", "pods"), "")
        since = parse_last_event_id(request.headers.get("Last-Event-ID", ""), time.time_ns())
        try:
            with self._places.one():
                return await self._serve(request, fork_query, since, forks=kind != "pods", ticks=kind != "fork")
        except LimitReached:
            self._metrics.turned_away.labels("places").inc()
            refuse(503, "too many readers of the stream; try again in a while", {"Retry-After": "10"})

    async def _serve(
        self, request: web.Request, fork_query: ForkQuery, since: int, *, forks: bool, ticks: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        reader = _Reader(response, fork_query, since, self._metrics)
        heartbeat = asyncio.create_task(_send_heartbeats(reader, request), name="heartbeat")
        self._readers += 1
        try:
            await reader.write(RETRY + _id(since))
            owed, ticked = False, -POLL_INTERVAL
            while not self._closing and self._may_read(request):
                news, patience = self._news, HEARTBEAT  # before the read: it is set when something is stored meanwhile
                try:
                    if forks:
                        await reader.catch_up(self._read_news)
                except StoreUnavailable as wrong:
                    self._metrics.store_errors.inc()
                    _log.error("a reader of the stream has to wait: %s", wrong)
                    patience = POLL_INTERVAL
                if owed and ticks:
                    early = ticked + POLL_INTERVAL - time.monotonic()
                    if early <= 0:
                        tick: PodsTick = {"now": stamp(time.time_ns())}
                        await reader.write(_event("pods", tick))
                        owed, ticked = False, time.monotonic()
                    else:
                        patience = early
                owed |= await self._wait(news, request, patience)
        except (TimeoutError, ConnectionError):
            _abort(request)
        finally:
            self._readers -= 1
            heartbeat.cancel()
        return response

    async def _read_news(self, pods: Filter, since: int, limit: int) -> ReceivedForks:
        async with self._reads:
            return await self._reader.received_since(pods, since, limit)

    @staticmethod
    async def _wait(news: asyncio.Event, request: web.Request, patience: float) -> bool:
        """Is there something new within `patience` seconds? Raises ConnectionError when the reader has gone."""
        end = time.monotonic() + patience
        while (left := end - time.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, 2 * POLL_INTERVAL)):
                    await news.wait()
                    return True
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError
        return False


async def _send_heartbeats(reader: _Reader, request: web.Request) -> None:
    """A comment each `HEARTBEAT`, whatever else is sent or filtered out."""
    with suppress(TimeoutError, ConnectionError):
        while True:
            await asyncio.sleep(HEARTBEAT)
            await reader.write(b":\n\n")
    _abort(request)


def _abort(request: web.Request) -> None:
    """Without an orderly end, which would wait for the reader once more."""
    if request.transport is not None:
        request.transport.abort()


class _Reader:
    """One reader's position in what is stored. `since`: ns, by the store's clock."""

    def __init__(self, response: web.StreamResponse, fork_query: ForkQuery, since: int, metrics: Metrics) -> None:
        self._response, self._fork_query, self._since, self._metrics = response, fork_query, since, metrics
        self._up_to_date = time.monotonic()

    async def write(self, piece: bytes) -> None:
        """Raises TimeoutError when the reader does not take it."""
        async with asyncio.timeout(WRITE_TIMEOUT):
            await self._response.write(piece)

    async def catch_up(self, read_news: _ReadNews) -> None:
        """Sends all that is new, or reports how much of it is skipped."""
        while True:
            if self._is_late():
                await self._skip(read_news)
            found, since = await read_news(self._fork_query.filter, self._since, PAGE_FORKS)
            matching = [fork.body for fork in found if _matches(fork.body, self._fork_query)]
            self._since = since
            if not found:  # fewer than a page may be all that was stored at one moment, and others after it
                self._up_to_date = time.monotonic()
                return
            await self.write(await asyncio.to_thread(_forks, matching) + _id(since))
            self._metrics.streamed.inc(len(matching))

    def _is_late(self) -> bool:
        """Its position is old, and it has not been at the end for as long: where nothing is stored, only the first is true."""
        return min(time.time() - self._since / 1e9, time.monotonic() - self._up_to_date) > MAX_LAG

    async def _skip(self, read_news: _ReadNews) -> None:
        """`more`: others were skipped beyond those that were counted."""
        lost, until, whole = 0, time.time_ns() - int(MAX_LAG / 2 * 1e9), False
        for _ in range(MAX_SKIPS):
            found, self._since = await read_news(self._fork_query.filter, self._since, SKIP_FORKS)
            lost += sum(_matches(fork.body, self._fork_query) for fork in found)
            if whole := not found or self._since >= until:
                break
        if not whole:
            self._since = until
        if lost or not whole:
            self._metrics.stream_lost.inc(lost)
            event: LostForks = {"forks": lost, "more": not whole}
            await self.write(_event("lost", event) + _id(self._since))


def _matches(fork: Fork, query: ForkQuery) -> bool:
    """The conditions on the fork itself, which `collector.query.forks.search` has in SQL. The store has checked the filter."""
    pids = (fork["child_pid"], fork["child_ns_pid"], fork["parent_pid"], fork["parent_ns_pid"])
    return (
        (not query.comm or fork["comm"] == query.comm)
        and (not query.parent_comm or fork["parent_comm"] == query.parent_comm)
        and (not query.kind or fork["kind"] == query.kind)
        and (query.pid is None or query.pid in pids)
        and (not query.entity or query.entity in (fork["process_entity_id"], fork["parent_entity_id"]))
    )


def _forks(bodies: Sequence[Fork]) -> bytes:
    return b"".join(_event("fork", body) for body in bodies)


def _event(kind: str, body: Fork | PodsTick | LostForks) -> bytes:
    """JSON contains no line feed, whatever a name contains."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(body))


def _id(since: int) -> bytes:
    """The position of a reader that has everything so far. Without data it is no event, but clients remember it."""
    return b"id: %d\n\n" % since
