"""The one speaker to a collector: GET and server-sent events over HTTP, with every failure as a `Trouble`.

Must not live here: what is asked for, and what becomes of the answer.
"""

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

from cli.client.errors import NOT_UNDERSTOOD, WRONG_SETTINGS, Trouble
from cli.client.json_view import Said
from cli.client.refusals import refused, unreachable
from cli.client.sse import ServerEvent, ServerEvents, TooLong
from cli.options import Access
from cli.text.progress import Progress
from wire import VERSION
from wire.names import visible

__all__ = ["Collector", "Query", "Told"]

Query = Sequence[tuple[str, str]]

CONNECT: Final = 5.0  # seconds
QUIET: Final = 30.0  # seconds without a byte of an answer
HEARTBEATS: Final = 45.0  # seconds without a byte of a stream: the collector sends something every 15
MOST: Final = 64 << 20  # bytes of one answer
MOST_REFUSAL: Final = 64 << 10  # bytes of an error that are read
_PIECE: Final = 64 << 10


class Told(NamedTuple):
    """`last_id`: where the stream stands after these events; "" where the collector does not say."""

    events: list[ServerEvent]
    last_id: str


class Collector:
    """`async with Collector(access) as collector:`. Raises `Trouble` when a file can't be read."""

    def __init__(self, access: Access) -> None:
        self._access = access

    @property
    def shown(self) -> str:
        """Its address, for people."""
        return self._access.shown

    async def __aenter__(self) -> Collector:
        tls: ssl.SSLContext | bool = True
        if self._access.ca_file is not None:
            try:
                tls = ssl.create_default_context(cafile=str(self._access.ca_file))
            except OSError as wrong:  # SSLError, which is one, has no strerror for a file that is no PEM
                why = wrong.strerror if not isinstance(wrong, ssl.SSLError) else "there is no certificate in it"
                raise Trouble(WRONG_SETTINGS, f"--ca-file {visible(str(self._access.ca_file))}: {why}") from None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls), headers={"User-Agent": f"forklore/{VERSION}"}, read_bufsize=1 << 20
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, path: Iterable[str], query: Query = (), progress: Progress | None = None) -> Said:
        """The JSON at a path of these segments."""
        body = bytearray()
        async with self._asked(path, query, {"Accept": "application/json"}, QUIET) as answer:
            async for piece in answer.content.iter_chunked(_PIECE):
                body += piece
                if len(body) > MOST:
                    raise Trouble(NOT_UNDERSTOOD, f"{self.shown} answers with over {MOST >> 20} MiB: ask for less")
                if progress and len(body) > MOST >> 6:
                    progress.detail = f"{len(body) / (1 << 20):.1f} MiB"
        try:
            return Said(orjson.loads(body))
        except ValueError:
            raise Trouble(NOT_UNDERSTOOD, f"{self.shown} answers with what is no JSON: is it a collector?") from None

    @asynccontextmanager
    async def stream(self, query: Query, last_id: str) -> AsyncIterator[AsyncIterator[Told]]:
        """What `/v1/stream` tells as it comes, after `last_id` where it is given; ends when the collector ends it."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"} | ({"Last-Event-ID": last_id} if last_id else {})
        async with self._asked(("v1", "stream"), query, headers, HEARTBEATS) as answer:
            if answer.content_type != "text/event-stream":
                raise Trouble(NOT_UNDERSTOOD, f"{self.shown} answers with what is no stream: is it a collector?")
            yield self._events(answer)

    async def _events(self, answer: aiohttp.ClientResponse) -> AsyncIterator[Told]:
        events = ServerEvents()
        try:
            async for piece in answer.content.iter_any():
                yield Told(events.feed(piece), events.last_id)
        except TooLong:
            raise Trouble(NOT_UNDERSTOOD, f"{self.shown} sends an event without an end: is it a collector?") from None

    @asynccontextmanager
    async def _asked(
        self, path: Iterable[str], query: Query, headers: dict[str, str], quiet: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=quiet)
        token = self._token()
        try:
            async with self._session.get(
                self._address(path, query), headers=headers | token, timeout=timeout, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    body = await answer.content.read(MOST_REFUSAL)
                    raise refused(answer.status, answer.headers, body, self.shown, token=bool(token))
                yield answer
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(error, self.shown) from error

    def _address(self, path: Iterable[str], query: Query) -> URL:
        """Arguments that are not UTF-8 are asked for as the events have them: with U+FFFD."""
        segments = "/".join(quote(_whole(segment), safe="") for segment in path)
        told = urlencode([(name, _whole(value)) for name, value in query])
        return URL(f"{self._access.url}/{segments}{'?' if told else ''}{told}", encoded=True)

    def _token(self) -> dict[str, str]:
        """The file's first line, for a collector's own file may hold several; read again each time, as secrets are swapped."""
        file = self._access.token_file
        if file is None:
            return {}
        try:
            token = next(iter(file.read_text().split("\n", 1)), "").strip()
        except (OSError, UnicodeDecodeError) as wrong:
            why = getattr(wrong, "strerror", None) or "not UTF-8"
            raise Trouble(WRONG_SETTINGS, f"--token-file {visible(str(file))}: {why}") from None
        if not token or not token.isprintable() or not token.isascii() or " " in token:
            raise Trouble(WRONG_SETTINGS, f"--token-file {visible(str(file))}: there is no token in it")
        return {"Authorization": f"Bearer {token}"}


def _whole(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
