"""A collector's stand-in on loopback: it gives the answers that a test laid out, over real HTTP, and keeps what it was asked.

Must not live here: what the answers hold (`answers`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from contextlib import asynccontextmanager

import orjson
from aiohttp import web


class Asked:
    def __init__(self, request):
        self.path, self.query, self.headers = request.path, list(request.query.items()), request.headers
        self.raw_path = request.raw_path


class StandIn:
    """`answers`: path -> JSON, a (status, JSON) pair, or what makes one. `plays`: what each reader of the stream gets."""

    def __init__(self):
        self.asked: list[Asked] = []
        self.answers: dict[str, object] = {}
        self.plays: deque = deque()
        self.url = ""

    def told(self, path):
        return [asked for asked in self.asked if asked.path == path]

    async def answer(self, request):
        self.asked.append(Asked(request))
        if request.path == "/v1/stream" and self.plays:
            return await self._stream(request, self.plays.popleft())
        answer = self.answers.get(request.path, (404, {"error": "Not Found"}))
        if callable(answer):
            answer = answer(request)
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, web.StreamResponse):
            return answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")

    async def _stream(self, request, pieces):
        """Pieces are bytes, or seconds to wait; then the stream ends. None: it goes on in silence."""
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
async def standing_in(tls=None):
    collector = StandIn()
    app = web.Application()
    app.router.add_route("*", r"/{path:[\s\S]*}", collector.answer)
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
    mark = b"" if id_ is None else b"id: %s\n\n" % str(id_).encode()
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data)) + mark
