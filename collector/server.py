"""The doors of the collector: routes, who may use them, and the life from opening the store to the last answer.

Must not live here: what an answer holds (`views`, `pages`), how a batch is taken (`intake`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from collector.answers import HEADERS, failed, told
from collector.intake import Intake, Limits
from collector.metrics import Metrics
from collector.pages import Pages
from collector.settings import Settings
from collector.store import Store, StoreAway
from collector.tokens import COOKIE, Tokens
from collector.views.ledger import ledger_json, node_entries
from collector.views.pods import host_entries, pod_entries, pod_json
from wire.batch import EVENTS_PATH

__all__ = ["CannotListen", "make_app", "running_collector"]

INTAKE: Final = web.AppKey("intake", Intake)
METRICS: Final = web.AppKey("metrics", Metrics)
STORE: Final = web.AppKey("store", Store)
TOKENS: Final = web.AppKey("tokens", Tokens)
PODS: Final = 1000  # told at once at most, by default
LATEST: Final = 100  # forks told with a pod, by default
MOST: Final = 1000  # of either that may be asked for
GRACE: Final = 2.0  # seconds for answers other than a batch's to be read
SWEEP: Final = 60.0  # seconds between two looks at what is too old, at most
_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CannotListen(Exception):
    """The address is taken or not ours; its text says which and why."""


def make_app(settings: Settings, store: Store) -> web.Application:
    """The application on an open store. The store stays the caller's to close, after the application."""
    app = web.Application(middlewares=[_guard], client_max_size=64 * 1024)
    metrics, tokens = Metrics(), Tokens(settings.token_file)
    app[METRICS], app[STORE], app[TOKENS] = metrics, store, tokens
    limits = Limits(
        settings.max_body, settings.max_batch, settings.max_line, settings.max_lines, settings.body_timeout, settings.batches
    )
    app[INTAKE] = Intake(store, metrics, limits)
    app.router.add_post(EVENTS_PATH, app[INTAKE].post)
    app.router.add_get("/v1/pods", _pods)
    app.router.add_get("/v1/pods/{namespace}/{pod}", _pod)
    app.router.add_get("/v1/ledger", _ledger)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    Pages(store, tokens).open(app.router)
    app.on_response_prepare.append(_headers)
    app.cleanup_ctx.append(_sweeping(settings.retention))
    return app


@asynccontextmanager
async def running_collector(settings: Settings) -> AsyncIterator[str]:
    """A collector in this process for as long as the block runs; gives its URL. Raises `CannotListen`, `StoreAway`.

    On the way out it takes no new requests, finishes the running ones (at most `stop_timeout`), and closes the store.
    """
    store = Store.open(settings.store)
    app = make_app(settings, store)
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # a body is unpacked in `bodies`, with a bound
        shutdown_timeout=GRACE,
        handle_signals=False,
    )
    try:
        await runner.setup()
        parts = urlsplit(f"//{settings.listen}")
        try:
            await web.TCPSite(runner, parts.hostname, parts.port).start()
        except OSError as wrong:
            why = os.strerror(wrong.errno) if wrong.errno and wrong.errno > 0 else str(wrong)
            raise CannotListen(f"cannot listen on {settings.listen}: {why}") from wrong
        host, port = runner.addresses[0][:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        # aiohttp's own way out stops reading at once, so a batch half received could never end well: first drain.
        for site in list(runner.sites):
            await site.stop()
        await app[INTAKE].drain(settings.stop_timeout)
        await runner.cleanup()
        await asyncio.to_thread(store.close)


@web.middleware
async def _guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """/v1 wants the token when there is one; a browser's cookie is as good for reading, and never for writing."""
    tokens = request.app[TOKENS]
    if tokens.wanted and request.path.startswith("/v1/") and not tokens.fits_header(request.headers.get("Authorization")):
        reading = request.method in ("GET", "HEAD")
        if not (reading and tokens.fits_cookie(request.cookies.get(COOKIE))):
            failed(401, "a token is wanted: Authorization: Bearer <token>", {"WWW-Authenticate": 'Bearer realm="forklore"'})
    try:
        return await handler(request)
    except StoreAway as wrong:
        request.app[METRICS].store_errors.inc()
        _log.error("%s %s: %s", request.method, request.path, wrong)
        failed(503, "the store does not answer", {"Retry-After": "5"})
    except web.HTTPException as answer:
        if answer.content_type == "text/plain" and request.path.startswith("/v1/"):  # aiohttp's own 404 and 405
            return told({"error": answer.reason}, answer.status)
        raise


async def _headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _sweeping(retention: float) -> Callable[[web.Application], AsyncIterator[None]]:
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
        except StoreAway as wrong:
            app[METRICS].store_errors.inc()
            _log.error("what is too old could not be deleted, tried again in a while: %s", wrong)


async def _pods(request: web.Request) -> web.Response:
    snapshot, now = await request.app[STORE].pods(_limit(request, PODS)), time.time_ns()
    return told(
        {
            "pods": pod_entries(snapshot, now),
            "pods_in_all": snapshot.pods_in_all,
            "host": host_entries(snapshot, now),
            "nodes": node_entries(snapshot.ledger, now),
        }
    )


async def _pod(request: web.Request) -> web.Response:
    namespace, name = request.match_info["namespace"], request.match_info["pod"]
    page = await request.app[STORE].pod(namespace, name, _limit(request, LATEST))
    if page is None:
        failed(404, "no pod of that name has been heard of; names are kept for the retention")
    return told(pod_json(page, time.time_ns()))


async def _ledger(request: web.Request) -> web.Response:
    ledger = await request.app[STORE].ledger()
    return told(await asyncio.to_thread(ledger_json, ledger, time.time_ns()))


async def _metrics(request: web.Request) -> web.Response:
    metrics = request.app[METRICS]
    sizes = await request.app[STORE].sizes()
    metrics.rows.labels("fork").set(sizes.forks)
    metrics.rows.labels("pod").set(sizes.pods)
    metrics.size.set(sizes.bytes)
    return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def _healthz(_request: web.Request) -> web.Response:
    return told({"ok": True})


async def _readyz(request: web.Request) -> web.Response:
    """200 when the store can be written and batches are taken."""
    if request.app[INTAKE].stopping:
        failed(503, "this collector is stopping")
    await request.app[STORE].check()
    return told({"ok": True})


def _limit(request: web.Request, usual: int) -> int:
    """`?limit=`, from 1 to `MOST`."""
    text = request.query.get("limit")
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST):
        failed(400, f"limit is a whole number from 1 to {MOST}")
    return int(text)
