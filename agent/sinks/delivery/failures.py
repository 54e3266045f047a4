"""Describes why a request had no response, so that an operator can act on it. Pure.

A description names the host and port and nothing else of a URL: paths, queries and credentials may be secret, and the texts of
exceptions contain them.
"""

from __future__ import annotations

import os
import ssl
from typing import Final, NamedTuple

import aiohttp

from agent.sinks.delivery.credentials import FileError
from wire.http.trust import tls_errors, why_untrusted

__all__ = ["Failure", "describe_failure"]

_CLIENT_CERTIFICATE: Final = "it requires a client certificate: set cert_file and key_file"
_CERTIFICATE_REJECTED: Final = "it rejects our client certificate"

# OpenSSL's reasons, without the prefix of the protocol.
_REASONS: Final = {
    "CERTIFICATE_REQUIRED": _CLIENT_CERTIFICATE,
    "HANDSHAKE_FAILURE": "it broke off the handshake: it may require a client certificate, or other ciphers",
    "UNKNOWN_CA": "it does not know the CA of our client certificate",
    "CERTIFICATE_EXPIRED": "our client certificate has expired",
    "CERTIFICATE_REVOKED": "our client certificate is revoked",
    "BAD_CERTIFICATE": _CERTIFICATE_REJECTED,
    "CERTIFICATE_UNKNOWN": _CERTIFICATE_REJECTED,
    "UNSUPPORTED_CERTIFICATE": _CERTIFICATE_REJECTED,
    "ACCESS_DENIED": _CERTIFICATE_REJECTED,
    "UNRECOGNIZED_NAME": "it has no certificate for this host name",
    "PROTOCOL_VERSION": "it supports no TLS version from 1.2 on",
    "UNSUPPORTED_PROTOCOL": "it supports no TLS version from 1.2 on",
    "WRONG_VERSION_NUMBER": "it does not use TLS on this port: should the url be http://?",
    "HTTP_REQUEST": "it does not use TLS on this port: should the url be http://?",
    "RECORD_LAYER_FAILURE": "it does not use TLS on this port: should the url be http://?",
}


class Failure(NamedTuple):
    """`kind`: a label of metrics, one of few. `hold`: it lasts until a setting, a file or a certificate is changed."""

    kind: str
    text: str
    hold: bool = False


def describe_failure(error: BaseException, receiver: str, proxy: str | None) -> Failure:
    """`error`: raised by Connection.post. `receiver`, `proxy`: host:port."""
    if isinstance(error, FileError):
        return Failure("files", str(error), hold=True)
    if tls := next(tls_errors(error), None):
        return _tls(tls, _peer(error, receiver))
    match error:
        case aiohttp.ClientHttpProxyError(status=407):
            return Failure("proxy", f"the proxy {proxy} rejects our credentials: 407", hold=True)
        case aiohttp.ClientHttpProxyError(status=status):
            return Failure("proxy", f"the proxy {proxy} refuses to connect to {receiver}: {status}", hold=400 <= status < 500)
        case aiohttp.ClientConnectorDNSError():
            return Failure("dns", f"{_peer(error, receiver)}: unknown host name: {_reason(error)}")
        case aiohttp.ClientProxyConnectionError():
            return Failure("proxy", f"the proxy {proxy} can't be reached: {_reason(error)}")
        case aiohttp.ClientConnectorError():
            return Failure("connect", f"{_peer(error, receiver)} can't be reached: {_reason(error)}")
        case aiohttp.ConnectionTimeoutError():
            return Failure("timeout", f"{proxy or receiver} can't be reached: connection timed out")
        case TimeoutError():
            return Failure("timeout", f"{receiver} timed out without a response")
        case aiohttp.ServerDisconnectedError():
            return Failure("disconnected", f"{receiver} closed the connection without a response")
        case aiohttp.ClientPayloadError():
            return Failure("half_answer", f"{receiver} broke off its response")
        case aiohttp.ClientResponseError():
            return Failure("no_http", f"{receiver} sent something that is not HTTP: should the url be https://?")
        case OSError():
            return Failure("disconnected", f"{receiver} broke the connection: {_reason(error)}")
        case ValueError():
            return Failure("settings", f"{receiver}: url, headers or token are not valid in an HTTP request", hold=True)
    return Failure("other", f"{receiver}: {type(error).__name__}")


def _tls(error: ssl.SSLError, peer: str) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = why_untrusted(error.verify_code, "ca_file") or error.verify_message
        return Failure("tls", f"{peer} is not trusted: {why}", hold=True)
    reason = str(getattr(error, "reason", None) or "").upper()
    for end, words in _REASONS.items():
        if reason == end or reason.endswith(f"_{end}"):
            return Failure("tls", f"{peer}: TLS: {words}", hold=True)
    return Failure("tls", f"{peer}: TLS: {reason.lower().replace('_', ' ') or 'broken off'}")


def _peer(error: BaseException, receiver: str) -> str:
    """host:port of the TLS server or TCP peer, which may be the proxy."""
    host, port = getattr(error, "host", None), getattr(error, "port", None)
    return f"{host}:{port}" if host else receiver


def _reason(error: OSError) -> str:
    inner = getattr(error, "os_error", error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return inner.strerror or "no response from DNS"
    return os.strerror(inner.errno) if inner.errno and inner.errno > 0 else "no reason known"
