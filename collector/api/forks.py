"""`GET /v1/forks`: forks by time, pod, comm, pid and entity; a page of JSON with a cursor, or all of them as a file.

A file is written page by page while its reader takes it, so that it costs the same memory whatever its length.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final, NoReturn

from aiohttp import web

from collector.api.exports import FORMATS, ExportFormat
from collector.http.limits import ConcurrencyLimit, LimitReached
from collector.http.metrics import Metrics
from collector.http.query_params import (
    FORK_PARAMETERS,
    POD_PARAMETERS,
    Query,
    allow_only,
    format_cursor,
    parse_choice,
    parse_cursor,
    parse_fork_query,
    parse_integer,
)
from collector.http.responses import json_response, refuse
from collector.model import ForkQuery, Place
from collector.query import StoreReader
from collector.store import StoreUnavailable
from wire.api import ForkPage

__all__ = ["ForksApi"]

DEFAULT_FORKS: Final = 100  # in a response
MAX_FORKS: Final = 1000  # in a response, and in a step of an export: some 2 MB
DEFAULT_START: Final = "-1h"
WRITE_TIMEOUT: Final = 30.0  # seconds that a reader may take for a step of an export
_log = logging.getLogger(__name__)


class ForksApi:
    """`exports`: so many at once, of at most `max_export` forks each."""

    def __init__(self, reader: StoreReader, metrics: Metrics, exports: int, max_export: int) -> None:
        self._reader, self._metrics, self._max_export = reader, metrics, max_export
        self._places = ConcurrencyLimit(exports, metrics.exports.set)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/forks", self._get, allow_head=False)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        query: Query = request.query
        allow_only(query, (*POD_PARAMETERS, *FORK_PARAMETERS, "from", "to", "limit", "after", "format"))
        fork_query, after = parse_fork_query(query, time.time_ns(), DEFAULT_START), parse_cursor(query)
        export_format = FORMATS.get(parse_choice(query, "format", ("json", *FORMATS), "json"))
        if export_format is None:
            return await self._page(fork_query, parse_integer(query, "limit", DEFAULT_FORKS, 1, MAX_FORKS), after)
        limit = parse_integer(query, "limit", self._max_export, 1, self._max_export)
        try:
            with self._places.one():
                return await self._export(request, export_format, fork_query, limit, after)
        except LimitReached:
            self._metrics.turned_away.labels("places").inc()
            refuse(503, "too many exports at once; try again in a while", {"Retry-After": "10"})

    async def _page(self, fork_query: ForkQuery, limit: int, after: Place | None) -> web.Response:
        found = await self._reader.search(fork_query, limit + 1, after)  # one more: is there a next page?
        following = format_cursor(found[limit - 1].place) if len(found) > limit else None
        body: ForkPage = {"forks": [fork.body for fork in found[:limit]], "next": following}
        return await asyncio.to_thread(json_response, body)

    async def _export(
        self, request: web.Request, export_format: ExportFormat, fork_query: ForkQuery, limit: int, after: Place | None
    ) -> web.StreamResponse:
        page = await self._reader.search(fork_query, min(MAX_FORKS, limit) + 1, after)  # before the head: it may still be a 503
        response = web.StreamResponse(
            headers={
                "Content-Type": f"{export_format.content_type}; charset=utf-8",
                "Content-Disposition": f'attachment; filename="{export_format.file_name}"',
                "Cache-Control": "no-store",
                "Forklore-Limit": str(limit),
            }
        )
        await response.prepare(request)
        written = 0
        try:
            await _write(response, export_format.head)
            while True:
                step = page[: min(MAX_FORKS, limit - written)]
                await _write(response, await asyncio.to_thread(export_format.page, step))
                written += len(step)
                self._metrics.exported.labels(export_format.file_name.rpartition(".")[2]).inc(len(step))
                if len(page) == len(step):
                    break
                last = step[-1].place
                if written == limit:
                    await _write(response, export_format.cut(written, format_cursor(last)))
                    break
                page = await self._reader.search(fork_query, min(MAX_FORKS, limit - written) + 1, last)
            await response.write_eof()
        except StoreUnavailable as wrong:
            self._metrics.store_errors.inc()
            _log.error("export aborted after %d forks: %s", written, wrong)
            _abort(request)
        except TimeoutError:
            _log.info("export aborted after %d forks: its reader took nothing for %g s", written, WRITE_TIMEOUT)
            _abort(request)
        return response


async def _write(response: web.StreamResponse, piece: bytes) -> None:
    if piece:
        async with asyncio.timeout(WRITE_TIMEOUT):
            await response.write(piece)


def _abort(request: web.Request) -> NoReturn:
    """Without the chunk that ends a response, the reader knows that this is not all of it."""
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError("aborted")
