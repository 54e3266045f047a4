"""`GET /v1/stream`: forks as they are filed, and ticks when there is anything new, as server-sent events.

Each reader asks the store at its own pace and holds one page, so a slow one costs no memory: what it is too late for is
counted, skipped and said (`lost`). Between two pages it sleeps until something was filed, here or by another collector, which
one look for all readers finds out.

Must not live here: what a question may say (`questions`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson
from aiohttp import web

from collector.http.limits import ConcurrencyLimit, LimitReached
from collector.http.metrics import Metrics
from collector.http.query_params import FILTERS, FORKS, InvalidParameter, Query, allow_only, choice, fork_query
from collector.http.responses import refuse
from collector.model import Filter, ForkQuery, FoundFork
from collector.store import Store, StoreUnavailable
from collector.views.times import stamp

__all__ = ["Stream"]

LOOK: Final = 1.0  # seconds between two looks at what is new
HEARTBEAT: Final = 15.0  # seconds between two comments: proxies close what is silent for 30 to 60
PAGE: Final = 500  # forks that a reader is sent at once: some 1 MB
SKIP: Final = 5000  # forks that are skipped at once
SKIPS: Final = 40  # such steps, before it is left at "more"
LATE: Final = 20.0  # seconds that a reader may lag behind, and that one who comes back has to catch up
SKEW: Final = 5 * 10**9  # ns that the store's clock may be behind ours
PATIENCE: Final = 60.0  # seconds that a reader may take for a page; one that comes back is told what it has missed
LOOKS: Final = 2  # of readers, in the store at once: the rest of it is for those who ask
RETRY: Final = b"retry: 2000\n\n"  # ms before a browser comes back
_log = logging.getLogger(__name__)
_Look = Callable[[Filter, int, int], Awaitable[tuple[list[FoundFork], int]]]


class Stream:
    """`readers`: so many at once."""

    def __init__(self, store: Store, metrics: Metrics, readers: int, still_welcome: Callable[[web.Request], bool]) -> None:
        self._store, self._metrics, self._still_welcome = store, metrics, still_welcome
        self._places = ConcurrencyLimit(readers, metrics.streams.set)
        self._looks = asyncio.Semaphore(LOOKS)
        self._news = asyncio.Event()  # replaced after each ring: who waits on it is woken once
        self._unseen: tuple[float, float] | None = None  # when the first and the last was filed here that was not yet rung for
        self._readers = 0
        self._closing = False

    def open(self, app: web.Application) -> None:
        app.router.add_get("/v1/stream", self._get, allow_head=False)
        app.cleanup_ctx.append(self._life)
        app.on_shutdown.append(self._close)

    def filed(self) -> None:
        """Something of whatever kind was filed here."""
        now = time.monotonic()
        self._unseen = (self._unseen[0] if self._unseen else now, now)

    async def _life(self, _app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._watch(), name="stream")
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _close(self, _app: web.Application) -> None:
        self._closing = True
        self._ring()

    async def _watch(self) -> None:
        """One look a second for all readers, while there are any; at the store only for what others may have filed."""
        since = 0
        while True:
            await asyncio.sleep(LOOK)
            if not self._readers:
                continue
            if self._can_be_seen():
                since = time.time_ns() - int(self._store.late * 1e9)
                self._ring()
                continue
            try:
                found, following = await self._store.news(Filter(), max(since, time.time_ns() - SKEW), 1)
            except StoreUnavailable as wrong:
                self._metrics.store_errors.inc()
                _log.error("what is new could not be looked up, tried again in a while: %s", wrong)
                continue
            since = following
            if found:
                self._ring()

    def _can_be_seen(self) -> bool:
        """Something that was filed here and not yet rung for: on a server it can be seen only after a while."""
        until = time.monotonic() - self._store.late
        if self._unseen is None or self._unseen[0] > until:
            return False
        last = self._unseen[1]
        self._unseen = (last, last) if last > until else None
        return True

    def _ring(self) -> None:
        rung, self._news = self._news, asyncio.Event()
        rung.set()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        query: Query = request.query
        allow_only(query, (*FILTERS, *FORKS, "events"))
        wish = fork_query(query, time.time_ns(), "-1h")
        kind = choice(query, "events", ("fork", "pods"), "")
        since = _since(request.headers, time.time_ns())
        try:
            with self._places.one():
                return await self._serve(request, wish, since, forks=kind != "pods", ticks=kind != "fork")
        except LimitReached:
            self._metrics.turned_away.labels("places").inc()
            refuse(503, "too many readers of the stream; try again in a while", {"Retry-After": "10"})

    async def _serve(
        self, request: web.Request, wish: ForkQuery, since: int, *, forks: bool, ticks: bool
    ) -> web.StreamResponse:
        answer = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        await answer.prepare(request)
        reader = _Reader(answer, wish, since, self._metrics)
        beating = asyncio.create_task(_beat(reader, request), name="heartbeat")
        self._readers += 1
        try:
            await reader.write(RETRY + _id(since))
            owed, ticked = False, -LOOK
            while not self._closing and self._still_welcome(request):
                news, patience = self._news, HEARTBEAT  # before the look: what is filed meanwhile rings it
                try:
                    if forks:
                        await reader.catch_up(self._look)
                except StoreUnavailable as wrong:
                    self._metrics.store_errors.inc()
                    _log.error("a reader of the stream waits: %s", wrong)
                    patience = LOOK
                if owed and ticks:
                    early = ticked + LOOK - time.monotonic()
                    if early <= 0:
                        await reader.write(_event("pods", {"now": stamp(time.time_ns())}))
                        owed, ticked = False, time.monotonic()
                    else:
                        patience = early
                owed |= await self._wait(news, request, patience)
        except (TimeoutError, ConnectionError):
            _abort(request)
        finally:
            self._readers -= 1
            beating.cancel()
        return answer

    async def _look(self, wish: Filter, since: int, limit: int) -> tuple[list[FoundFork], int]:
        async with self._looks:
            return await self._store.news(wish, since, limit)

    @staticmethod
    async def _wait(news: asyncio.Event, request: web.Request, patience: float) -> bool:
        """Is there something new within `patience` seconds? Raises ConnectionError when nobody is there."""
        end = time.monotonic() + patience
        while (left := end - time.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, 2 * LOOK)):
                    await news.wait()
                    return True
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError
        return False


async def _beat(reader: _Reader, request: web.Request) -> None:
    """A comment each `HEARTBEAT`, whatever else is sent, waited for, or found to be none of the reader's business."""
    with suppress(TimeoutError, ConnectionError):
        while True:
            await asyncio.sleep(HEARTBEAT)
            await reader.write(b":\n\n")
    _abort(request)


def _abort(request: web.Request) -> None:
    """It took nothing; an orderly end would wait for it once more."""
    if request.transport is not None:
        request.transport.abort()


class _Reader:
    """One reader's place in what is filed. `since`: ns, by the store's clock."""

    def __init__(self, answer: web.StreamResponse, wish: ForkQuery, since: int, metrics: Metrics) -> None:
        self._answer, self._wish, self._since, self._metrics = answer, wish, since, metrics
        self._up_to_date = time.monotonic()

    async def write(self, piece: bytes) -> None:
        """Raises TimeoutError when it is not taken."""
        async with asyncio.timeout(PATIENCE):
            await self._answer.write(piece)

    async def catch_up(self, look: _Look) -> None:
        """Sends all that is new, or says how much of it is skipped."""
        while True:
            if self._is_late():
                await self._skip(look)
            found, since = await look(self._wish.filter, self._since, PAGE)
            mine = [fork.body for fork in found if _matches(fork.body, self._wish)]
            self._since = since
            if not found:  # fewer than a page may be all that was filed in one moment, and others after it
                self._up_to_date = time.monotonic()
                return
            await self.write(await asyncio.to_thread(_forks, mine) + _id(since))
            self._metrics.streamed.inc(len(mine))

    def _is_late(self) -> bool:
        """What it had last is old, and it has not been at the end for as long: where nothing is filed, only the first holds."""
        return min(time.time() - self._since / 1e9, time.monotonic() - self._up_to_date) > LATE

    async def _skip(self, look: _Look) -> None:
        """`more`: there were others beyond those that were counted."""
        lost, until, whole = 0, time.time_ns() - int(LATE / 2 * 1e9), False
        for _ in range(SKIPS):
            found, self._since = await look(self._wish.filter, self._since, SKIP)
            lost += sum(_matches(fork.body, self._wish) for fork in found)
            if whole := not found or self._since >= until:
                break
        if not whole:
            self._since = until
        if lost or not whole:
            self._metrics.stream_lost.inc(lost)
            await self.write(_event("lost", {"forks": lost, "more": not whole}) + _id(self._since))


def _since(headers: Mapping[str, str], now: int) -> int:
    """Raises `InvalidParameter`."""
    said = headers.get("Last-Event-ID", "")
    if not said:
        return now
    if not (said.isascii() and said.isdigit() and len(said) < 20):
        raise InvalidParameter("Last-Event-ID: is not the id of an event of this stream")
    return min(int(said), now)


def _matches(fork: Mapping[str, Any], wish: ForkQuery) -> bool:
    """What is asked of the fork itself; its pod was looked at by the store."""
    pids = ("child_pid", "child_ns_pid", "parent_pid", "parent_ns_pid")
    return (
        (not wish.comm or fork["comm"] == wish.comm)
        and (not wish.parent_comm or fork["parent_comm"] == wish.parent_comm)
        and (not wish.kind or fork["kind"] == wish.kind)
        and (wish.pid is None or any(fork[pid] == wish.pid for pid in pids))
        and (not wish.entity or wish.entity in (fork["process_entity_id"], fork["parent_entity_id"]))
    )


def _forks(bodies: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(_event("fork", body) for body in bodies)


def _event(kind: str, body: Mapping[str, Any]) -> bytes:
    """JSON has no line of its own in it, whatever a name holds."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(body))


def _id(since: int) -> bytes:
    """Where a reader is that has all of it so far. Without data it is no event, and is remembered all the same."""
    return b"id: %d\n\n" % since
