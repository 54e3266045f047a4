"""The way to one receiver: one connection, kept alive between batches, with TLS, token and proxy as files and settings say.

Each sink has its own, so a receiver that hangs uses up nothing of another's. Must not live here: batches, what an answer
means, when to try again.
"""

from __future__ import annotations

import asyncio
import io
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

from agent.sinks.delivery.credentials import CertificateFiles, FileError, Look, look, read_token, tls_context
from agent.sinks.delivery.responses import MOST_BYTES
from wire import VERSION

__all__ = ["TIMEOUTS", "Connection", "Destination", "Response", "Timeouts"]

_KEEP_S: Final = 75.0  # between batches: longer than the longest `batch.wait`; a receiver may close earlier
_LOOK_S: Final = 1.0  # how often the limits are looked at
_MOVED: Final = struct.Struct("=120xQQ")  # struct tcp_info (linux/tcp.h): tcpi_bytes_acked, tcpi_bytes_received
_SHORTEST_SECRET: Final = 4  # characters; what is shorter is in every word


@dataclass(frozen=True, slots=True)
class Destination:
    """`ca_file`, `cert_file`, `key_file`: see CertificateFiles. `proxy`: http:// or https://, with user and password if it
    wants them; nothing is taken from the environment."""

    url: str = field(repr=False)  # its path may be the secret
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)


class Timeouts(NamedTuple):
    """Seconds. `connect`: TCP and TLS, to the proxy and to the receiver each. `quiet`: while nothing moves in either direction.
    `answer`: from the last byte that the receiver took to the end of its answer. A body that moves is never cut off."""

    connect: float = 10.0
    idle: float = 30.0
    response: float = 60.0


TIMEOUTS: Final = Timeouts()


class Response(NamedTuple):
    """`body`: unpacked, and cut at MOST_BYTES."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """`authorization`: a token's text -> headers. An async context manager: it ends with nothing left open."""

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
        self._made_of: Look = ()
        self._seen: Look = ()
        self._sockets: list[socket.socket] = []
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
        self._drop()

    def changed(self) -> bool:
        """A file is another one than at the last `post`."""
        return look(self._files) != self._seen

    def redact(self, text: str) -> str:
        """A receiver may say what it was told."""
        for secret in self.secrets:
            text = text.replace(secret, "[secret]")
        return text

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Response:
        """The whole answer. Raises FileWrong, aiohttp.ClientError, OSError (TimeoutError), ValueError."""
        self._seen = look(self._files)
        headers = {**headers, **self._authorized()}
        session = await self._opened()
        try:
            return await self._once(session, body, headers)
        except aiohttp.ClientConnectionError:
            # A receiver may close a connection that it finds idle; that is no failure, and we learn of it now.
            if not self._reused:
                raise
        self.reconnected += 1
        return await self._once(session, body, headers)

    @property
    def _files(self) -> tuple[Path | None, ...]:
        return self._destination.token_file, *self._certificates

    def _authorized(self) -> Mapping[str, str]:
        """Read for every try, which costs no more than to look whether it changed. Raises FileWrong."""
        file = self._destination.token_file
        if file is None:
            return {}
        token = read_token(file)
        try:
            headers = self._authorization(token)
        except ValueError as error:
            raise FileError(f"token_file {file}: {error}") from error
        secrets = {token, *(value.rpartition(" ")[2] for value in headers.values()), *self._proxy_secrets}
        self.secrets = frozenset(one for one in secrets if len(one) >= _SHORTEST_SECRET)
        return headers

    async def _opened(self) -> aiohttp.ClientSession:
        """A session whose certificates are those in the files. Raises FileWrong."""
        made_of = look(self._certificates)
        if self._session is None or made_of != self._made_of:
            await self.close()
            connector = aiohttp.TCPConnector(
                limit=1,
                keepalive_timeout=_KEEP_S,
                ssl=tls_context(self._certificates) if self._tls and any(self._certificates) else True,
                socket_factory=self._socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),  # a receiver can't make us carry anything
                proxy=self._destination.proxy,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect),
                headers={"User-Agent": f"forklore/{VERSION}"},
                trace_configs=[self._traced()],
            )
            self._made_of = made_of
        return self._session

    async def _once(self, session: aiohttp.ClientSession, request_body: bytes, headers: Mapping[str, str]) -> Response:
        # A stream of it, not the bytes: those would be copied, and encrypted, in one piece that the loop waits for.
        request = session.post(self._destination.url, data=io.BytesIO(request_body), headers=headers, allow_redirects=False)
        async with self._in_time(), request as response:
            body = bytearray()
            async for chunk in response.content.iter_any():  # to the end: half a response is no response
                body += chunk
                if len(body) >= MOST_BYTES:
                    break
            return Response(response.status, response.headers, bytes(body[:MOST_BYTES]))

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Raises TimeoutError when a limit is passed. What the kernel has had acknowledged tells a slow receiver from one that
        stands still; our own writes don't, for megabytes fit into the socket's buffer."""
        loop, timeouts = asyncio.get_running_loop(), self._timeouts
        every = min(_LOOK_S, timeouts.idle / 4)
        moved, now = self._moved(), loop.time()
        idle, response = now + timeouts.idle, now + timeouts.response
        later: asyncio.TimerHandle | None = None
        async with asyncio.timeout_at(min(idle, response)) as deadline:
            # Handed to itself: by naming itself it would be a cycle, one a try, and Python looks for those once an hour.
            def watch(again: Callable[..., None]) -> None:
                nonlocal moved, idle, response, later
                before, moved, now = moved, self._moved(), loop.time()
                if moved != before:
                    idle = now + timeouts.idle
                if moved[0] != before[0]:
                    response = now + timeouts.response
                if not deadline.expired():
                    deadline.reschedule(min(idle, response))
                    later = loop.call_later(every, again, again)

            watch(watch)
            try:
                yield
            finally:
                if later is not None:
                    later.cancel()

    def _moved(self) -> tuple[int, int]:
        """Bytes that the other end has acknowledged, and that came from it, over the connection in use."""
        for one in reversed(self._sockets):
            with suppress(OSError):  # it is closed
                acknowledged, received = _MOVED.unpack(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MOVED.size))
                return acknowledged, received
        return 0, 0

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """aiohttp's way of handing over a socket is to have it made. More than one: a name with several addresses."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._sockets = [*(one for one in self._sockets if one.fileno() >= 0), made]
        return made

    def _drop(self) -> None:
        """A transport that was closed stays until what is in its buffer has been sent: with a receiver that hangs, for ever."""
        for one in self._sockets:
            with suppress(OSError):  # it is closed
                one.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def _traced(self) -> aiohttp.TraceConfig:
        async def reused(*_: object) -> None:
            self._reused = True

        async def made(*_: object) -> None:
            self._reused = False
            self._drop()  # there is one connection only, so what is left of others was given up

        traces = aiohttp.TraceConfig()
        traces.on_connection_reuseconn.append(reused)
        traces.on_connection_create_start.append(made)
        return traces
