"""The connection to one receiver, kept alive between batches, with TLS, token and proxy as the settings and files say.

Each sink has its own, so that a receiver that hangs takes nothing from another sink.
"""

from __future__ import annotations

import asyncio
import io
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import aiohttp
from yarl import URL

from agent.sinks.delivery.addresses import AddressOrder, OrderedResolver
from agent.sinks.delivery.credentials import CertificateFiles, FileError, read_token, tls_context
from agent.sinks.delivery.responses import MAX_BODY_BYTES
from wire import VERSION
from wire.http.file_versions import FileVersions, file_versions

__all__ = ["TIMEOUTS", "Connection", "Destination", "Response", "Timeouts"]

_KEEP_ALIVE_S: Final = 75.0  # between batches: longer than the longest `batch.wait`; a receiver may close earlier
_AGE_S: Final = (240.0, 360.0)  # of a connection, so that a replica that is new gets its share; between the two, at random
_CHECK_S: Final = 1.0  # how often the timeouts are checked
_TCP_INFO: Final = struct.Struct("=120xQQ")  # struct tcp_info (linux/tcp.h): tcpi_bytes_acked, tcpi_bytes_received
_MIN_SECRET: Final = 4  # characters; a shorter one would be found in most texts


@dataclass(frozen=True, slots=True)
class Destination:
    """A receiver's address and the files for access to it.

    `ca_file`, `cert_file`, `key_file`: see CertificateFiles. `proxy`: http:// or https://, with user and password if it needs
    them; environment variables have no effect.
    """

    url: str = field(repr=False)  # its path may be the secret
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)


class Timeouts(NamedTuple):
    """Seconds. `connect`: TCP and TLS, to the proxy and to the receiver each. `idle`: while no byte moves in either direction.
    `response`: from the last byte that the receiver acknowledged to the end of its response. A body that moves is never cut
    off."""

    connect: float = 10.0
    idle: float = 30.0
    response: float = 60.0


TIMEOUTS: Final = Timeouts()


class Response(NamedTuple):
    """`body`: decompressed, and cut at MAX_BODY_BYTES."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """An async context manager, which closes the connection. `authorization`: a token's text -> headers.

    `receiver`, `proxy`: host:port, for messages. `secrets`: texts that no message may show. `reconnected`: times that the
    receiver had closed the kept connection and the request was sent once more.
    """

    def __init__(
        self, destination: Destination, authorization: Callable[[str], Mapping[str, str]], timeouts: Timeouts = TIMEOUTS
    ) -> None:
        self._destination = destination
        self._certificates = CertificateFiles(destination.ca_file, destination.cert_file, destination.key_file)
        self._authorization = authorization
        self._timeouts = timeouts
        url, proxy = URL(destination.url), URL(destination.proxy) if destination.proxy else None
        self.receiver = f"{url.host_subcomponent}:{url.port}"
        self.proxy = f"{proxy.host_subcomponent}:{proxy.port}" if proxy else None
        self._tls = "https" in (url.scheme, proxy.scheme if proxy else None)
        self._proxy_secrets = [proxy.password] if proxy and proxy.password else []
        self.secrets: frozenset[str] = frozenset(self._proxy_secrets)
        self._session: aiohttp.ClientSession | None = None
        self._session_files: FileVersions = ()
        self._posted_files: FileVersions = ()
        self._sockets: list[socket.socket] = []
        self._addresses = AddressOrder()
        self._old_at = 0.0  # the loop's time
        self._reused = False
        self.reconnected = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        self._shut_down_sockets()

    async def leave_address(self) -> None:
        """The next `post` opens a connection, to another address of the receiver's name if there is one."""
        for one in reversed(self._sockets):
            with suppress(OSError):  # it is closed, or not connected
                self._addresses.failed(one.getpeername()[0])
                break
        await self.close()

    def files_changed(self) -> bool:
        """A token or certificate file has been replaced since the last `post`."""
        return file_versions(self._files) != self._posted_files

    def redact(self, text: str) -> str:
        """The text without secrets, which a receiver may repeat in its response."""
        for secret in self.secrets:
            text = text.replace(secret, "[secret]")
        return text

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Response:
        """Returns the whole response. Raises FileError, aiohttp.ClientError, OSError (TimeoutError), ValueError."""
        self._posted_files = file_versions(self._files)
        headers = {**headers, **self._authorized()}
        session = await self._open_session()
        try:
            return await self._once(session, body, headers)
        except aiohttp.ClientConnectionError:
            # A receiver may close an idle connection, and only the next request shows it. That is no failure.
            if not self._reused:
                raise
        self.reconnected += 1
        return await self._once(session, body, headers)

    @property
    def _files(self) -> tuple[Path | None, ...]:
        return self._destination.token_file, *self._certificates

    def _authorized(self) -> Mapping[str, str]:
        """Reads the token for every try, which costs no more than a check whether it changed. Raises FileError."""
        file = self._destination.token_file
        if file is None:
            return {}
        token = read_token(file)
        try:
            headers = self._authorization(token)
        except ValueError as error:
            raise FileError(f"token_file {file}: {error}") from error
        secrets = {token, *(value.rpartition(" ")[2] for value in headers.values()), *self._proxy_secrets}
        self.secrets = frozenset(one for one in secrets if len(one) >= _MIN_SECRET)
        return headers

    async def _open_session(self) -> aiohttp.ClientSession:
        """The session, or a new one when the certificate files have changed. Raises FileError."""
        files = file_versions(self._certificates)
        now = asyncio.get_running_loop().time()
        if self._session is None or files != self._session_files or now >= self._old_at:
            await self.close()
            connector = aiohttp.TCPConnector(
                limit=1,
                resolver=OrderedResolver(self._addresses),
                use_dns_cache=False,  # it is asked for a new connection only, and must say which addresses there are now
                keepalive_timeout=_KEEP_ALIVE_S,
                ssl=tls_context(self._certificates) if self._tls and any(self._certificates) else True,
                socket_factory=self._make_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),  # no receiver can set a cookie
                proxy=self._destination.proxy,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect),
                headers={"User-Agent": f"forklore/{VERSION}"},
                trace_configs=[self._trace_config()],
            )
            self._session_files = files
            self._old_at = now + random.uniform(*_AGE_S)  # noqa: S311  no secret
        return self._session

    async def _once(self, session: aiohttp.ClientSession, request_body: bytes, headers: Mapping[str, str]) -> Response:
        # As a stream: bytes would be copied and encrypted in one piece, for which the event loop would wait.
        request = session.post(self._destination.url, data=io.BytesIO(request_body), headers=headers, allow_redirects=False)
        async with self._timeouts_apply(), request as response:
            body = bytearray()
            async for chunk in response.content.iter_any():  # to the end: half a response is no response
                body += chunk
                if len(body) >= MAX_BODY_BYTES:
                    break
            return Response(response.status, response.headers, bytes(body[:MAX_BODY_BYTES]))

    @asynccontextmanager
    async def _timeouts_apply(self) -> AsyncIterator[None]:
        """Raises TimeoutError when one is passed. Bytes that TCP has had acknowledged show whether a receiver is slow or stands
        still; our own writes do not, since megabytes fit into the socket's buffer."""
        loop, timeouts = asyncio.get_running_loop(), self._timeouts
        interval = min(_CHECK_S, timeouts.idle / 4)
        moved, now = self._bytes_moved(), loop.time()
        idle, response = now + timeouts.idle, now + timeouts.response
        later: asyncio.TimerHandle | None = None
        async with asyncio.timeout_at(min(idle, response)) as deadline:
            # Passed to itself: a closure over its own name would be a reference cycle for each try, and the garbage collector
            # runs rarely.
            def watch(again: Callable[..., None]) -> None:
                nonlocal moved, idle, response, later
                before, moved, now = moved, self._bytes_moved(), loop.time()
                if moved != before:
                    idle = now + timeouts.idle
                if moved[0] != before[0]:
                    response = now + timeouts.response
                if not deadline.expired():
                    deadline.reschedule(min(idle, response))
                    later = loop.call_later(interval, again, again)

            watch(watch)
            try:
                yield
            finally:
                if later is not None:
                    later.cancel()

    def _bytes_moved(self) -> tuple[int, int]:
        """Bytes acknowledged by the other end, and received from it, over the connection in use."""
        for one in reversed(self._sockets):
            with suppress(OSError):  # it is closed
                acknowledged, received = _TCP_INFO.unpack(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
                return acknowledged, received
        return 0, 0

    def _make_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """Called by aiohttp, so that we know the socket: several times, when the host has several addresses."""
        family, kind, protocol, _, _ = address
        new = socket.socket(family, kind, protocol)
        self._sockets = [*(one for one in self._sockets if one.fileno() >= 0), new]
        return new

    def _shut_down_sockets(self) -> None:
        """A closed transport stays until its buffer has been sent, which never happens when the receiver hangs."""
        for one in self._sockets:
            with suppress(OSError):  # it is closed
                one.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def _trace_config(self) -> aiohttp.TraceConfig:
        async def reused(*_: object) -> None:
            self._reused = True

        async def created(*_: object) -> None:
            self._reused = False
            self._shut_down_sockets()  # there is only one connection: others are no longer in use

        traces = aiohttp.TraceConfig()
        traces.on_connection_reuseconn.append(reused)
        traces.on_connection_create_start.append(created)
        return traces
