"""What an attack did, and what it cost: memory and CPU of the attacked, and the delay of an honest client beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import aiohttp

from dev.attack.servers import Server

__all__ = ["HEADS", "attack"]

Ask = Callable[[], Awaitable[int]]

EVERY_S: Final = 0.1
AFTERWARDS_S: Final = 5.0  # memory comes back within this
HEADS: Final = (
    "attack",
    "on",
    "what happened",
    "seconds",
    "CPU s",
    "RSS MiB before",
    "peak",
    "after",
    "others: answers",
    "refused",
    "longest s",
    "after it",
)


@dataclass
class Watch:
    """The honest client's answers, and the most memory."""

    peak: float = 0.0
    answers: int = 0
    refused: int = 0
    longest: float = 0.0


async def attack(name: str, server: Server, ask: Ask, run: Callable[[], Awaitable[str]], started: float | None = None) -> None:
    """Runs one attack, and prints its row of the table, in Markdown. `run`: gives what happened. `started`: when the server was
    started (monotonic), for an attack on its start: measured from then on."""
    before, cpu, begun = (server.rss_mib(), server.cpu_s(), time.monotonic()) if started is None else (0.0, 0.0, started)
    async with _watched(server, ask) as watch:
        what = await run()
        cpu = server.cpu_s() - cpu
        watch.peak = watch.peak if started is None else server.peak_mib()
    seconds = time.monotonic() - begun
    await asyncio.sleep(AFTERWARDS_S)
    cells = (
        name, server.name, what, f"{seconds:.1f}", f"{max(cpu, 0):.1f}", f"{before:.0f}", f"{watch.peak:.0f}",
        f"{server.rss_mib():.0f}", f"{watch.answers}", f"{watch.refused}", f"{watch.longest:.2f}", server.verdict(),
    )  # fmt: skip
    print("| " + " | ".join(cells) + " |", flush=True)


@asynccontextmanager
async def _watched(server: Server, ask: Ask) -> AsyncIterator[Watch]:
    """While the block runs: measures memory, and lets an honest client ask again and again. `ask` gives the status."""
    watch = Watch(peak=server.rss_mib())
    tasks = [asyncio.create_task(_memory(server, watch)), asyncio.create_task(_asking(ask, watch))]
    try:
        yield watch
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _memory(server: Server, watch: Watch) -> None:
    while True:
        watch.peak = max(watch.peak, server.rss_mib())
        await asyncio.sleep(EVERY_S / 4)


async def _asking(ask: Ask, watch: Watch) -> None:
    while True:
        begun = time.monotonic()
        try:
            status = await ask()
        except (aiohttp.ClientError, TimeoutError, OSError):
            status = 0
        finally:
            watch.longest = max(watch.longest, time.monotonic() - begun)  # also of the one that has no answer yet
        watch.answers += status == 200
        watch.refused += status != 200
        await asyncio.sleep(EVERY_S)
