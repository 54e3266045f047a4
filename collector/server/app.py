"""The application: its parts, its routes, and its life from opening the store to the last response."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from collector.api.forks import ForksApi
from collector.api.pods import PodsApi
from collector.api.stream import StreamApi
from collector.http.access import Access, Scope
from collector.http.generated_token import generate_token
from collector.http.limits import RateLimit
from collector.http.metrics import Metrics
from collector.http.responses import HEADERS
from collector.ingest.endpoint import IngestEndpoint, Limits
from collector.pages.routes import Pages
from collector.query import StoreReader
from collector.server import agents, upkeep
from collector.server.guard import guard
from collector.server.keys import ACCESS, AGENTS, API_RATE, CERTIFICATE, INGEST, METRICS, PAGE_RATE, READER, REFUSALS, STORE
from collector.settings import Settings
from collector.store import Store
from wire.batch import EVENTS_PATH
from wire.http.certificate import ServerCertificate
from wire.http.connections import Bounds
from wire.http.log_limit import LogLimit
from wire.http.server import BoundedRunner

__all__ = ["CannotListen", "NoToken", "make_app", "running_collector"]

GRACE: Final = 2.0  # seconds for responses other than a batch's to be read
# An agent keeps one connection. All of 5,000 come back at once after a restart, each anonymous for its first request only.
BOUNDS: Final = Bounds(connections=8192, anonymous=1024, per_address=256, per_credential=6144)


class CannotListen(Exception):
    """The address is taken or not this machine's; the text says which and why."""


class NoToken(Exception):
    """The file of the generated token can't be made; the text says why."""


def make_app(settings: Settings, store: Store) -> web.Application:
    """The application on an open store, which the caller closes after the application."""
    app = web.Application(middlewares=[guard], client_max_size=64 * 1024)
    app[STORE], app[METRICS] = store, Metrics()
    app[READER] = StoreReader(store)
    app[API_RATE], app[PAGE_RATE] = RateLimit(settings.read_rate), RateLimit(settings.read_rate)
    app[REFUSALS] = LogLimit()
    if settings.cert_file is not None:
        app[CERTIFICATE] = ServerCertificate(settings.cert_file, settings.key_file)
    verifier = agents.verifier(settings)
    app[ACCESS] = Access(settings.token_files, verifier, settings.trusted_proxies, is_open=settings.access == "open")
    if verifier is not None:
        app[AGENTS] = verifier
        app.cleanup_ctx.append(agents.reading_keys(verifier))
    _add_routes(app, settings)
    app.on_response_prepare.append(_add_headers)
    app.cleanup_ctx.append(upkeep.sweeping(settings.retention))
    return app


@asynccontextmanager
async def running_collector(settings: Settings) -> AsyncIterator[str]:
    """A collector in this process for as long as the block runs; gives its URL. Raises `CannotListen`, `CertificateError`,
    `NoToken`, `StoreUnavailable`.

    On the way out it refuses new requests, finishes the running ones (at most `stop_timeout`), and closes the store.
    """
    if settings.generated_read_token_file:
        try:
            await asyncio.to_thread(generate_token, settings.generated_read_token_file)
        except OSError as error:
            raise NoToken(f"{settings.generated_read_token_file} can't be made: {error.strerror}") from error
    store = Store.open(settings.store, settings.retention, settings.store_password)
    app = make_app(settings, store)
    runner = BoundedRunner(
        app,
        BOUNDS,
        app.get(CERTIFICATE),
        auto_decompress=False,  # `collector.ingest.bodies` does, with a bound
        shutdown_timeout=GRACE,
        handle_signals=False,
    )
    try:
        await runner.setup()
        yield await _listen(runner, settings.listen, "https" if CERTIFICATE in app else "http")
    finally:
        # aiohttp stops reading at once, so that a batch half received could never be finished: first drain.
        for site in list(runner.sites):
            await site.stop()
        await app[INGEST].drain(settings.stop_timeout)
        await runner.cleanup()
        await asyncio.to_thread(app[INGEST].close)
        await asyncio.to_thread(store.close)


async def _listen(runner: BoundedRunner, listen: str, scheme: str) -> str:
    """The URL."""
    parts = urlsplit(f"//{listen}")
    try:
        await web.TCPSite(runner, parts.hostname, parts.port).start()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise CannotListen(f"cannot listen on {listen}: {why}") from error
    host, port, *_ = runner.addresses[0]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _add_routes(app: web.Application, settings: Settings) -> None:
    store, reader, metrics, access = app[STORE], app[READER], app[METRICS], app[ACCESS]
    limits = Limits(
        settings.max_body, settings.max_batch, settings.max_line, settings.max_lines, settings.body_timeout, settings.batches
    )
    stream = StreamApi(reader, metrics, settings.streams, lambda request: access.may(request, Scope.READ))
    app[INGEST] = IngestEndpoint(store, metrics, limits, stream.notify)
    app.router.add_post(EVENTS_PATH, app[INGEST].post)
    PodsApi(reader).add_routes(app.router)
    ForksApi(reader, metrics, settings.exports, settings.export_forks).add_routes(app.router)
    stream.add_routes(app)
    upkeep.add_routes(app)
    Pages(reader, access).add_routes(app.router)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
