"""What went wrong on the way to a receiver, in words that an operator can act on. Pure.

The words name host and port and nothing else of a URL: paths, queries and credentials may be secret, and errors' own texts
carry them. Must not live here: requests; what an answer means (answers).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from typing import Final, NamedTuple

import aiohttp

from agent.sinks.delivery.credentials import FileError

__all__ = ["Failure", "describe_failure"]

_CLIENT_CERTIFICATE: Final = "it wants a client certificate: give cert_file and key_file"
_OURS_REFUSED: Final = "it refuses our client certificate"

# Why a certificate is not trusted: OpenSSL's X509_V_ERR_*.
_DISTRUST: Final = {
    9: "its certificate is not valid yet: compare the clocks",
    10: "its certificate has expired",
    18: "its certificate vouches for itself: give it as ca_file",
    **dict.fromkeys((2, 19, 20, 21), "its certificate is from an unknown CA: give that CA as ca_file"),
    **dict.fromkeys((62, 64), "its certificate is for other names"),
}
# What the other side or the library said: OpenSSL's reasons, without their protocol's prefix.
_REASONS: Final = {
    "CERTIFICATE_REQUIRED": _CLIENT_CERTIFICATE,
    "HANDSHAKE_FAILURE": "it broke off the handshake: it may want a client certificate, or other ciphers",
    "UNKNOWN_CA": "it does not know the CA of our client certificate",
    "CERTIFICATE_EXPIRED": "our client certificate has expired",
    "CERTIFICATE_REVOKED": "our client certificate is revoked",
    "BAD_CERTIFICATE": _OURS_REFUSED,
    "CERTIFICATE_UNKNOWN": _OURS_REFUSED,
    "UNSUPPORTED_CERTIFICATE": _OURS_REFUSED,
    "ACCESS_DENIED": _OURS_REFUSED,
    "UNRECOGNIZED_NAME": "it serves no such name",
    "PROTOCOL_VERSION": "it speaks no TLS version from 1.2 on",
    "UNSUPPORTED_PROTOCOL": "it speaks no TLS version from 1.2 on",
    "WRONG_VERSION_NUMBER": "it speaks no TLS there: is it http://?",
    "HTTP_REQUEST": "it speaks no TLS there: is it http://?",
    "RECORD_LAYER_FAILURE": "it speaks no TLS there: is it http://?",
}


class Failure(NamedTuple):
    """`kind`: a metric's label, one of few. `hold`: it lasts until somebody mends a setting, a file or a certificate."""

    kind: str
    text: str
    hold: bool = False


def describe_failure(error: BaseException, receiver: str, proxy: str | None) -> Failure:
    """`receiver`, `proxy`: host:port. `error`: what Connection.post raises."""
    if isinstance(error, FileError):
        return Failure("files", str(error), hold=True)
    if tls := next(_tls_errors(error), None):
        return _tls(tls, _peer(error, receiver))
    match error:
        case aiohttp.ClientHttpProxyError(status=407):
            return Failure("proxy", f"the proxy {proxy} wants other credentials: 407", hold=True)
        case aiohttp.ClientHttpProxyError(status=status):
            return Failure("proxy", f"the proxy {proxy} makes no connection to {receiver}: {status}", hold=400 <= status < 500)
        case aiohttp.ClientConnectorDNSError():
            return Failure("dns", f"{_peer(error, receiver)}: the name is not known: {_reason(error)}")
        case aiohttp.ClientProxyConnectionError():
            return Failure("proxy", f"the proxy {proxy} can't be reached: {_reason(error)}")
        case aiohttp.ClientConnectorError():
            return Failure("connect", f"{_peer(error, receiver)} can't be reached: {_reason(error)}")
        case aiohttp.ConnectionTimeoutError():
            return Failure("timeout", f"{proxy or receiver} can't be reached: no connection in time")
        case TimeoutError():
            return Failure("timeout", f"{receiver} does not answer in time")
        case aiohttp.ServerDisconnectedError():
            return Failure("disconnected", f"{receiver} closed the connection without an answer")
        case aiohttp.ClientPayloadError():
            return Failure("half_answer", f"{receiver} broke off its answer")
        case aiohttp.ClientResponseError():
            return Failure("no_http", f"{receiver} answers with something that is not HTTP: is it https://?")
        case OSError():
            return Failure("disconnected", f"{receiver} broke the connection: {_reason(error)}")
        case ValueError():
            return Failure("settings", f"{receiver}: url, headers or token can't be put into a request", hold=True)
    return Failure("other", f"{receiver}: {type(error).__name__}")


def _tls(error: ssl.SSLError, peer: str) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _DISTRUST.get(error.verify_code) or error.verify_message
        return Failure("tls", f"{peer} is not trusted: {why}", hold=True)
    reason = str(getattr(error, "reason", None) or "").upper()
    for end, words in _REASONS.items():
        if reason == end or reason.endswith(f"_{end}"):
            return Failure("tls", f"{peer}: TLS: {words}", hold=True)
    return Failure("tls", f"{peer}: TLS: {reason.lower().replace('_', ' ') or 'broken off'}")


def _tls_errors(error: BaseException | None) -> Iterator[ssl.SSLError]:
    """OpenSSL's own, among what the error came from: aiohttp's are of the same classes, and tell nothing."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, aiohttp.ClientError):
            yield error
        error = error.__cause__


def _peer(error: BaseException, receiver: str) -> str:
    """Who was spoken to: a proxy has a name and a certificate, too."""
    host, port = getattr(error, "host", None), getattr(error, "port", None)
    return f"{host}:{port}" if host else receiver


def _reason(error: OSError) -> str:
    inner = getattr(error, "os_error", error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return inner.strerror or "no answer"
    return os.strerror(inner.errno) if inner.errno and inner.errno > 0 else "no reason known"
