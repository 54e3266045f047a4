"""The bounded HTTP server, attacked over real sockets."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from wire.http.connections import Bounds, ConnectionCounts, network_of
from wire.http.server import BoundedRunner, authenticated

BOUNDS = Bounds(
    connections=20,
    anonymous=16,
    per_address=8,
    per_credential=4,
    header_s=0.4,
    idle_s=0.8,
    body_bytes_per_s=1000,
    progress_s=0.2,
)
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Here:
    def __init__(self, runner: BoundedRunner, port: int) -> None:
        self.runner, self.port = runner, port
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def ask(self, request: bytes) -> bytes:
        """Sends that, and returns all that comes until the server closes."""
        reader, writer = await self.connect()
        writer.write(request)
        return await whole(reader)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def serving(bounds: Bounds = BOUNDS) -> AsyncIterator[Here]:
    async def post(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async def get(request: web.Request) -> web.Response:
        token = request.headers.get("Authorization")
        if token and not authenticated(request, token):
            return web.Response(status=429)
        return web.Response(text="ok")

    app = web.Application(client_max_size=1 << 20)
    app.router.add_post("/", post)
    app.router.add_get("/", get)
    runner = BoundedRunner(app, bounds)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    here = Here(runner, runner.addresses[0][1])
    try:
        yield here
    finally:
        here.close()
        await runner.cleanup()


async def whole(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server closes."""
    response = b""
    with suppress(ConnectionResetError):  # what the server did not read any more makes its kernel reset the connection
        while piece := await reader.read(1 << 16):
            response += piece
    return response


async def until_open(here: Here, holds: Callable[[int], bool]) -> None:
    """Waits until the number of open connections is as wanted."""
    async with asyncio.timeout(10):
        while not holds(here.runner.counts.open):  # noqa: ASYNC110  the server sets no event for it
            await asyncio.sleep(0.02)


async def emptied(here: Here) -> None:
    await until_open(here, lambda number: number == 0)


async def test_an_ordinary_request_is_answered() -> None:
    async with serving() as here, aiohttp.ClientSession() as http:
        async with http.post(f"http://127.0.0.1:{here.port}/", data=b"x" * 100_000) as answer:
            assert (answer.status, await answer.text()) == (200, "100000")
        async with http.get(f"http://127.0.0.1:{here.port}/") as answer:
            assert answer.status == 200
        assert here.runner.counts.open == 1, "the connection was used again"


async def test_headers_without_an_end_are_refused_at_their_bound() -> None:
    async with serving() as here:
        fields = b"".join(b"X-%d: " % number + b"a" * 8000 + b"\r\n" for number in range(100))
        response = await here.ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + fields)
        assert response.startswith(b"HTTP/1.1 431 ") or not response
        await emptied(here)


async def test_headers_that_are_too_large_are_refused_though_they_end() -> None:
    async with serving() as here:
        fields = b"".join(b"X-%d: " % number + b"a" * 4000 + b"\r\n" for number in range(5))
        assert (await here.ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")).startswith(b"HTTP/1.1 431 ")


async def test_headers_that_arrive_byte_by_byte_end_at_their_deadline() -> None:
    async with serving() as here:
        reader, writer = await here.connect()
        sending = asyncio.ensure_future(slowly(writer, b"GET / HTTP/1.1\r\nX: " + b"a" * 1000))
        assert (await whole(reader)).startswith(b"HTTP/1.1 408 ")
        sending.cancel()
        await emptied(here)


async def slowly(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["no request", "after a request"])
async def test_an_idle_connection_ends(first: bytes) -> None:
    async with serving() as here:
        reader, writer = await here.connect()
        writer.write(first)
        async with asyncio.timeout(10):
            await reader.read()
        await emptied(here)


async def test_a_body_that_makes_no_progress_ends_and_one_that_does_arrives() -> None:
    async with serving() as here:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n"
        reader, writer = await here.connect()
        writer.write(head + b"a")
        async with asyncio.timeout(10):
            await reader.read()
        reader, writer = await here.connect()
        writer.write(head)
        for _ in range(10):
            writer.write(b"a" * 1000)
            await asyncio.sleep(0.08)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_connections_beyond_an_address_s_share_are_refused_and_its_others_go_on() -> None:
    async with serving(replace(BOUNDS, idle_s=30.0)) as here:
        held = [await here.connect() for _ in range(BOUNDS.per_address)]
        await until_open(here, lambda number: number == BOUNDS.per_address)
        assert (await here.ask(b"")).startswith(b"HTTP/1.1 503 ")
        reader, writer = held[0]
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        held[1][1].close()
        await until_open(here, lambda number: number < BOUNDS.per_address)
        _, writer = await here.connect()
        assert here.runner.counts.refused == 1


async def test_a_connection_that_has_shown_a_credential_counts_for_that() -> None:
    async with serving(replace(BOUNDS, idle_s=30.0)) as here:
        statuses = []
        for number in range(12):
            reader, writer = await here.connect()
            token = f"agent-{number % 3}".encode()
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: " + token + b"\r\n\r\n")
            statuses.append((await reader.readline()).split()[1])
        assert statuses == [b"200"] * 12, "more than one address may have, and each credential within its own bound"
        reader, writer = await here.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: agent-0\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"429"


async def test_malformed_requests_are_one_line_of_log_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving() as here:
            for _ in range(5):
                response = await here.ask(b"\x16\x03\x01 nonsense\r\n\r\n")
                assert response.split()[1] == b"400"
                assert b"nonsense" not in response
                assert b"aiohttp" not in response.lower()
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in lines] == ["a malformed request from 127.0.0.1 was answered with 400"]
    assert not lines[0].exc_info


def test_an_ipv6_client_counts_by_its_64() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1")
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("::ffff:10.0.0.1") == "10.0.0.1"
    assert network_of("fe80::1%eth0") == "fe80::/64"


def test_nothing_is_left_in_the_counts_when_all_have_gone() -> None:
    counts = ConnectionCounts(BOUNDS)
    assert counts.admit("a")
    assert counts.admit("a")
    assert counts.authenticate("a", "token")
    counts.close("a", None)
    counts.close("a", "token")
    assert counts.open == 0
    assert not counts._addresses
    assert not counts._credentials


async def test_no_answer_names_the_server_s_software() -> None:
    async with serving() as here:
        for request in (
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /no HTTP/1.0\r\n\r\n",
            b"no HTTP\r\n\r\n",
        ):
            answer = await here.ask(request)
            assert answer.startswith(b"HTTP/1.")
            assert b"aiohttp" not in answer
            assert b"Python" not in answer


async def test_a_client_that_hangs_up_within_a_body_is_one_line_of_log(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as here:
        for _ in range(3):
            reader, writer = await here.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\nhello")
            assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")  # the handler waits for the rest
            writer.close()
            await until_open(here, lambda number: number == 0)
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("WARNING", None)]
