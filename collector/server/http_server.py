"""aiohttp's server without its details: a client whose request is no HTTP gets a status, and neither versions nor reasons."""

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
        """aiohttp's own sends the unreadable request and its version back, and logs a traceback for each."""
        if status >= 500:
            _log.error("%s %s failed", request.method, request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun already")
        response = web.Response(status=status, text=HTTPStatus(status).phrase, headers={"Server": "forklore"})
        response.force_close()
        return response
