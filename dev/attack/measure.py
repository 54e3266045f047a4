"""What an attack did, and what it cost: memory of the attacked, and the delay of an honest client beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import aiohttp

from dev.attack.servers import Server

__all__ = ["HEADS", "Outcome", "Watch", "row", "watched"]

EVERY_S: Final = 0.1
AFTERWARDS_S: Final = 5.0  # memory comes back within this
HEADS: Final = (
    "attack",
    "on",
    "what happened",
    "seconds",
    "RSS MiB before",
    "peak",
    "after",
    "others: answers",
    "refused",
    "longest s",
    "after it",
)


@dataclass(frozen=True)
class Outcome:
    attack: str
    on: str
    what: str
    seconds: float
    before: float
    peak: float
    after: float
    answers: int
    refused: int
    longest: float
    verdict: str


@dataclass
class Watch:
    """The honest client's answers, and the most memory."""

    peak: float = 0.0
    answers: int = 0
    refused: int = 0
    longest: float = 0.0


@asynccontextmanager
async def watched(server: Server, ask: Callable[[], Awaitable[int]]) -> AsyncIterator[Watch]:
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


async def _asking(ask: Callable[[], Awaitable[int]], watch: Watch) -> None:
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


def row(outcome: Outcome) -> str:
    """A line of the table, in Markdown."""
    cells = (
        outcome.attack, outcome.on, outcome.what, f"{outcome.seconds:.1f}", f"{outcome.before:.0f}", f"{outcome.peak:.0f}",
        f"{outcome.after:.0f}", f"{outcome.answers}", f"{outcome.refused}", f"{outcome.longest:.2f}", outcome.verdict,
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"
