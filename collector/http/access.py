"""Who may do what: tokens with a scope, users whom a trusted proxy names, or this machine alone."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Final

from aiohttp import web

from collector.http.tokens import COOKIE, TokenFile
from collector.model import Credential

__all__ = ["CREDENTIAL", "Access", "Scope"]

CREDENTIAL: Final = web.RequestKey("credential", Credential)  # of a request that was admitted with one

USER: Final = "X-Forwarded-User"  # oauth2-proxy's own, and the usual one elsewhere
HOPS: Final = 20  # addresses of X-Forwarded-For that are read


class Scope(Enum):
    READ = "read"
    INGEST = "ingest"


class Access:
    """`required`: a token, or a user named by a proxy. Otherwise everyone who reaches this collector may do anything: by the
    settings that is this machine alone, or `access: open`. `token_file`: good for reading and for sending."""

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
        self.required = bool(both or read or ingest or self._proxies)
        self._local_only = not self.required and not is_open

    def may(self, request: web.Request, scope: Scope) -> bool:
        return not self.required or self.credential(request, scope) is not None

    def credential(self, request: web.Request, scope: Scope) -> Credential | None:
        """The credential that allows the request; None where none does or none is needed.

        A cookie and a proxy's user are good for reading only: another site's page could send both along.
        """
        if not self.required:
            return None
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() == "bearer" and _any(file.fits(token) for file in self._files[scope]):
            return Credential(TokenFile.name(TokenFile.cookie(token)))
        if scope is not Scope.READ or request.method not in ("GET", "HEAD"):
            return None
        cookie = request.cookies.get(COOKIE)
        if cookie is not None and _any(file.fits_cookie(cookie) for file in self._files[Scope.READ]):
            return Credential(TokenFile.name(cookie))
        user = self.user(request)
        return None if user is None else Credential(f"user {user}")

    def fits(self, token: str) -> bool:
        """A token that is good for reading."""
        return _any(file.fits(token.strip()) for file in self._files[Scope.READ])

    @staticmethod
    def cookie(token: str) -> str:
        """For a token that fits."""
        return TokenFile.cookie(token.strip())

    def user(self, request: web.Request) -> str | None:
        """Whom a trusted proxy has authenticated."""
        users = request.headers.getall(USER, [])
        # Of two, one may be the client's own header that the proxy let through.
        if len(users) != 1 or not _within(request.remote, self._proxies):
            return None
        (user,) = users
        return user if user.strip() and len(user) <= 320 else None

    def scheme(self, request: web.Request) -> str:
        """`http` or `https`, as the client asked: where a trusted proxy ends TLS, as the proxy states."""
        forwarded = request.headers.get("X-Forwarded-Proto", "")
        return forwarded if forwarded in ("http", "https") and _within(request.remote, self._proxies) else request.scheme

    def client(self, request: web.Request) -> str:
        """The client's address: the last one of X-Forwarded-For that is no trusted proxy's."""
        address = request.remote or ""
        hops = [hop.strip() for line in request.headers.getall("X-Forwarded-For", []) for hop in line.split(",")]
        for hop in reversed(hops[-HOPS:]):
            if not _within(address, self._proxies) or not _is_address(hop):
                break
            address = hop
        return address

    def is_foreign_host(self, request: web.Request) -> bool:
        """Without tokens, another site's page must not reach this collector by a name that resolves to its address."""
        return self._local_only and not _is_local_name(request.host)


def _any(answers: Iterable[bool]) -> bool:
    return any([*answers])  # evaluates all of them, whichever fits


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
    """Neither an address nor localhost can be made to resolve to another address."""
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.rpartition(":")[0] or host
    return name.lower() == "localhost" or name.lower().endswith(".localhost") or _is_address(name)
