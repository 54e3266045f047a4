"""Turns connection errors and HTTP responses other than 200 into a sentence and an exit code. Pure."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
import orjson

from cli.client.errors import NO_SUCH_POD, NOT_PERMITTED, NOT_UNDERSTOOD, USAGE, CommandError, Unavailable
from cli.client.json_view import JsonView
from wire.http.trust import why_untrusted
from wire.names import visible

__all__ = ["MAX_REASON", "connection_error", "response_error"]

MAX_REASON: Final = 300  # characters of a server's text
_UNKNOWN_PATH: Final = "Not Found"  # the collector's text for a path that it does not have; for an unknown pod it has another


def connection_error(error: Exception, display_url: str) -> Unavailable:
    """`error`: what aiohttp raised."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
        why = why_untrusted(getattr(cause, "verify_code", 0), "--ca-file")
        return Unavailable(
            f"{display_url} is not trusted: {why or _visible(getattr(cause, 'verify_message', '') or str(cause))}"
        )
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Unavailable(f"{display_url} does not speak TLS; is its address http://?")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Unavailable(f"no collector answers at {display_url}: there is no host of that name")
    if isinstance(error, TimeoutError):
        return Unavailable(f"no collector answers at {display_url} in time")
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return Unavailable(f"the collector at {display_url} broke off its answer")
    number = getattr(error, "errno", None)
    reason = (
        os.strerror(number).lower() if isinstance(number, int) and number > 0 else _visible(str(error) or type(error).__name__)
    )
    return Unavailable(f"no collector answers at {display_url}: {reason}")


def response_error(status: int, headers: Mapping[str, str], body: bytes, display_url: str, *, token: bool) -> CommandError:
    """For a response other than 200. `token`: the request had one."""
    reason = _reason(body)
    suffix = f": {reason}" if reason else ""
    if status == 401:
        text = (
            f"{display_url} does not accept this token"
            if token
            else f"{display_url} requires a token: --token-file FILE, or FORKLORE_TOKEN_FILE"
        )
        return CommandError(NOT_PERMITTED, text)
    if status == 403:
        return CommandError(NOT_PERMITTED, f"{display_url} does not permit this token to read{suffix}")
    if status == 404 and reason and reason != _UNKNOWN_PATH:
        return CommandError(NO_SUCH_POD, reason)
    if status == 404:
        return CommandError(NOT_UNDERSTOOD, f"{display_url} does not have this path: it is no collector, or an older one")
    if status == 400 and reason:
        return CommandError(USAGE, f"the collector refuses the query{suffix}")
    if status == 429 or status >= 500:
        return Unavailable(f"{display_url} can't answer now ({status}{suffix})", _wait(headers))
    if 300 <= status < 400:
        return CommandError(
            NOT_PERMITTED,
            f"{display_url} redirects elsewhere ({status}): is this the collector's own address, and not a sign-in page's?",
        )
    return CommandError(NOT_UNDERSTOOD, f"{display_url} answers with {status}{suffix}: is it a collector?")


def _reason(body: bytes) -> str:
    try:
        return _visible(JsonView(orjson.loads(body))["error"].text or "")
    except ValueError:
        return ""


def _visible(text: str) -> str:
    return visible(text[:MAX_REASON])


def _wait(headers: Mapping[str, str]) -> float:
    """Seconds from Retry-After. A date is ignored: it would need a clock that both sides agree on."""
    text = headers.get("Retry-After", "")
    return min(300.0, float(text)) if text.isascii() and text.isdigit() else 0.0
