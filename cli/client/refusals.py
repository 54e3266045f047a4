"""Why a collector gave no answer, as a sentence and an exit code.

Pure. Must not live here: the asking (`collector`).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
import orjson

from cli.client.errors import NO_SUCH_POD, NOT_PERMITTED, NOT_UNDERSTOOD, USAGE, Trouble, Unavailable
from cli.client.json_view import Said
from wire.names import visible

__all__ = ["LONGEST_REASON", "refused", "unreachable"]

LONGEST_REASON: Final = 300  # letters of a server's own words
_UNKNOWN_PATH: Final = "Not Found"  # what the collector says of a path that it does not have, and of no pod


def unreachable(error: Exception, shown: str) -> Unavailable:
    """`error`: what the attempt ended in."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
        why = getattr(cause, "verify_message", None) or str(cause)
        return Unavailable(
            f"{shown} shows a certificate that is not trusted ({_short(why)}); --ca-file FILE names who may vouch for it"
        )
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Unavailable(f"no TLS can be had with {shown}; is it http:// there?")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Unavailable(f"no collector answers at {shown}: there is no host of that name")
    if isinstance(error, TimeoutError):
        return Unavailable(f"no collector answers at {shown} in time")
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return Unavailable(f"the collector at {shown} broke off its answer")
    number = getattr(error, "errno", None)
    why = os.strerror(number).lower() if isinstance(number, int) and number > 0 else _short(str(error) or type(error).__name__)
    return Unavailable(f"no collector answers at {shown}: {why}")


def refused(status: int, headers: Mapping[str, str], body: bytes, shown: str, *, token: bool) -> Trouble:
    """An answer other than 200. `token`: one was shown."""
    reason = _reason(body)
    said = f": {reason}" if reason else ""
    if status == 401:
        text = (
            f"{shown} does not take this token"
            if token
            else f"{shown} wants a token: --token-file FILE, or FORKLORE_TOKEN_FILE"
        )
        return Trouble(NOT_PERMITTED, text)
    if status == 403:
        return Trouble(NOT_PERMITTED, f"{shown} does not let this token read{said}")
    if status == 404 and reason and reason != _UNKNOWN_PATH:
        return Trouble(NO_SUCH_POD, reason)
    if status == 404:
        return Trouble(NOT_UNDERSTOOD, f"{shown} does not know what is asked: it is no collector, or an older one")
    if status == 400 and reason:
        return Trouble(USAGE, f"the collector does not take that{said}")
    if status == 429 or status >= 500:
        return Unavailable(f"{shown} can't answer now ({status}{said})", _wait(headers))
    if 300 <= status < 400:
        return Trouble(
            NOT_PERMITTED,
            f"{shown} sends us elsewhere ({status}): is that the collector's own address, and not a sign-in before it?",
        )
    return Trouble(NOT_UNDERSTOOD, f"{shown} answers with {status}{said}: is it a collector?")


def _reason(body: bytes) -> str:
    try:
        return _short(Said(orjson.loads(body))["error"].text or "")
    except ValueError:
        return ""


def _short(text: str) -> str:
    return visible(text[:LONGEST_REASON])


def _wait(headers: Mapping[str, str]) -> float:
    """Seconds; a date would need a clock that both agree on."""
    text = headers.get("Retry-After", "")
    return min(300.0, float(text)) if text.isascii() and text.isdigit() else 0.0
