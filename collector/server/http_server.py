"""aiohttp's server, with nothing to say of itself: whoever speaks no HTTP gets a status, and learns neither versions nor why.

Must not live here: anything that answers a request that could be read.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from aiohttp import web

__all__ = ["Runner"]

_log = logging.getLogger(__name__)


class Runner(web.AppRunner):
    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, loop=made._loop, **made._kwargs)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Handler(self, loop=self._loop, **self._kwargs)


class _Handler(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """aiohttp's own repeats to the client what it could not read, names itself, and writes a traceback for each."""
        if status >= 500:
            _log.error("%s %s failed", request.method, request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        answer = web.Response(status=status, text=HTTPStatus(status).phrase, headers={"Server": "forklore"})
        answer.force_close()
        return answer
