"""aiohttp's server with bounds: on connections, headers, idle time and the progress of bodies.

A client that sends no HTTP gets a status, and neither versions nor reasons. Malformed requests are one line of log in ten
seconds, with a count.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any

from aiohttp import web

from wire.http.connections import Bounds, ConnectionCounts, network_of
from wire.http.log_limit import LogLimit

__all__ = ["BoundedRunner", "authenticated"]

_log = logging.getLogger(__name__)


class BoundedRunner(web.AppRunner):
    """`web.AppRunner` within `bounds`. `counts`: its open connections."""

    def __init__(self, app: web.Application, bounds: Bounds, **options: Any) -> None:  # noqa: ANN401  aiohttp's own
        super().__init__(app, access_log=None, keepalive_timeout=bounds.idle_s, **options)
        self._bounds = bounds
        self.counts = ConnectionCounts(bounds)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made, self._bounds, self.counts)


def authenticated(request: web.BaseRequest, credential: str) -> bool:
    """The request has shown a credential: its connection counts for that from now on. `credential`: a stable name of it, not
    the token itself. False: the credential has too many connections, and this one is to be closed."""
    protocol = request.protocol
    return protocol.authenticate(credential) if isinstance(protocol, _Connection) else True


class _Server(web.Server):
    def __init__(self, made: web.Server, bounds: Bounds, counts: ConnectionCounts) -> None:
        super().__init__(made.request_handler, request_factory=made.request_factory, loop=made._loop, **made._kwargs)
        self.bounds, self.counts = bounds, counts
        self._log_limit = LogLimit()

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def malformed(self, peer: str, status: int) -> None:
        """Logs the first of ten seconds, and how many came since."""
        more = self._log_limit.suffix()
        if more is not None:
            _log.warning("a malformed request from %s was answered with %d%s", peer, status, more)


class _Connection(web.RequestHandler):
    __slots__ = ("_admitted", "_body", "_credential", "_header_bytes", "_network", "_received", "_server", "_timer")

    def __init__(self, server: _Server, **options: Any) -> None:  # noqa: ANN401  aiohttp's own
        super().__init__(server, **options)
        self._server = server
        self._admitted = False
        self._network = ""
        self._credential: str | None = None
        self._header_bytes = 0  # of the request that is arriving
        self._body: Any = None  # of the request that arrived last
        self._received = 0  # bytes since the last check of progress
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._network = network_of(str(peer[0])) if isinstance(peer, tuple) else ""
        if not self._server.counts.admit(self._network):
            assert isinstance(transport, asyncio.Transport)  # noqa: S101  TCP
            transport.write(_refusal(HTTPStatus.SERVICE_UNAVAILABLE))
            transport.close()
            self._force_close = True
            return
        self._admitted = True
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop()
        if self._admitted:
            self._admitted = False
            self._server.counts.close(self._network, self._credential)
            super().connection_lost(exc)

    def authenticate(self, credential: str) -> bool:
        if self._credential == credential or not self._admitted:
            return True
        if self._credential is not None:  # another one on the same connection: counted by the first
            return True
        if not self._server.counts.authenticate(self._network, credential):
            return False
        self._credential = credential
        return True

    def data_received(self, data: bytes) -> None:
        if not self._admitted:
            return
        self._received += len(data)
        arriving = self._body is None or self._body.is_eof()  # a request line or headers
        if arriving:
            self._header_bytes += len(data)
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._begun()
        elif arriving and self._header_bytes > self._server.bounds.header_bytes:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif arriving and self._timer is None and self._header_bytes:
            self._timer = self._loop.call_later(self._server.bounds.header_s, self._refuse, HTTPStatus.REQUEST_TIMEOUT)

    def _begun(self) -> None:
        """One or more requests have all their headers."""
        self._stop()
        bounds = self._server.bounds
        for message, _ in self._messages:
            headers = getattr(message, "raw_headers", ())
            if sum(len(name) + len(value) + 4 for name, value in headers) > bounds.header_bytes:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return
        self._header_bytes = 0
        self._body = self._messages[-1][1] if self._messages else None
        if self._body is not None and not self._body.is_eof():
            self._received = 0
            self._timer = self._loop.call_later(bounds.progress_s, self._check_progress)

    def _check_progress(self) -> None:
        """Ends the request unless the body has arrived at the least rate. Where the server reads slowly, it does not count."""
        self._timer = None
        if self._body is None or self._body.is_eof():
            return
        bounds = self._server.bounds
        if self._received < bounds.body_bytes_per_s * bounds.progress_s and not (self._reading_paused or self._buffer_paused):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            return
        self._received = 0
        self._timer = self._loop.call_later(bounds.progress_s, self._check_progress)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answers, where no answer has begun, and ends the connection."""
        self._stop()
        transport = self.transport
        if transport is None:
            return
        self._server.malformed(self._network, status)
        if self._current_request is None:
            transport.write(_refusal(status))
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(ConnectionResetError(status.phrase))
        self.force_close()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """aiohttp's own repeats to the client what it could not read, names itself, and writes a traceback for each."""
        if status >= 500:
            _log.error("%s %s failed", request.method, request.path, exc_info=exc)
        else:
            self._server.malformed(self._network, status)
        if request.writer.output_size > 0:
            raise ConnectionError("a response has begun already")
        response = web.Response(status=status, text=HTTPStatus(status).phrase, headers={"Server": "forklore"})
        response.force_close()
        return response


def _refusal(status: HTTPStatus) -> bytes:
    text = status.phrase.encode()
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nServer: forklore\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(text) + text
