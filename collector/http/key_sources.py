"""Not used by the server yet: reads the public keys of clusters, which `service_accounts` verifies with (decision 0012).

They are in a JSON Web Key Set in a file or at an address, or found by the issuer's OpenID discovery. All are read
again every five minutes, and soon after a token with an unknown key: so a rotation of keys needs no restart. Keys that were
read once stay while their source is away.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from collector.http.service_accounts import Issuer, Keys, keys_of

__all__ = ["Cluster", "KeySources"]

_log = logging.getLogger(__name__)

_EVERY_S: Final = 300.0  # between readings
_SOON_S: Final = 15.0  # after an unknown key at the earliest: strangers can make up keys, too
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Whose agents are known by their service account's tokens.

    `jwks`: a file or an https address; None: by discovery at `issuer`. `ca_file`, `token_file`: for the address, where it is an
    API server's own.
    """

    name: str
    issuer: str
    audience: str
    service_account: str
    jwks: Path | str | None = None
    ca_file: Path | None = None
    token_file: Path | None = None


class KeySources:
    """The issuers of some clusters, with the keys that were read last. `troubles`: by cluster, why its keys can't be read."""

    def __init__(self, clusters: Sequence[Cluster]) -> None:
        self._clusters = clusters
        self._keys: dict[str, Keys] = {}
        self._wanted = asyncio.Event()
        self.troubles: dict[str, str] = {}

    @property
    def issuers(self) -> list[Issuer]:
        """Those whose keys are known."""
        return [
            Issuer(one.name, one.issuer, self._keys[one.name], one.audience, one.service_account)
            for one in self._clusters
            if one.name in self._keys
        ]

    def refresh_soon(self) -> None:
        """A token has shown an unknown key, which may be new."""
        self._wanted.set()

    async def refresh(self) -> None:
        """Reads all keys now."""
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as http:
            await asyncio.gather(*(self._read(http, cluster) for cluster in self._clusters))

    async def run(self) -> None:
        """Keeps them up to date, for as long as the collector runs."""
        while True:
            await self.refresh()
            await asyncio.sleep(_SOON_S)
            try:
                async with asyncio.timeout(_EVERY_S - _SOON_S):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()

    async def _read(self, http: aiohttp.ClientSession, cluster: Cluster) -> None:
        try:
            self._keys[cluster.name] = keys_of(await _jwks(http, cluster))
        except (OSError, ValueError, aiohttp.ClientError, TimeoutError) as error:
            trouble = f"{cluster.jwks or cluster.issuer} {str(error) or type(error).__name__}"
            if self.troubles.get(cluster.name) != trouble:
                _log.warning("the keys of cluster %s can't be read: %s", cluster.name, trouble)
            self.troubles[cluster.name] = trouble
        else:
            if self.troubles.pop(cluster.name, None):
                _log.info("the keys of cluster %s are read again", cluster.name)


async def _jwks(http: aiohttp.ClientSession, cluster: Cluster) -> object:
    """Raises OSError, ValueError, aiohttp.ClientError, TimeoutError."""
    if isinstance(cluster.jwks, Path):
        return orjson.loads(await asyncio.to_thread(cluster.jwks.read_bytes))
    address = cluster.jwks
    if address is None:
        found = await _get(http, cluster, f"{cluster.issuer.rstrip('/')}/.well-known/openid-configuration")
        address = found.get("jwks_uri") if isinstance(found, dict) else None
        if not isinstance(address, str) or urlsplit(address).scheme != "https":
            raise ValueError("names no https address `jwks_uri`")
    return await _get(http, cluster, address)


async def _get(http: aiohttp.ClientSession, cluster: Cluster, url: str) -> Any:  # noqa: ANN401  JSON
    context = ssl.create_default_context(cafile=cluster.ca_file) if cluster.ca_file else True
    token = cluster.token_file and (await asyncio.to_thread(cluster.token_file.read_text)).strip()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with http.get(url, headers=headers, ssl=context, allow_redirects=False) as response:
        if response.status != 200:
            raise ValueError(f"answers {response.status}")
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > _MOST_BYTES:
                raise ValueError(f"is larger than {_MOST_BYTES} bytes")
        return orjson.loads(body)
