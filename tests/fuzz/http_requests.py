"""Bytes on a connection to a server of agent or collector, in pieces as the first byte has them. Without a network or a clock:
the server's own protocol is called as the event loop calls it."""

import asyncio
import logging

from aiohttp import web

from wire.http.connections import Bounds
from wire.http.server import BoundedRunner, authenticated

COVERS = ["wire.http.server", "wire.http.connections"]
BOUNDS = Bounds(connections=4, anonymous=4, per_address=4, per_credential=2)
GET = b"GET /a?b=%ff HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\n\r\n"
SEEDS = [
    b"\0" + GET, b"\7" + GET * 3, b"\1POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" + GET,
    b"\3POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"\0GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\0\0", b"\x05GET / HTTP/1.0\r\n\r\n",
    b"\0GET http://[::1/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", b"\xff\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    b"\xffGET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 8000 + b"\r\n" + b"X-B: " + b"a" * 9000 + b"\r\n\r\n",
]  # fmt: skip


class Transport(asyncio.Transport):
    """What is written to it is kept."""

    def __init__(self):
        super().__init__({"peername": ("192.0.2.1", 4711), "sockname": ("192.0.2.2", 80)})
        self.written, self.closed = bytearray(), False
        self.protocol = RUNNER.server()

    def set_protocol(self, protocol):
        self.protocol = protocol

    def get_protocol(self):
        return self.protocol

    def write(self, data):
        assert not self.closed, "written after the connection's end"
        self.written += data

    def writelines(self, pieces):
        self.write(b"".join(pieces))

    def close(self):
        self.closed = True

    abort = close

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass

    def get_write_buffer_size(self):
        return 0


class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(self.format(record))


async def handle(request):
    token = request.headers.get("Authorization")
    if token and not authenticated(request, token):
        return web.Response(status=429)
    return web.Response(text=f"{len(await request.read())} {request.path} {[*request.query.items()]}"[:500])


async def begun():
    app = web.Application(client_max_size=1 << 16)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = BoundedRunner(app, BOUNDS, auto_decompress=False, handle_signals=False)
    await runner.setup()
    return runner


LOOP = asyncio.new_event_loop()
asyncio.set_event_loop(LOOP)
RUNNER = LOOP.run_until_complete(begun())
LOG = Lines()
logging.getLogger().addHandler(LOG)
logging.getLogger().setLevel(logging.WARNING)
TROUBLE = []
LOOP.set_exception_handler(lambda _loop, context: TROUBLE.append(context))


async def connected(data):
    size, body = (data[0] or 1) * 16 if data else 1, data[1:]
    transport = Transport()
    transport.protocol.connection_made(transport)
    for at in range(0, len(body), size):
        if transport.closed:
            break
        transport.protocol.data_received(body[at : at + size])
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    transport.protocol.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    return bytes(transport.written)


def check(data):
    LOG.lines.clear()
    body = bytes(data)
    answered = LOOP.run_until_complete(connected(body))
    assert TROUBLE == []
    assert answered == b"" or answered.startswith(b"HTTP/")
    assert b"aiohttp" not in answered and b"Traceback" not in answered
    assert answered.count(b"HTTP/1.") <= body.count(b"HTTP/") * 2 + 2 and len(answered) <= 1000 * (body.count(b"\n") + 2)
    assert len(LOG.lines) <= 1 and all(line.isprintable() for line in LOG.lines), LOG.lines
    assert RUNNER.counts.open == 0
