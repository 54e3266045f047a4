"""The addresses behind a receiver's name: one that answered with an error is tried last."""

from __future__ import annotations

import socket
from itertools import count

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

__all__ = ["AddressOrder", "OrderedResolver"]


class AddressOrder:
    """Which addresses failed, in which order. Only those that the name has now are kept."""

    def __init__(self) -> None:
        self._failed: dict[str, int] = {}
        self._number = count(1)

    def failed(self, address: str) -> None:
        self._failed[address] = next(self._number)

    def sort(self, found: list[ResolveResult]) -> list[ResolveResult]:
        """In DNS's order; then those that failed, the latest at the end."""
        self._failed = {one["host"]: self._failed[one["host"]] for one in found if one["host"] in self._failed}
        return sorted(found, key=lambda one: self._failed.get(one["host"], 0))


class OrderedResolver(AbstractResolver):
    """aiohttp's own resolver, with the addresses in this order."""

    def __init__(self, order: AddressOrder) -> None:
        self._order = order
        self._resolver = aiohttp.DefaultResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        return self._order.sort(await self._resolver.resolve(host, port, family))

    async def close(self) -> None:
        await self._resolver.close()
