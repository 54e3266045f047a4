"""The routes for Prometheus and the kubelet, which need no token, and the task that applies the retention."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

from aiohttp import web

from collector.http.access import Scope
from collector.http.responses import json_response, refuse
from collector.query import Sizes
from collector.server.keys import ACCESS, AGENTS, CERTIFICATE, INGEST, METRICS, READER, STORE
from collector.server.shared_result import SharedResult
from collector.store import StoreUnavailable

__all__ = ["add_routes", "sweeping"]

SWEEP: Final = 60.0  # seconds between two sweeps at most
READY_S: Final = 2.0  # seconds for which the store counts as writable after a check, which takes the writer's thread
SIZES_S: Final = 5.0  # seconds for which the store's sizes count as current
_log = logging.getLogger(__name__)


def add_routes(app: web.Application) -> None:
    async def check_store() -> None:
        await app[STORE].check()

    sizes, check = SharedResult(app[READER].sizes, SIZES_S), SharedResult(check_store, READY_S)

    async def metrics(request: web.Request) -> web.Response:
        return _metrics(request, await sizes.get())

    async def readyz(request: web.Request) -> web.Response:
        """200 when the store can be written and batches are accepted."""
        if request.app[INGEST].stopping:
            refuse(503, "this collector is stopping")
        await check.get()
        certificate = request.app.get(CERTIFICATE)
        warning = certificate.warning(time.time()) if certificate else None
        return json_response({"ok": True} | ({"warning": warning} if warning else {}))

    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", readyz)


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
            for dropped in await app[STORE].free_disk():
                app[METRICS].deleted_early.labels(dropped.table).inc(dropped.rows)
        except StoreUnavailable as error:
            app[METRICS].store_errors.inc()
            _log.error("the retention could not be applied, trying again in a minute: %s", error)


def _metrics(request: web.Request, sizes: Sizes) -> web.Response:
    metrics = request.app[METRICS]
    metrics.rows.labels("fork").set(sizes.forks)
    metrics.rows.labels("pod").set(sizes.pods)
    metrics.size.set(sizes.bytes)
    metrics.disk.set(request.app[STORE].disk.ratio)
    if CERTIFICATE in request.app:
        metrics.certificate_expires.set(request.app[CERTIFICATE].expires_s)
        metrics.certificate_broken.set(request.app[CERTIFICATE].error is not None)
    if AGENTS in request.app:
        sources = request.app[AGENTS].sources
        metrics.clusters_without_keys.set(sources.unread)
        metrics.key_failures.set(sources.failures)
    body = metrics.text(known=request.app[ACCESS].may(request, Scope.READ))
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def _healthz(_request: web.Request) -> web.Response:
    return json_response({"ok": True})
