"""The doors of the collector: routes, who may use them, and the life from opening the store to the last answer.

Must not live here: what an answer holds (`views`, `pages`), how a batch is taken (`intake`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, NoReturn
from urllib.parse import urlsplit

from aiohttp import web

from collector.api.forks import ForksApi
from collector.api.pods import PodsApi
from collector.api.stream import StreamApi
from collector.http.access import Access, Scope
from collector.http.limits import RateLimit
from collector.http.metrics import Metrics
from collector.http.query_params import InvalidParameter
from collector.http.responses import HEADERS, json_response, refuse
from collector.ingest.endpoint import IngestEndpoint, Limits
from collector.pages.routes import Pages
from collector.query import StoreReader
from collector.server.http_server import Runner
from collector.settings import Settings
from collector.store import Store, StoreUnavailable
from wire.batch import EVENTS_PATH

__all__ = ["CannotListen", "make_app", "running_collector"]

INGEST: Final = web.AppKey("ingest", IngestEndpoint)
METRICS: Final = web.AppKey("metrics", Metrics)
STORE: Final = web.AppKey("store", Store)
READER: Final = web.AppKey("reader", StoreReader)
ACCESS: Final = web.AppKey("access", Access)
API_RATES: Final = web.AppKey("api_rates", RateLimit)
PAGE_RATES: Final = web.AppKey("page_rates", RateLimit)
GRACE: Final = 2.0  # seconds for answers other than a batch's to be read
SWEEP: Final = 60.0  # seconds between two looks at what is too old, at most
FREE: Final = ("/healthz", "/readyz")  # asked by the kubelet, which must not be told to come later
STATIC: Final = "/static/"  # in memory, and kept by browsers: what a page costs is the page
_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CannotListen(Exception):
    """The address is taken or not ours; its text says which and why."""


def make_app(settings: Settings, store: Store) -> web.Application:
    """The application on an open store. The store stays the caller's to close, after the application."""
    app = web.Application(middlewares=[_guard], client_max_size=64 * 1024)
    metrics, reader = Metrics(), StoreReader(store)
    access = Access(
        settings.token_file,
        settings.read_token_file,
        settings.ingest_token_file,
        settings.trusted_proxies,
        is_open=settings.access == "open",
    )
    app[METRICS], app[STORE], app[READER], app[ACCESS] = metrics, store, reader, access
    app[API_RATES], app[PAGE_RATES] = RateLimit(settings.read_rate), RateLimit(settings.read_rate)
    limits = Limits(
        settings.max_body, settings.max_batch, settings.max_line, settings.max_lines, settings.body_timeout, settings.batches
    )
    stream = StreamApi(reader, metrics, settings.streams, lambda request: access.may(request, Scope.READ))
    app[INGEST] = IngestEndpoint(store, metrics, limits, stream.notify)
    app.router.add_post(EVENTS_PATH, app[INGEST].post)
    PodsApi(reader).add_routes(app.router)
    ForksApi(reader, metrics, settings.exports, settings.export_forks).add_routes(app.router)
    stream.add_routes(app)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    Pages(reader, access).add_routes(app.router)
    app.on_response_prepare.append(_headers)
    app.cleanup_ctx.append(_sweeping(settings.retention))
    return app


@asynccontextmanager
async def running_collector(settings: Settings) -> AsyncIterator[str]:
    """A collector in this process for as long as the block runs; gives its URL. Raises `CannotListen`, `StoreUnavailable`.

    On the way out it takes no new requests, finishes the running ones (at most `stop_timeout`), and closes the store.
    """
    store = Store.open(settings.store, settings.retention, settings.store_password)
    app = make_app(settings, store)
    runner = Runner(
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
        await app[INGEST].drain(settings.stop_timeout)
        await runner.cleanup()
        await asyncio.to_thread(store.close)


@web.middleware
async def _guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Who may, how often, and what is said when it cannot be. Batches have bounds of their own (`intake`)."""
    begun, status = time.perf_counter(), 500
    try:
        _admit(request)
        answer = await handler(request)
        status = answer.status
    except InvalidParameter as wrong:
        status = 400
        refuse(400, str(wrong))
    except StoreUnavailable as wrong:
        status = 503
        request.app[METRICS].store_errors.inc()
        _log.error("%s %s: %s", request.method, request.path, wrong)
        refuse(503, "the store does not answer", {"Retry-After": "5"})
    except web.HTTPException as refusal:
        status = refusal.status
        if refusal.content_type == "text/plain" and request.path.startswith("/v1/"):  # aiohttp's own 404 and 405
            return json_response({"error": refusal.reason}, refusal.status)
        raise
    finally:
        _count(request, status, time.perf_counter() - begun)
    return answer


def _admit(request: web.Request) -> None:
    """Ends the request when it may not be."""
    access, sending = request.app[ACCESS], request.path == EVENTS_PATH
    if access.strange_host(request):
        _turn_away(request, "host", 421, "without tokens this collector answers by address or as localhost only")
    if request.method == "POST" and request.headers.get("Sec-Fetch-Site") == "cross-site":
        _turn_away(request, "host", 403, "a page of another site may not send anything here")
    may = access.may(request, Scope.INGEST if sending else Scope.READ)
    # A client that has the right token sends as much as it likes; one that tries tokens out does not.
    if not (may and sending) and request.path not in FREE and not request.path.startswith(STATIC):
        wait = request.app[_rates(request.path)].take(access.client(request))
        if wait:
            seconds = math.ceil(wait)
            _turn_away(request, "rate", 429, f"too many questions; try again in {seconds} s", {"Retry-After": str(seconds)})
    if not may and request.path.startswith("/v1/"):
        challenge = {"WWW-Authenticate": 'Bearer realm="forklore"'}
        _turn_away(request, "token", 401, "a token is wanted: Authorization: Bearer <token>", challenge)


def _rates(path: str) -> web.AppKey[RateLimit]:
    """Pages are counted apart, with the stream that keeps them live: a script must not shut its own user out of them."""
    is_api = path.startswith("/v1/") and path != "/v1/stream"
    return API_RATES if is_api or path == "/metrics" else PAGE_RATES


def _turn_away(request: web.Request, why: str, status: int, reason: str, headers: Mapping[str, str] | None = None) -> NoReturn:
    request.app[METRICS].turned_away.labels(why).inc()
    refuse(status, reason, headers)


def _count(request: web.Request, status: int, seconds: float) -> None:
    """By the route as it was laid, never as it was asked for: no client makes a series."""
    if request.path == EVENTS_PATH:
        return
    resource = request.match_info.route.resource
    route = "other" if resource is None else resource.canonical
    request.app[METRICS].reads.labels(route, str(status)).inc()
    request.app[METRICS].read_seconds.labels(route).observe(seconds)


async def _headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.popall("Server", None)  # aiohttp's and Python's versions


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
        except StoreUnavailable as wrong:
            app[METRICS].store_errors.inc()
            _log.error("what is too old could not be deleted, tried again in a while: %s", wrong)


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
    """200 when the store can be written and batches are taken."""
    if request.app[INGEST].stopping:
        refuse(503, "this collector is stopping")
    await request.app[STORE].check()
    return json_response({"ok": True})
