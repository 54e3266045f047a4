"""The middleware before every handler: who may ask, how often, and the response where a request cannot be answered."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NoReturn

from aiohttp import web

from collector.http.access import CREDENTIAL, Scope
from collector.http.limits import RateLimit
from collector.http.query_params import InvalidParameter
from collector.http.responses import json_response, refuse
from collector.http.token_refusals import TokenRefused
from collector.model import Credential
from collector.server.keys import ACCESS, API_RATE, METRICS, PAGE_RATE, REFUSALS
from collector.store import StoreUnavailable
from wire.batch import EVENTS_PATH
from wire.http.server import authenticated

__all__ = ["guard"]

UNLIMITED: Final = ("/healthz", "/readyz")  # asked by the kubelet, which must not be refused for its rate
SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")  # of these none changes anything here
STATIC: Final = "/static/"  # in memory, compressed once, and cached by browsers: what a page costs is the page
_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Batches have limits of their own (`collector.ingest.endpoint`)."""
    begun, status = time.perf_counter(), 500
    try:
        _admit(request)
        response = await handler(request)
        status = response.status
    except InvalidParameter as error:
        status = 400
        refuse(400, str(error))
    except StoreUnavailable as error:
        status = 503
        request.app[METRICS].store_errors.inc()
        _log.error("%s %s: %s", request.method, request.path, error)
        refuse(503, "the store does not answer", {"Retry-After": "5"})
    except web.HTTPException as refusal:
        status = refusal.status
        if refusal.content_type == "text/plain" and request.path.startswith("/v1/"):  # aiohttp's own 404 and 405
            return json_response({"error": refusal.reason}, refusal.status)
        raise
    finally:
        _count(request, status, time.perf_counter() - begun)
    return response


def _admit(request: web.Request) -> None:
    """Ends the request when it is not allowed."""
    access, sending = request.app[ACCESS], request.path == EVENTS_PATH
    if access.is_foreign_host(request):
        _turn_away(request, "host", 421, "without tokens this collector answers by address or as localhost only")
    if request.method not in SAFE_METHODS and access.is_foreign_page(request):
        _turn_away(request, "host", 403, "a page of another site may not send anything here")
    credential, refused = _authenticate(request, Scope.INGEST if sending else Scope.READ)
    # A client with the right token may send any number of batches; one that tries tokens out may not.
    if not (sending and refused is None) and request.path not in UNLIMITED and not request.path.startswith(STATIC):
        wait = request.app[_rate(request.path)].take(access.client(request))
        if wait:
            seconds = math.ceil(wait)
            _turn_away(request, "rate", 429, f"too many requests; try again in {seconds} s", {"Retry-After": str(seconds)})
    if refused is not None and request.path.startswith("/v1/"):
        _refuse_token(request, refused)
    if sending:
        kind = "none" if credential is None else "shared" if credential.node is None else "node"
        request.app[METRICS].batches_by_credential.labels(kind).inc()
    if credential is None:
        return
    if not authenticated(request, credential.name):
        headers = {"Connection": "close", "Retry-After": "5"}
        _turn_away(request, "connections", 429, "this token holds too many connections", headers)
    request[CREDENTIAL] = credential


def _authenticate(request: web.Request, scope: Scope) -> tuple[Credential | None, TokenRefused | None]:
    try:
        return request.app[ACCESS].authenticate(request, scope), None
    except TokenRefused as refused:
        return None, refused


def _refuse_token(request: web.Request, refused: TokenRefused) -> NoReturn:
    reason = refused.reason
    request.app[METRICS].tokens_refused.labels(reason.label).inc()
    more = request.app[REFUSALS].suffix(reason)
    if more is not None:
        _log.warning("%s was refused: %s%s", request.app[ACCESS].client(request), refused, more)
    headers = {401: {"WWW-Authenticate": 'Bearer realm="forklore"'}, 503: {"Retry-After": "15"}}.get(reason.status)
    _turn_away(request, "token", reason.status, str(refused), headers)


def _rate(path: str) -> web.AppKey[RateLimit]:
    """Pages, and the stream that keeps them up to date, are counted apart: a script must not use up its own user's rate."""
    is_api = path.startswith("/v1/") and path != "/v1/stream"
    return API_RATE if is_api or path == "/metrics" else PAGE_RATE


def _turn_away(request: web.Request, why: str, status: int, reason: str, headers: Mapping[str, str] | None = None) -> NoReturn:
    request.app[METRICS].turned_away.labels(why).inc()
    refuse(status, reason, headers)


def _count(request: web.Request, status: int, seconds: float) -> None:
    """By the route's pattern, never by the path that was asked for: no client can make a series."""
    if request.path == EVENTS_PATH:
        return
    resource = request.match_info.route.resource
    route = "other" if resource is None else resource.canonical
    request.app[METRICS].reads.labels(route, str(status)).inc()
    request.app[METRICS].read_seconds.labels(route).observe(seconds)
