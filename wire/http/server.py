"""aiohttp's server with bounds: on connections, TLS handshakes, headers, idle time and the progress of bodies.

A client that sends no HTTP gets a status, and neither versions nor reasons. Malformed requests are one line of log in ten
seconds, with a count.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from http import HTTPStatus
from typing import Any

from aiohttp import web

from wire.http.certificate import ServerCertificate
from wire.http.connections import Bounds, ConnectionCounts, network_of
from wire.http.handshake import Handshake
from wire.http.log_limit import LogLimit

__all__ = ["BoundedRunner", "authenticated"]

_log = logging.getLogger(__name__)


class BoundedRunner(web.AppRunner):
    """`web.AppRunner` within `bounds`, over TLS where there is a `certificate`. `counts`: its open connections, of which those
    in a handshake are a part."""

    def __init__(
        self,
        app: web.Application,
        bounds: Bounds,
        certificate: ServerCertificate | None = None,
        **options: Any,  # noqa: ANN401  aiohttp's own
    ) -> None:
        super().__init__(app, access_log=None, keepalive_timeout=bounds.idle_s, **options)
        app.on_response_prepare.append(_without_versions)
        self._bounds, self._certificate = bounds, certificate
        self.counts = ConnectionCounts(bounds)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made, self._bounds, self.counts, self._certificate)


async def _without_versions(_request: web.Request, response: web.StreamResponse) -> None:
    """aiohttp names itself and Python, with their versions, to everyone who asks."""
    response.headers.popall("Server", None)


def authenticated(request: web.BaseRequest, credential: str) -> bool:
    """The request has shown a credential: its connection counts for that from now on. `credential`: a stable name of it, not
    the token itself. False: the credential has too many connections, and this one is to be closed."""
    protocol = request.protocol
    return protocol.authenticate(credential) if isinstance(protocol, _Connection) else True


class _Server(web.Server):
    def __init__(
        self, made: web.Server, bounds: Bounds, counts: ConnectionCounts, certificate: ServerCertificate | None
    ) -> None:
        super().__init__(made.request_handler, request_factory=made.request_factory, loop=made._loop, **made._kwargs)
        self.bounds, self.counts, self.certificate = bounds, counts, certificate
        self._log_limit = LogLimit()
        self._handshakes: set[Handshake] = set()

    def __call__(self) -> asyncio.Protocol:  # type: ignore[override]  # aiohttp's own class is one
        return _Incoming(self)

    def begin(self, transport: asyncio.Transport) -> None:
        """Answers an incoming connection, if it is not one too many."""
        network = _network(transport)
        if not self.counts.admit(network):
            if self.certificate is None:
                transport.write(_refusal(HTTPStatus.SERVICE_UNAVAILABLE))
            transport.close()
        elif self.certificate is None:
            self._serve(transport, network)
        else:
            self._shake_hands(transport, network, self.certificate.context)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  aiohttp's own
        for handshake in list(self._handshakes):
            handshake.abort()
        await super().shutdown(timeout)

    def _serve(self, transport: asyncio.Transport, network: str, received: bytes = b"") -> None:
        connection = _Connection(self, network, loop=self._loop, **self._kwargs)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if received:
            connection.data_received(received)

    def _shake_hands(self, transport: asyncio.Transport, network: str, context: ssl.SSLContext) -> None:
        def agreed(encrypted: asyncio.Transport, received: bytes) -> None:
            self._handshakes.discard(handshake)
            self._serve(encrypted, network, received)

        def failed() -> None:
            self._handshakes.discard(handshake)
            self.counts.close(network, None)

        handshake = Handshake(context, self.bounds.header_s, agreed, failed)
        self._handshakes.add(handshake)
        transport.set_protocol(handshake)
        handshake.connection_made(transport)

    def malformed(self, peer: str, status: int) -> None:
        """Logs the first of ten seconds, and how many came since."""
        more = self._log_limit.suffix()
        if more is not None:
            _log.warning("a malformed request from %s was answered with %d%s", peer, status, more)


class _Incoming(asyncio.Protocol):
    """The protocol of a connection until its server has counted it."""

    def __init__(self, server: _Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  TCP
        self._server.begin(transport)


class _Connection(web.RequestHandler):
    """An admitted connection from `network`, until it has shown a credential."""

    __slots__ = ("_body", "_credential", "_header_bytes", "_network", "_received", "_server", "_timer")

    def __init__(self, server: _Server, network: str, **options: Any) -> None:  # noqa: ANN401  aiohttp's own
        super().__init__(server, **options)
        self._server, self._network = server, network
        self._credential: str | None = None
        self._header_bytes = 0  # of the request that is arriving
        self._body: Any = None  # of the request that arrived last
        self._received = 0  # bytes since the last check of progress
        self._timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop()
        self._server.counts.close(self._network, self._credential)
        super().connection_lost(exc)

    def authenticate(self, credential: str) -> bool:
        if self._credential is not None or self.transport is None:  # counted by the first that it has shown; or it has gone
            return True
        if not self._server.counts.authenticate(self._network, credential):
            return False
        self._credential = credential
        return True

    def data_received(self, data: bytes) -> None:
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
        if exc is not None and request.content.exception() is exc:  # the body broke off, by its client or by `_refuse`
            status = HTTPStatus.BAD_REQUEST
        if status >= 500:
            _log.error("%s %s failed", request.method, request.path, exc_info=exc)
        else:
            self._server.malformed(self._network, status)
        if request.writer.output_size > 0:
            raise ConnectionError("a response has begun already")
        response = web.Response(status=status, text=HTTPStatus(status).phrase, headers={"Server": "forklore"})
        response.force_close()
        return response


def _network(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return network_of(str(peer[0])) if isinstance(peer, tuple) else ""


def _refusal(status: HTTPStatus) -> bytes:
    text = status.phrase.encode()
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nServer: forklore\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(text) + text
