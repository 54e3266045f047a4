"""The attacks on a collector, by strangers and by those who have a token that sends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp

from dev.attack import senders, strangers
from dev.attack.certificates import Certificates
from dev.attack.measure import attack
from dev.attack.senders import EVIL, HONEST, SHARED, TOKENS, Sender
from dev.attack.servers import Server, running

__all__ = ["all_attacks", "strangers_only"]

PART: Final = "collector"


async def strangers_only(folder: Path, *, tls: bool) -> None:
    """`tls`: as the chart is."""
    async with _collector(folder, tls=tls) as (server, http):
        await _strangers(server, Sender(http, server, HONEST, "node1", 1))


async def all_attacks(folder: Path) -> None:
    """With TLS."""
    streams = senders.of_many_streams()
    async with _collector(folder, tls=True) as (server, http):
        beside, honest, sharing = (
            Sender(http, server, token, node, stream)
            for token, node, stream in ((HONEST, "node1", 1), (HONEST, "node1", 2), (SHARED, "node3", 4))
        )
        evil, twin = Sender(http, server, EVIL, "node2", 3), Sender(http, server, SHARED, "node3", 4)
        await _strangers(server, beside)
        for name, run in {
            "empty gzip members": partial(senders.gzip_members, evil),
            "slow bodies": partial(senders.slow_bodies, server, EVIL),
            "60,000 streams in a body": partial(senders.many_streams, evil, streams),
            "forged forks of another node": partial(senders.forged, honest, evil),
            "forged forks, one token for all": partial(senders.forged, sharing, twin),
            "forged counts": partial(senders.counts_beyond, evil),
        }.items():
            await attack(name, server, beside.ask, run)


@asynccontextmanager
async def _collector(folder: Path, *, tls: bool) -> AsyncIterator[tuple[Server, aiohttp.ClientSession]]:
    tokens = folder / "tokens"
    tokens.write_text(TOKENS)
    settings = {"store": f"chdb://{folder}/store", "ingest_token_file": str(tokens)}
    certificates = Certificates(folder) if tls else None
    if certificates:
        settings |= {"cert_file": str(certificates.file), "key_file": str(certificates.key)}
    async with (
        running(PART, folder, settings, certificates and certificates.client()) as server,
        aiohttp.ClientSession(connector=server.connector()) as http,
    ):
        yield server, http


async def _strangers(server: Server, beside: Sender) -> None:
    await beside.ask()
    await attack("half-open requests", server, beside.ask, partial(strangers.half_open, server))
    await attack("idle connections", server, beside.ask, partial(strangers.idle, server))
