"""The HTTP client of a collector: GET and server-sent events. Every failure is a `CommandError`."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

from cli.client.errors import NOT_UNDERSTOOD, WRONG_SETTINGS, CommandError
from cli.client.failures import connection_error, response_error
from cli.client.json_view import JsonView
from cli.client.sse import ServerEvent, ServerEvents, TooLong
from cli.options import Access
from cli.text.progress import Progress
from wire import VERSION
from wire.http.file_versions import FileVersions, file_versions
from wire.names import visible

__all__ = ["Collector", "Query", "StreamChunk"]

Query = Sequence[tuple[str, str]]

CONNECT_TIMEOUT: Final = 5.0  # seconds
READ_TIMEOUT: Final = 30.0  # seconds without a byte of an answer
STREAM_TIMEOUT: Final = 45.0  # seconds without a byte of a stream: the collector sends something every 15
MAX_ANSWER: Final = 64 << 20  # bytes of one answer
MAX_ERROR_BODY: Final = 64 << 10  # bytes of an error that are read
_CHUNK: Final = 64 << 10


class StreamChunk(NamedTuple):
    """`last_id`: the stream's position after these events; "" where the collector sends none."""

    events: list[ServerEvent]
    last_id: str


class Collector:
    """`async with Collector(access) as collector:`. Raises `CommandError` when a file can't be read."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._ca_version: FileVersions | None = None
        self._trust: ssl.SSLContext | bool = True  # the system's CAs

    @property
    def display_url(self) -> str:
        """The collector's address without its password."""
        return self._access.display_url

    async def __aenter__(self) -> Collector:
        self._read_trust()
        self._session = aiohttp.ClientSession(headers={"User-Agent": f"forklore/{VERSION}"}, read_bufsize=1 << 20)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, path: Iterable[str], query: Query = (), progress: Progress | None = None) -> JsonView:
        """The JSON at a path of these segments."""
        body = bytearray()
        async with self._request(path, query, {"Accept": "application/json"}, READ_TIMEOUT) as answer:
            async for piece in answer.content.iter_chunked(_CHUNK):
                body += piece
                if len(body) > MAX_ANSWER:
                    raise CommandError(
                        NOT_UNDERSTOOD,
                        f"{self.display_url} answers with over {MAX_ANSWER >> 20} MiB: ask for less",
                    )
                if progress and len(body) > MAX_ANSWER >> 6:
                    progress.detail = f"{len(body) / (1 << 20):.1f} MiB"
        try:
            return JsonView(orjson.loads(body))
        except ValueError:
            raise CommandError(NOT_UNDERSTOOD, f"{self.display_url} does not answer with JSON: is it a collector?") from None

    @asynccontextmanager
    async def stream(self, query: Query, last_id: str) -> AsyncIterator[AsyncIterator[StreamChunk]]:
        """The events of `/v1/stream` as they arrive, after `last_id` where it is given, until the collector ends the stream."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"} | ({"Last-Event-ID": last_id} if last_id else {})
        async with self._request(("v1", "stream"), query, headers, STREAM_TIMEOUT) as answer:
            if answer.content_type != "text/event-stream":
                raise CommandError(NOT_UNDERSTOOD, f"{self.display_url} does not answer with a stream: is it a collector?")
            yield self._events(answer)

    async def _events(self, answer: aiohttp.ClientResponse) -> AsyncIterator[StreamChunk]:
        events = ServerEvents()
        try:
            async for piece in answer.content.iter_any():
                yield StreamChunk(events.feed(piece), events.last_id)
        except TooLong:
            raise CommandError(NOT_UNDERSTOOD, f"{self.display_url} sends an endless event: is it a collector?") from None

    @asynccontextmanager
    async def _request(
        self, path: Iterable[str], query: Query, headers: dict[str, str], read_timeout: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=read_timeout)
        token = self._token()
        try:
            async with self._session.get(
                self._url(path, query), headers=headers | token, timeout=timeout, allow_redirects=False, ssl=self._read_trust()
            ) as answer:
                if answer.status != 200:
                    body = await answer.content.read(MAX_ERROR_BODY)
                    raise response_error(answer.status, answer.headers, body, self.display_url, token=bool(token))
                yield answer
        except (aiohttp.ClientError, OSError) as error:
            raise connection_error(error, self.display_url) from error

    def _url(self, path: Iterable[str], query: Query) -> URL:
        """Bytes of arguments that are not UTF-8 become U+FFFD, as in the events."""
        segments = "/".join(quote(_as_utf8(segment), safe="") for segment in path)
        arguments = urlencode([(name, _as_utf8(value)) for name, value in query])
        return URL(f"{self._access.url}/{segments}{'?' if arguments else ''}{arguments}", encoded=True)

    def _read_trust(self) -> ssl.SSLContext | bool:
        """Reads the CAs again when their file has changed. Those before stay while it can't be read: it is being replaced."""
        file = self._access.ca_file
        if file is None or (version := file_versions((file,))) == self._ca_version:
            return self._trust
        try:
            self._trust = ssl.create_default_context(cafile=str(file))
        except OSError as error:  # an SSLError is an OSError, but has no strerror for a file that is no PEM
            if self._ca_version is None:
                reason = error.strerror if not isinstance(error, ssl.SSLError) else "it contains no certificate"
                raise CommandError(WRONG_SETTINGS, f"--ca-file {visible(str(file))}: {reason}") from None
        self._ca_version = version
        return self._trust

    def _token(self) -> dict[str, str]:
        """The header with the file's first line, because a collector's own file may have several. It is read for each request,
        because secrets are rotated."""
        file = self._access.token_file
        if file is None:
            return {}
        try:
            token = next(iter(file.read_text().split("\n", 1)), "").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise CommandError(WRONG_SETTINGS, f"--token-file {visible(str(file))}: {reason}") from None
        if not token or not token.isprintable() or not token.isascii() or " " in token:
            raise CommandError(WRONG_SETTINGS, f"--token-file {visible(str(file))}: it contains no token")
        return {"Authorization": f"Bearer {token}"}


def _as_utf8(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
