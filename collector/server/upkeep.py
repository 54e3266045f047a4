"""The routes for Prometheus and the kubelet, and the task that applies the retention."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

from aiohttp import web

from collector.http.access import Scope
from collector.http.responses import json_response, refuse
from collector.server.keys import ACCESS, INGEST, METRICS, READER, STORE
from collector.store import StoreUnavailable

__all__ = ["add_routes", "sweeping"]

SWEEP: Final = 60.0  # seconds between two sweeps at most
_log = logging.getLogger(__name__)


def add_routes(router: web.UrlDispatcher) -> None:
    router.add_get("/metrics", _metrics)
    router.add_get("/healthz", _healthz)
    router.add_get("/readyz", _readyz)


def sweeping(retention: float) -> Callable[[web.Application], AsyncIterator[None]]:
    """Applies the retention, in seconds, for as long as the application runs."""

    async def life(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_sweep(app, retention), name="sweep")
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return life


async def _sweep(app: web.Application, retention: float) -> None:
    while True:
        await asyncio.sleep(min(SWEEP, retention / 4))
        try:
            app[METRICS].swept.inc(await app[STORE].sweep(retention))
        except StoreUnavailable as error:
            app[METRICS].store_errors.inc()
            _log.error("the retention could not be applied, trying again in a minute: %s", error)


async def _metrics(request: web.Request) -> web.Response:
    metrics = request.app[METRICS]
    sizes = await request.app[READER].sizes()
    metrics.rows.labels("fork").set(sizes.forks)
    metrics.rows.labels("pod").set(sizes.pods)
    metrics.size.set(sizes.bytes)
    body = metrics.text(known=request.app[ACCESS].may(request, Scope.READ))
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def _healthz(_request: web.Request) -> web.Response:
    return json_response({"ok": True})


async def _readyz(request: web.Request) -> web.Response:
    """200 when the store can be written and batches are accepted."""
    if request.app[INGEST].stopping:
        refuse(503, "this collector is stopping")
    await request.app[STORE].check()
    return json_response({"ok": True})
