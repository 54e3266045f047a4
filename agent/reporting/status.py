"""The status port's endpoints: /healthz /readyz /metrics, /v1/pods /v1/ledger.

Ready means capturing. A sink's 401 or an API server that does not answer is text and a metric, not unreadiness: else one
bad token would hold up a rollout.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
from aiohttp import web

from wire.http.certificate import ServerCertificate
from wire.http.connections import Bounds
from wire.http.server import BoundedRunner

__all__ = ["Reports", "serving", "status_app"]

# The kubelet, Prometheus and a few people; each asks for a moment.
BOUNDS: Final = Bounds(connections=64, anonymous=64, per_address=32, per_credential=32)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Reports(Protocol):
    """The agent's state at any time, without waiting."""

    @property
    def begun(self) -> bool:
        """Whether there is anything to report yet."""
        ...

    def alive(self) -> str | None:
        """None when the loop makes turns; else what hangs."""

    def ready(self) -> str | None:
        """None when capturing; else why not."""

    def warnings(self) -> list[str]:
        """What an operator should correct, though it captures."""
        ...

    def ledger(self) -> dict[str, Any]: ...

    def pods(self) -> dict[str, Any]: ...


class Exposition(Protocol):
    """The metrics, as text."""

    content_type: str

    def text(self) -> bytes: ...


def status_app(
    reports: Reports, exposition: Exposition, token_file: Path | None, certificate: ServerCertificate | None = None
) -> web.Application:
    async def healthz(_request: web.Request) -> web.Response:
        return _verdict(reports.alive())

    async def readyz(_request: web.Request) -> web.Response:
        own = certificate.warning(time.time()) if certificate else None
        return _verdict(reports.ready(), [*([own] if own else []), *(reports.warnings() if reports.begun else [])])

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=exposition.text(), headers={"Content-Type": exposition.content_type})

    async def ledger(_request: web.Request) -> web.Response:
        return _json(reports.ledger())

    async def pods(_request: web.Request) -> web.Response:
        return _json(reports.pods())

    app = web.Application(middlewares=[_guard(reports, token_file)], client_max_size=1024)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/v1/ledger", ledger)
    app.router.add_get("/v1/pods", pods)
    return app


async def serving(app: web.Application, where: str, certificate: ServerCertificate | None = None) -> web.AppRunner:
    """`where`: address and port. `certificate`: it speaks TLS. The caller ends it by its `cleanup`. Raises OSError: the port is
    taken."""
    runner = BoundedRunner(app, BOUNDS, certificate)
    await runner.setup()
    host, _, port = where.rpartition(":")
    await web.TCPSite(runner, host.strip("[]"), int(port)).start()
    return runner


def _guard(reports: Reports, token_file: Path | None) -> Callable[..., Awaitable[web.StreamResponse]]:
    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not reports.begun and not request.path.endswith("z"):
            return web.Response(status=503, text="capture is about to begin\n")
        if token_file is not None and request.path.startswith("/v1/"):
            try:
                token = _token(token_file)
            except OSError as error:
                return web.Response(status=503, text=f"the status token can't be read: {error.strerror}\n")
            given = request.headers.get("Authorization", "").encode(errors="replace")
            if not token or not hmac.compare_digest(given, b"Bearer " + token):
                return web.Response(status=401, text="wants the bearer token\n", headers={"WWW-Authenticate": "Bearer"})
        return await handler(request)

    return guard


def _token(file: Path) -> bytes:
    return file.read_bytes().strip()


def _verdict(trouble: str | None, warnings: Sequence[str] = ()) -> web.Response:
    if trouble is not None:
        return web.Response(status=503, text=trouble + "\n")
    return web.Response(text="".join(f"{line}\n" for line in ("ok", *warnings)))


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
