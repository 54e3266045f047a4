"""`GET /v1/forks`: forks by time, pod, comm, pid and entity; a page of JSON with a cursor, or all of them as a file.

A file is written page by page while it is read, so that it costs the same memory whatever its length. Must not live here: what
a question may say (`questions`), what a file looks like (`exports`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final, NoReturn

from aiohttp import web

from collector.api.exports import FORMS, Form
from collector.http.limits import ConcurrencyLimit, LimitReached
from collector.http.metrics import Metrics
from collector.http.query_params import FILTERS, FORKS, Query, allow_only, choice, cursor, fork_query, place, whole
from collector.http.responses import json_response, refuse
from collector.model import ForkQuery, Place
from collector.store import Store, StoreUnavailable

__all__ = ["Search"]

USUAL: Final = 100  # forks in an answer, by default
MOST: Final = 1000  # forks in an answer, and in a step of an export: some 2 MB
LOOKS_BACK: Final = "-1h"  # from when, by default
PATIENCE: Final = 30.0  # seconds that a reader may take for a step of an export
_log = logging.getLogger(__name__)


class Search:
    """`exports`: so many at once, of `most` forks each."""

    def __init__(self, store: Store, metrics: Metrics, exports: int, most: int) -> None:
        self._store, self._metrics, self._most = store, metrics, most
        self._places = ConcurrencyLimit(exports, metrics.exports.set)

    def open(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/forks", self._get, allow_head=False)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        query: Query = request.query
        allow_only(query, (*FILTERS, *FORKS, "from", "to", "limit", "after", "format"))
        wish, after = fork_query(query, time.time_ns(), LOOKS_BACK), place(query)
        form = FORMS.get(choice(query, "format", ("json", *FORMS), "json"))
        if form is None:
            return await self._page(wish, whole(query, "limit", USUAL, 1, MOST), after)
        limit = whole(query, "limit", self._most, 1, self._most)
        try:
            with self._places.one():
                return await self._export(request, form, wish, limit, after)
        except LimitReached:
            self._metrics.turned_away.labels("places").inc()
            refuse(503, "too many exports at once; try again in a while", {"Retry-After": "10"})

    async def _page(self, wish: ForkQuery, limit: int, after: Place | None) -> web.Response:
        found = await self._store.search(wish, limit + 1, after)  # one more: is there a next page?
        following = cursor(found[limit - 1].place) if len(found) > limit else None
        body = {"forks": [fork.body for fork in found[:limit]], "next": following}
        return await asyncio.to_thread(json_response, body)

    async def _export(
        self, request: web.Request, form: Form, wish: ForkQuery, limit: int, after: Place | None
    ) -> web.StreamResponse:
        page = await self._store.search(wish, min(MOST, limit) + 1, after)  # before the first word: it may yet be a 503
        answer = web.StreamResponse(
            headers={
                "Content-Type": f"{form.content_type}; charset=utf-8",
                "Content-Disposition": f'attachment; filename="{form.name}"',
                "Cache-Control": "no-store",
                "Forklore-Limit": str(limit),
            }
        )
        await answer.prepare(request)
        written = 0
        try:
            await _write(answer, form.head)
            while True:
                step = page[: min(MOST, limit - written)]
                await _write(answer, await asyncio.to_thread(form.page, step))
                written += len(step)
                self._metrics.exported.labels(form.name.rpartition(".")[2]).inc(len(step))
                if len(page) == len(step):
                    break
                last = step[-1].place
                if written == limit:
                    await _write(answer, form.cut(written, cursor(last)))
                    break
                page = await self._store.search(wish, min(MOST, limit - written) + 1, last)
            await answer.write_eof()
        except StoreUnavailable as wrong:
            self._metrics.store_errors.inc()
            _log.error("an export was broken off after %d forks: %s", written, wrong)
            _break_off(request)
        except TimeoutError:
            _log.info("an export was broken off after %d forks: its reader took nothing for %g s", written, PATIENCE)
            _break_off(request)
        return answer


async def _write(answer: web.StreamResponse, piece: bytes) -> None:
    if piece:
        async with asyncio.timeout(PATIENCE):
            await answer.write(piece)


def _break_off(request: web.Request) -> NoReturn:
    """Without the chunk that ends an answer, the reader knows that this is not all of it."""
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError("broken off")
