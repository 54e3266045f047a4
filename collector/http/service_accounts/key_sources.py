"""Reads the public keys of clusters, again and again: a rotation of keys needs no restart.

They are in a JSON Web Key Set in a file or at an address, or found by the issuer's OpenID discovery
(openid.net/specs/openid-connect-discovery-1_0), or at an API server, which tells its issuer, too. Keys that were read once stay
while their source is away.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import orjson

from collector.http.service_accounts.verification import Issuer, Keys, keys_of
from wire.http.file_versions import FileVersions, file_versions

__all__ = ["Cluster", "KeySources", "Pace"]

_log = logging.getLogger(__name__)

DISCOVERY: Final = "/.well-known/openid-configuration"
API_SERVER_KEYS: Final = "/openid/v1/jwks"
_READ_S: Final = 10.0  # for all requests of one reading
_MOST_BYTES: Final = 1 << 20
_CHECK_S: Final = 1.0  # how often a file, and whether an address is due, is looked at


class Pace(NamedTuple):
    """Seconds between two readings of an address. `soon`: after a failure or an unknown key, which strangers can make up."""

    usual: float = 300.0
    soon: float = 15.0


USUAL_PACE: Final = Pace()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Whose agents are known by their service account's tokens.

    `service_account`: `namespace/name`. `issuer` None: what the API server says. `jwks`: a file or an https address.
    `api_server`: an https address that has discovery and keys. With neither: by discovery at `issuer`. `ca_file`, `token_file`:
    for that address.
    """

    name: str
    service_account: str
    issuer: str | None = None
    jwks: Path | str | None = None
    api_server: str | None = None
    ca_file: Path | None = None
    token_file: Path | None = None

    @property
    def address(self) -> str:
        """Where its keys come from, for messages."""
        return str(self.jwks or self.api_server or self.issuer)


class KeySources:
    """The issuers of some clusters, with the keys that were read last.

    `version` grows with each change of `issuers`. `failures`: readings that failed. `troubles`: by the place of a cluster, why
    its keys can't be read now.
    """

    def __init__(
        self, clusters: Sequence[Cluster], pace: Pace = USUAL_PACE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sources = [_Source(cluster, pace, clock) for cluster in clusters]
        self.version = 0
        self.failures = 0
        self.issuers: tuple[Issuer, ...] = ()
        self.troubles: dict[int, str] = {}

    @property
    def unread(self) -> int:
        """Clusters whose keys could not be read yet."""
        return sum(source.issuer is None for source in self._sources)

    def has_unread(self, url: object) -> bool:
        """There is a cluster without keys that the token's issuer may be of."""
        return any(source.issuer is None and source.cluster.issuer in (None, url) for source in self._sources)

    def refresh_soon(self) -> None:
        """A token has shown an unknown key or issuer, which may be new."""
        for source in self._sources:
            source.is_wanted = True

    async def refresh(self) -> None:
        """Reads all keys now, in at most ten seconds."""
        async with aiohttp.ClientSession() as http:
            await asyncio.gather(*(self._read(http, place) for place in range(len(self._sources))))

    async def run(self) -> None:
        """Keeps them up to date, for as long as the collector runs."""
        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
            for place in range(len(self._sources)):
                tasks.create_task(self._keep(http, place))

    def due(self) -> list[str]:
        """The clusters whose keys are to be read now."""
        return [source.cluster.name for source in self._sources if source.is_due()]

    async def _keep(self, http: aiohttp.ClientSession, place: int) -> None:
        while True:
            if self._sources[place].is_due():
                await self._read(http, place)
            await asyncio.sleep(_CHECK_S)

    async def _read(self, http: aiohttp.ClientSession, place: int) -> None:
        source = self._sources[place]
        name = source.cluster.name
        before = source.issuer
        try:
            await source.read(http)
        except (OSError, ValueError, aiohttp.ClientError, TimeoutError) as error:
            trouble = f"{source.cluster.address} {str(error) or type(error).__name__}"
            self.failures += 1
            if self.troubles.get(place) != trouble:
                _log.warning("the keys of cluster %s can't be read: %s", name, trouble)
            self.troubles[place] = trouble
            return
        if self.troubles.pop(place, None):
            _log.info("the keys of cluster %s are read again", name)
        if before != source.issuer:
            self.issuers = tuple(one.issuer for one in self._sources if one.issuer)
            self.version += 1
            _log.info("cluster %s: %d keys, issuer %s", name, len(source.key_texts), source.issuer and source.issuer.url)


class _Source:
    """One cluster's keys. `issuer` None: not read yet. `is_wanted`: a token has shown an unknown key."""

    def __init__(self, cluster: Cluster, pace: Pace, clock: Callable[[], float]) -> None:
        self.cluster, self._pace, self._clock = cluster, pace, clock
        self.issuer: Issuer | None = None
        self.key_texts: list[bytes] = []
        self.is_wanted = False
        self._next = self._soon = clock()
        self._file: FileVersions = (None,)

    def is_due(self) -> bool:
        if isinstance(self.cluster.jwks, Path):
            return file_versions([self.cluster.jwks]) != self._file
        return self._clock() >= (self._soon if self.is_wanted else self._next)

    async def read(self, http: aiohttp.ClientSession) -> None:
        """Raises OSError, ValueError, aiohttp.ClientError, TimeoutError."""
        self.is_wanted = False
        self._next = self._soon = self._clock() + self._pace.soon
        url, jwks = await self._fetch(http)
        keys = keys_of(jwks)
        self._next = self._clock() + self._pace.usual
        texts = sorted(orjson.dumps(key, option=orjson.OPT_SORT_KEYS) for key in jwks["keys"])
        if self.issuer is None or (url, texts) != (self.issuer.url, self.key_texts):
            self.key_texts = texts
            self.issuer = _issuer(self.cluster, url, keys)

    async def _fetch(self, http: aiohttp.ClientSession) -> tuple[str, Any]:
        """The issuer and the key set."""
        cluster = self.cluster
        if isinstance(cluster.jwks, Path):
            self._file = file_versions([cluster.jwks])
            return str(cluster.issuer), orjson.loads(await asyncio.to_thread(_read_file, cluster.jwks))
        async with asyncio.timeout(_READ_S):
            if cluster.jwks is not None:
                return str(cluster.issuer), await self._get(http, cluster.jwks)
            base = (cluster.api_server or str(cluster.issuer)).rstrip("/")
            found = await self._get(http, base + DISCOVERY)
            if cluster.api_server is not None:
                return cluster.issuer or _text(found, "issuer"), await self._get(http, base + API_SERVER_KEYS)
            if _text(found, "issuer") != cluster.issuer:
                raise ValueError("names another issuer than itself")
            address = _text(found, "jwks_uri")
            if urlsplit(address).scheme != "https":
                raise ValueError("names no https address `jwks_uri`")
            return str(cluster.issuer), await self._get(http, address)

    async def _get(self, http: aiohttp.ClientSession, url: str) -> Any:  # noqa: ANN401  JSON
        cluster = self.cluster
        context = await asyncio.to_thread(ssl.create_default_context, cafile=cluster.ca_file) if cluster.ca_file else True
        headers = {}
        if cluster.token_file and _server_of(url) == _server_of(cluster.address):  # the token is for no other server
            headers["Authorization"] = f"Bearer {(await asyncio.to_thread(_read_file, cluster.token_file)).decode().strip()}"
        async with http.get(url, headers=headers, ssl=context, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"answers {response.status}")
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > _MOST_BYTES:
                    raise ValueError(f"is larger than {_MOST_BYTES} bytes")
            return orjson.loads(body)


def _issuer(cluster: Cluster, url: str, keys: Keys) -> Issuer:
    return Issuer(cluster.name, url, keys, cluster.service_account)


def _text(found: Any, name: str) -> str:  # noqa: ANN401  JSON
    value = found.get(name) if isinstance(found, dict) else None
    if not isinstance(value, str):
        raise ValueError(f"has no `{name}` in its discovery document")
    return value


def _server_of(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _read_file(file: Path) -> bytes:
    with file.open("rb") as stream:
        text = stream.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise ValueError(f"is larger than {_MOST_BYTES} bytes")
    return text
