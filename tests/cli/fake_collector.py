"""A fake collector on loopback: it gives a test's answers over real HTTP, and records the requests."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from contextlib import asynccontextmanager

import orjson
from aiohttp import web


class Request:
    def __init__(self, request):
        self.path, self.query, self.headers = request.path, list(request.query.items()), request.headers
        self.raw_path = request.raw_path


class FakeCollector:
    """`answers`: path -> JSON, a (status, JSON) pair, or a function that returns one. `streams`: the pieces for each reader of
    the stream in turn."""

    def __init__(self):
        self.requests: list[Request] = []
        self.answers: dict[str, object] = {}
        self.streams: deque = deque()
        self.url = ""

    def requests_to(self, path):
        return [request for request in self.requests if request.path == path]

    async def respond(self, request):
        self.requests.append(Request(request))
        if request.path == "/v1/stream" and self.streams:
            return await self._stream(request, self.streams.popleft())
        respond = self.answers.get(request.path, (404, {"error": "Not Found"}))
        if callable(respond):
            respond = respond(request)
        if asyncio.iscoroutine(respond):
            respond = await respond
        if isinstance(respond, web.StreamResponse):
            return respond
        status, body = respond if isinstance(respond, tuple) else (200, respond)
        return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")

    async def _stream(self, request, pieces):
        """Pieces are bytes, or seconds to wait; then the stream ends. None: the stream stays open and silent."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            if piece is None:
                await asyncio.Event().wait()
            elif isinstance(piece, bytes):
                await response.write(piece)
            else:
                await asyncio.sleep(piece)
        return response


@asynccontextmanager
async def running_fake_collector(tls=None):
    collector = FakeCollector()
    app = web.Application()
    app.router.add_route("*", r"/{path:[\s\S]*}", collector.respond)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.configure_cert(context)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    collector.url = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


def event(name, data, id_=None):
    id_line = b"" if id_ is None else b"id: %s\n\n" % str(id_).encode()
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data)) + id_line
