"""How many connections a server holds: in all, for an address that has shown no credential yet, for a credential. Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass

__all__ = ["Bounds", "ConnectionCounts", "network_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a server grants a client.

    Connections: `connections` in all; `anonymous` of them before a credential was shown, and of those `per_address` from one
    address (an IPv6 /64). Whole clusters come from one address behind a NAT, so a connection counts for its credential as soon
    as it has shown one: `per_credential`. An idle connection takes some 20 KiB.

    Requests: `header_bytes` for the request line and the headers together; `header_s` from the first byte to the end of the
    headers; `idle_s` without a request; `body_bytes_per_s` is the least rate of a body, checked every `progress_s`.
    """

    connections: int
    anonymous: int
    per_address: int
    per_credential: int
    header_bytes: int = 16 << 10
    header_s: float = 10.0
    idle_s: float = 60.0
    body_bytes_per_s: int = 1024
    progress_s: float = 5.0


class ConnectionCounts:
    """The open connections of one server."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._addresses: Counter[str] = Counter()
        self._credentials: Counter[str] = Counter()
        self.refused = 0

    @property
    def open(self) -> int:
        return self._addresses.total() + self._credentials.total()

    def admit(self, network: str) -> bool:
        """A new connection from there. False: it is one too many, and was counted as refused."""
        bounds, anonymous = self._bounds, self._addresses.total()
        full = self.open >= bounds.connections or anonymous >= bounds.anonymous
        if full or self._addresses[network] >= bounds.per_address:
            self.refused += 1
            return False
        self._addresses[network] += 1
        return True

    def authenticate(self, network: str, credential: str) -> bool:
        """One connection of `network` has shown `credential`. False: the credential has as many as it may have."""
        if self._credentials[credential] >= self._bounds.per_credential:
            self.refused += 1
            return False
        _remove(self._addresses, network)
        self._credentials[credential] += 1
        return True

    def close(self, network: str, credential: str | None) -> None:
        """An admitted connection has ended."""
        if credential is None:
            _remove(self._addresses, network)
        else:
            _remove(self._credentials, credential)


def network_of(address: str) -> str:
    """What one client can choose its address from: an IPv6 client has a /64 of them."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _remove(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
