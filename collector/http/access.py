"""Who may do what: tokens with a scope, agents by their service account, users whom a proxy names, or this machine alone."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Final

from aiohttp import web

from collector.http.service_accounts import TokenVerifier
from collector.http.token_refusals import Reason, TokenRefused
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
    settings that is this machine alone, or `access: open`. `agents`: checks the tokens of service accounts, which may send."""

    def __init__(
        self,
        token_files: Mapping[Scope, Sequence[Path]],
        agents: TokenVerifier | None,
        trusted_proxies: Iterable[str],
        *,
        is_open: bool,
    ) -> None:
        self._files = {scope: [TokenFile(path) for path in token_files[scope]] for scope in Scope}
        self._agents = agents
        self._proxies = tuple(ipaddress.ip_network(proxy) for proxy in trusted_proxies)
        self.required = bool(any(self._files.values()) or agents or self._proxies)
        self._local_only = not self.required and not is_open

    def may(self, request: web.Request, scope: Scope) -> bool:
        try:
            self.authenticate(request, scope)
        except TokenRefused:
            return False
        return True

    def authenticate(self, request: web.Request, scope: Scope) -> Credential | None:
        """The credential that allows the request; None where none is required. Raises TokenRefused.

        A cookie and a proxy's user are good for reading only: another site's page could send both along. A token of a node is
        good for sending only.
        """
        if not self.required:
            return None
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        found = self._static(token, scope)
        if found is None and scope is Scope.READ and request.method in ("GET", "HEAD"):
            found = self._viewer(request)
        if found is not None:
            return found
        if not token:
            raise TokenRefused(Reason.MISSING, "a token is required: Authorization: Bearer <token>")
        if scope is Scope.READ:
            raise TokenRefused(Reason.UNKNOWN, "a token that may read is required: Authorization: Bearer <token>")
        if self._agents is None or token.count(".") != 2:  # a JSON Web Token has three parts
            raise TokenRefused(Reason.UNKNOWN, "the token is none of those that may send to this collector")
        return self._agents.credential(token)

    def _static(self, token: str, scope: Scope) -> Credential | None:
        for file in self._files[scope]:
            found = file.token(token)
            if found is not None and (scope is Scope.INGEST or found.may_read):
                return found.credential
        return None

    def _viewer(self, request: web.Request) -> Credential | None:
        cookie = request.cookies.get(COOKIE)
        for file in self._files[Scope.READ] if cookie else ():
            found = file.token_of_cookie(str(cookie))
            if found is not None and found.may_read:
                return found.credential
        user = self.user(request)
        return None if user is None else Credential(f"user {user}")

    def cookie(self, token: str) -> str | None:
        """For a token that is good for reading."""
        for file in self._files[Scope.READ]:
            found = file.token(token.strip())
            if found is not None and found.may_read:
                return found.cookie.decode()
        return None

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

    def is_foreign_page(self, request: web.Request) -> bool:
        """Whether a page of another origin makes a browser send this; agents and scripts send neither header.

        Browsers send Sec-Fetch-Site to https and localhost only, and Origin with each POST. The first is the browser's own
        comparison, which holds behind a proxy that changes Host, too.
        """
        site, sent_by = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if site is not None:
            return site not in ("same-origin", "none")
        if sent_by is None:
            return False
        host = request.headers.get("X-Forwarded-Host", "") if _within(request.remote, self._proxies) else ""
        return sent_by.partition("://")[2].lower() != (host or request.host).lower()


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
