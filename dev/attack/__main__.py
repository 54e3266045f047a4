"""`make attack`: prints a table, a row for each attack as soon as it is over. Root. A minute."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from dev.attack import senders, strangers
from dev.attack.measure import AFTERWARDS_S, HEADS, Outcome, row, watched
from dev.attack.senders import EVIL, HONEST, TOKENS, Sender
from dev.attack.servers import Server, running

NOT_ROOT = 77


async def attack(name: str, server: Server, ask: Callable[[], Awaitable[int]], run: Callable[[], Awaitable[str]]) -> None:
    """Runs one attack, and prints its row."""
    before, begun = server.rss_mib(), time.monotonic()
    async with watched(server, ask) as watch:
        what = await run()
    seconds = time.monotonic() - begun
    await asyncio.sleep(AFTERWARDS_S)
    outcome = Outcome(
        name, server.part, what, seconds, before, watch.peak, server.rss_mib(), watch.answers, watch.refused, watch.longest,
        server.verdict(),
    )  # fmt: skip
    print(row(outcome), flush=True)


async def on_collector(folder: Path) -> None:
    tokens, streams = folder / "tokens", senders.of_many_streams()
    tokens.write_text(TOKENS)
    settings = {"store": f"chdb://{folder}/store", "ingest_token_file": str(tokens)}
    async with running("collector", folder, settings) as server, aiohttp.ClientSession() as http:
        beside, honest = (Sender(http, server, HONEST, "node1", stream) for stream in (1, 2))
        evil = Sender(http, server, EVIL, "node2", 3)
        await beside.ask()
        await attack("half-open requests", server, beside.ask, lambda: strangers.half_open(server))
        await attack("idle connections", server, beside.ask, lambda: strangers.idle(server))
        await attack("empty gzip members", server, beside.ask, lambda: senders.gzip_members(evil))
        await attack("slow bodies", server, beside.ask, lambda: senders.slow_bodies(server))
        await attack("60,000 streams in a body", server, beside.ask, lambda: senders.many_streams(evil, streams))
        await attack("forged records", server, beside.ask, lambda: senders.forged(honest, evil))


async def main() -> None:
    print("| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        await on_collector(Path(folder))


if __name__ == "__main__":
    if os.geteuid():
        sys.exit(NOT_ROOT)
    asyncio.run(main())
