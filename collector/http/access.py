"""Who may come in, and for what: tokens with a scope, users whom a proxy vouches for, or this machine alone.

Must not live here: routes, and how a refusal is put.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Final

from aiohttp import web

from collector.http.tokens import COOKIE, TokenFile

__all__ = ["Access", "Scope"]

USER: Final = "X-Forwarded-User"  # oauth2-proxy's own, and the usual one elsewhere
HOPS: Final = 20  # addresses of X-Forwarded-For that are looked at


class Scope(Enum):
    READ = "read"
    INGEST = "ingest"


class Access:
    """`wanted`: a token, or a proxy's word, must be shown. Otherwise everyone who reaches us may do anything, which is by the
    settings either this machine alone or what somebody wished for in writing."""

    def __init__(
        self,
        token_file: Path | None,
        read_token_file: Path | None,
        ingest_token_file: Path | None,
        trusted_proxies: Iterable[str],
        *,
        is_open: bool,
    ) -> None:
        both, read, ingest = ([TokenFile(path)] if path else [] for path in (token_file, read_token_file, ingest_token_file))
        self._files = {Scope.READ: both + read, Scope.INGEST: both + ingest}
        self._proxies = tuple(ipaddress.ip_network(proxy) for proxy in trusted_proxies)
        self.wanted = bool(both or read or ingest or self._proxies)
        self._local_only = not self.wanted and not is_open

    def may(self, request: web.Request, scope: Scope) -> bool:
        """By its headers. A cookie and a proxy's word are good for looking only: a page elsewhere could send both along."""
        if not self.wanted:
            return True
        if self._fits_header(request.headers.get("Authorization"), scope):
            return True
        if scope is not Scope.READ or request.method not in ("GET", "HEAD"):
            return False
        return self._fits_cookie(request.cookies.get(COOKIE)) or self.user(request) is not None

    def fits(self, token: str) -> bool:
        """A token that is good for reading."""
        return _any(file.fits(token.strip()) for file in self._files[Scope.READ])

    @staticmethod
    def cookie(token: str) -> str:
        """For a token that fits."""
        return TokenFile.cookie(token.strip())

    def user(self, request: web.Request) -> str | None:
        """Whom a trusted proxy has let in."""
        said = request.headers.getall(USER, [])
        # Of two, one may be the client's own word that the proxy let through.
        trusted = len(said) == 1 and _within(request.remote, self._proxies)
        return said[0] if trusted and said[0].strip() and len(said[0]) <= 320 else None

    def scheme(self, request: web.Request) -> str:
        """By which the client came: where a trusted proxy ends TLS, that is the proxy's to say."""
        said = request.headers.get("X-Forwarded-Proto", "")
        return said if said in ("http", "https") and _within(request.remote, self._proxies) else request.scheme

    def client(self, request: web.Request) -> str:
        """The address that asks: the last one of X-Forwarded-For that is no trusted proxy's."""
        address = request.remote or ""
        hops = [hop.strip() for line in request.headers.getall("X-Forwarded-For", []) for hop in line.split(",")]
        for hop in reversed(hops[-HOPS:]):
            if not _within(address, self._proxies) or not _is_address(hop):
                break
            address = hop
        return address

    def strange_host(self, request: web.Request) -> bool:
        """With nothing but the address to guard us, a page elsewhere must not reach us by a name that it points here."""
        return self._local_only and not _is_local_name(request.host)

    def _fits_header(self, authorization: str | None, scope: Scope) -> bool:
        """`Bearer <token>`, the scheme in any case."""
        scheme, _, token = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and _any(file.fits(token.strip()) for file in self._files[scope])

    def _fits_cookie(self, cookie: str | None) -> bool:
        return cookie is not None and _any(file.fits_cookie(cookie) for file in self._files[Scope.READ])


def _any(answers: Iterable[bool]) -> bool:
    return any([*answers])  # all of them, whichever it is


def _within(address: str | None, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_local_name(host: str) -> bool:
    """An address cannot be pointed anywhere else, and neither can localhost."""
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.rpartition(":")[0] or host
    return name.lower() == "localhost" or name.lower().endswith(".localhost") or _is_address(name)
