"""JSON responses, refusals, and the headers of every response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

import orjson
from aiohttp import web

__all__ = ["HEADERS", "json_response", "refuse"]

# Nothing from other sites, nothing inline, in no frame: the pages show names that others chose.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send `Origin: null` from our own sign-in form
    "Cross-Origin-Resource-Policy": "same-origin",
}

_REFUSALS: Final[dict[int, type[web.HTTPException]]] = {
    400: web.HTTPBadRequest,
    401: web.HTTPUnauthorized,
    403: web.HTTPForbidden,
    404: web.HTTPNotFound,
    408: web.HTTPRequestTimeout,
    415: web.HTTPUnsupportedMediaType,
    421: web.HTTPMisdirectedRequest,
    429: web.HTTPTooManyRequests,
    503: web.HTTPServiceUnavailable,
}


def json_response(body: object, status: int = 200) -> web.Response:
    """`body` as JSON."""
    return web.Response(
        body=orjson.dumps(body),
        status=status,
        content_type="application/json",
        charset="utf-8",
        headers={"Cache-Control": "no-store"},
    )


def refuse(status: int, reason: str, headers: Mapping[str, str] | None = None) -> NoReturn:
    """Ends the request: `{"error": reason}`."""
    text, kind = orjson.dumps({"error": reason}).decode(), "application/json"
    if status == 413:  # aiohttp's own needs two numbers for a text that is not used here
        raise web.HTTPRequestEntityTooLarge(max_size=0, actual_size=0, text=text, content_type=kind, headers=headers)
    raise _REFUSALS[status](text=text, content_type=kind, headers=headers)
