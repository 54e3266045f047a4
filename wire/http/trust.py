"""Why a server's certificate is not trusted, for agents and commands. Pure."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

import aiohttp

__all__ = ["tls_errors", "why_untrusted"]

# OpenSSL's X509_V_ERR_*.
_REASONS: Final = {
    9: "its certificate is not valid yet: compare the clocks",
    10: "its certificate has expired",
    18: "its certificate is self-signed: set {ca_file} to it",
    **dict.fromkeys((2, 19, 20, 21), "its certificate is from an unknown CA: set {ca_file} to that CA"),
    **dict.fromkeys((62, 64), "its certificate is for other host names"),
}


def why_untrusted(verify_code: int, ca_file: str) -> str | None:
    """`verify_code`: of an ssl.SSLCertVerificationError. `ca_file`: the setting or option that names the CA. None: another
    reason, for which OpenSSL's own words are the best."""
    reason = _REASONS.get(verify_code)
    return reason.format(ca_file=ca_file) if reason else None


def tls_errors(error: BaseException | None) -> Iterator[ssl.SSLError]:
    """OpenSSL's own errors among the causes. aiohttp's are of the same classes, but contain no reason."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, aiohttp.ClientError):
            yield error
        error = error.__cause__
