"""The fault proxy itself: what a client sees, and what the receiver behind it gets."""

import asyncio
import ssl
import time
from io import BytesIO

import aiohttp
import pytest
from aiohttp import web

from tests.certificates import Authority
from tests.faults import Close, Drip, FaultProxy, Forward, Garbage, Half, Reset, Say, Slow, Stall, TooLarge
from tests.messages import read_answer


class Receiver:
    """Keeps the bodies that it gets, and responds with their length."""

    def __init__(self):
        self.bodies = []

    async def take(self, request):
        self.bodies.append(await request.read())
        return web.Response(text=f"{len(self.bodies[-1])} bytes")


@pytest.fixture
async def receiver():
    receiver, application = Receiver(), web.Application(client_max_size=1 << 26)
    application.router.add_post("/{any:.*}", receiver.take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.address = runner.addresses[0][:2]  # type: ignore[attr-defined]
    yield receiver
    await runner.cleanup()


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


async def post(session, proxy, body=b"hello", **more):
    async with session.post(proxy.url("/v1/events"), data=body, **more) as response:
        return response.status, await response.text()


async def test_a_forwarded_request_reaches_the_receiver_unchanged(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        assert await post(session, proxy, b"x" * 3_000_000, headers={"Idempotency-Key": "one"}) == (200, "3000000 bytes")
        assert await post(session, proxy, b"") == (200, "0 bytes")
    assert receiver.bodies == [b"x" * 3_000_000, b""]
    first, second = proxy.requests
    assert (first.method, first.path, first.key, first.size) == ("POST", "/v1/events", "one", 3_000_000)
    assert (first.forwarded, first.answered, first.fault) == (True, 200, Forward())
    assert (first.number, second.number, second.key) == (0, 1, None)
    assert second.time >= first.time


async def test_a_chunked_body_is_forwarded_whole(receiver, session):
    async def pieces():
        for number in range(50):
            yield b"%d," % number * 100

    with FaultProxy(receiver.address) as proxy:
        status, _ = await post(session, proxy, pieces())
    assert status == 200
    assert receiver.bodies == [b"".join([b"%d," % number * 100 for number in range(50)])]


async def test_a_connection_is_kept_for_many_requests(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        for _ in range(3):
            await post(session, proxy)
        assert (proxy.connections, {request.connection for request in proxy.requests}) == (1, {1})


async def test_a_request_with_the_proxys_own_response_never_reaches_the_receiver(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Say(429, {"Retry-After": "7"}, b"slowly"))
        async with session.post(proxy.url(), data=b"hello") as response:
            assert (response.status, response.headers["Retry-After"], await response.read()) == (429, "7", b"slowly")
        assert await post(session, proxy) == (200, "5 bytes")
    assert receiver.bodies == [b"hello"]
    assert [(request.forwarded, request.answered) for request in proxy.requests] == [(False, 429), (True, 200)]


async def test_faults_are_played_in_their_order_and_then_the_usual(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Say(500), Say(503))
        proxy.play(Say(401))
        proxy.usual = Say(418)
        assert [(await post(session, proxy))[0] for _ in range(5)] == [500, 503, 401, 418, 418]
        proxy.usual = lambda request: Forward() if request.number % 2 else Say(500)
        assert [(await post(session, proxy))[0] for _ in range(3)] == [200, 500, 200]


@pytest.mark.parametrize("early", [False, True])
async def test_a_body_beyond_the_limit_is_too_large(receiver, session, early):
    with FaultProxy(receiver.address) as proxy:
        proxy.usual = TooLarge(10, early=early)
        assert [(await post(session, proxy, b"x" * size))[0] for size in (10, 11)] == [200, 413]
    assert receiver.bodies == [b"x" * 10]


@pytest.mark.parametrize(("when", "received"), [("head", []), ("body", []), ("forwarded", [b"hello"])])
async def test_a_reset_comes_before_or_after_the_request_is_forwarded(receiver, session, when, received):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Reset(when))
        with pytest.raises(aiohttp.ClientOSError) as caught:
            await post(session, proxy)
        assert isinstance(caught.value, ConnectionResetError) or caught.value.errno == 104
        assert receiver.bodies == received
        assert (proxy.requests[0].forwarded, proxy.requests[0].answered) == (bool(received), None)
        assert await post(session, proxy) == (200, "5 bytes")


async def test_a_connection_is_closed_without_a_response(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Close())
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await post(session, proxy)
    assert receiver.bodies == []


async def test_a_connection_is_closed_after_a_response(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        proxy.usual = Forward(close=True)
        assert await post(session, proxy) == (200, "5 bytes")
        await asyncio.sleep(0.05)  # for the client's loop to see it
        assert await post(session, proxy) == (200, "5 bytes")
        assert proxy.connections == 2


async def test_a_stall_delays_one_connection_only(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Stall(60.0))
        stalled = asyncio.create_task(post(session, proxy, b"first"))
        while not proxy.requests:  # noqa: ASYNC110  another thread's
            await asyncio.sleep(0.01)
        assert await post(session, proxy, b"second") == (200, "6 bytes")
        assert not stalled.done()
        stalled.cancel()
    assert receiver.bodies == [b"second"]


async def test_the_next_fault_follows_a_short_stall(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Stall(0.2, Say(503)), Stall(0.0))
        start = time.monotonic()
        assert (await post(session, proxy))[0] == 503
        assert time.monotonic() - start >= 0.2
        assert (await post(session, proxy))[0] == 200


@pytest.mark.parametrize(("of", "received"), [(Forward(), [b"hello"]), (Say(200, {}, b"all is well"), [])])
async def test_half_a_response_is_no_response(receiver, session, of, received):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Half(of))
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
            await post(session, proxy)
    assert receiver.bodies == received
    assert (proxy.requests[0].forwarded, proxy.requests[0].answered) == (bool(received), None)


async def test_half_a_response_can_end_within_its_body(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Half(Say(200, {}, b"x" * 1000)))
        async with session.post(proxy.url(), data=b"hello") as response:
            assert (response.status, response.headers["Content-Length"]) == (200, "1000")
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_a_response_drips_byte_by_byte(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Drip(0.001))
        start = time.monotonic()
        assert await post(session, proxy) == (200, "5 bytes")
        assert time.monotonic() - start >= 0.1  # its head alone is a hundred bytes
        assert proxy.requests[0].answered == 200
    assert receiver.bodies == [b"hello"]


async def test_a_body_is_read_slowly(receiver, session):
    with FaultProxy(receiver.address, window=32768) as proxy:
        proxy.play(Slow(1_000_000))
        start = time.monotonic()
        assert await post(session, proxy, b"x" * 400_000) == (200, "400000 bytes")
        assert time.monotonic() - start >= 0.4  # 1 MB/s takes at least so long
    assert receiver.bodies == [b"x" * 400_000]


async def test_garbage_is_not_http(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Garbage())
        with pytest.raises(aiohttp.ClientResponseError):
            await post(session, proxy)
    assert receiver.bodies == []


async def test_the_proxy_can_stop_and_start_at_the_same_address(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        await post(session, proxy)
        proxy.away()
        for _ in range(3):
            with pytest.raises(aiohttp.ClientConnectionError):
                await post(session, proxy)
        with pytest.raises(aiohttp.ClientConnectorError):  # refused, not reset
            await post(session, proxy)
        proxy.back()
        assert await post(session, proxy) == (200, "5 bytes")
    assert receiver.bodies == [b"hello"] * 2


async def test_stopping_ends_open_requests(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        proxy.usual = Stall(60.0)
        stalled = asyncio.create_task(post(session, proxy))
        while not proxy.requests:  # noqa: ASYNC110  another thread's
            await asyncio.sleep(0.01)
        proxy.away()
        with pytest.raises(aiohttp.ClientConnectionError):
            await stalled


async def test_without_a_receiver_there_is_no_response(session, unused_tcp_port):
    with FaultProxy(("127.0.0.1", unused_tcp_port)) as proxy:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await post(session, proxy)
        assert not proxy.requests[0].forwarded


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("stream", "answer"),
    [
        (OK + b"more", OK),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, OK),
        (b"HTTP/1.1 204 No Content\r\n\r\nmore", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"HTTP/1.1 200 OK\r\n\r\nto the end"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nA: b\r\n\r\nmore",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nA: b\r\n\r\n",
        ),
    ],
)
def test_a_receivers_response_is_read_up_to_its_end(stream, answer):
    assert read_answer(BytesIO(stream)) == answer


@pytest.mark.parametrize(
    "stream", [b"", b"HTTP/1.1 200", OK[:-1], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok"]
)
def test_a_cut_response_of_the_receiver_is_none(stream):
    with pytest.raises(ConnectionError):
        read_answer(BytesIO(stream))


def trusting(authority, tmp_path):
    return ssl.create_default_context(cafile=authority.file(tmp_path))


async def test_tls_works_to_the_client_and_to_the_receiver(receiver, session, tmp_path):
    authority = Authority()
    with (
        FaultProxy(receiver.address, tls=authority.server()) as inner,
        FaultProxy(inner.address, tls=authority.server(), receiver_tls=trusting(authority, tmp_path)) as outer,
    ):
        assert await post(session, outer, b"x" * 1_000_000, ssl=trusting(authority, tmp_path)) == (200, "1000000 bytes")
        assert outer.url().startswith("https://127.0.0.1:")
        inner.play(Reset("forwarded"))
        with pytest.raises(aiohttp.ClientConnectionError):
            await post(session, outer, ssl=trusting(authority, tmp_path))
    assert receiver.bodies == [b"x" * 1_000_000, b"hello"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda known: Authority().server(), "unable to get local issuer"),
        (lambda known: known.server(days=-1), "expired"),
        (lambda known: known.server("elsewhere.example"), "mismatch"),
    ],
    ids=["unknown CA", "expired", "another name"],
)
async def test_a_wrong_certificate_can_be_replaced(receiver, session, tmp_path, make, words):
    authority = Authority()
    with FaultProxy(receiver.address, tls=make(authority)) as proxy:
        with pytest.raises(aiohttp.ClientConnectorCertificateError, match=words):
            await post(session, proxy, ssl=trusting(authority, tmp_path))
        proxy.tls = authority.server()
        assert await post(session, proxy, ssl=trusting(authority, tmp_path)) == (200, "5 bytes")
    assert receiver.bodies == [b"hello"]


async def test_a_client_certificate_can_be_required(receiver, session, tmp_path):
    authority, agents = Authority(), Authority()
    with FaultProxy(receiver.address, tls=authority.server(wants=agents)) as proxy:
        with pytest.raises(aiohttp.ClientError):
            await post(session, proxy, ssl=trusting(authority, tmp_path))
        shown = trusting(authority, tmp_path)
        shown.load_cert_chain(*agents.client(tmp_path))
        assert await post(session, proxy, ssl=shown) == (200, "5 bytes")
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in proxy.failed_handshakes[0]
    assert receiver.bodies == [b"hello"]


async def test_no_thread_or_socket_is_left_at_the_end(receiver, session):
    with FaultProxy(receiver.address) as proxy:
        await post(session, proxy)
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(session, proxy)
