"""The live stream for as long as anyone watches: taken up again when it breaks, each fork once, and what was missed is said.

Must not live here: HTTP (`collector`), what is printed (`tail`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Final, NamedTuple

import orjson

from cli.client.client import Collector, Query
from cli.client.errors import Unavailable
from cli.client.json_view import Said
from wire.backoff import Backoff

__all__ = ["Away", "Back", "Forks", "Item", "Known", "Lost", "follow"]

_BACKOFF: Final = Backoff(first_s=0.5, longest_s=30.0)
KNOWN: Final = 20_000  # ids remembered: what a collector may send again after a break, at 1 KB each 20 MB at most


class Forks(NamedTuple):
    """Those that came together, each for the first time."""

    forks: list[Said]


class Lost(NamedTuple):
    """Forks that came too late for the collector to send them here. `forks` None: nobody knows how many. `more`: others,
    beyond these."""

    forks: int | None
    more: bool


class Away(NamedTuple):
    """The stream broke. `wait`: seconds until the next try."""

    why: str
    wait: float


class Back(NamedTuple):
    """The stream is there. `after`: seconds that it was away; None: it is the first time. `resumed`: it goes on where it
    broke, as far as the collector can."""

    after: float | None
    resumed: bool


Item = Forks | Lost | Away | Back


class Known:
    """Ids of forks that were shown, the latest of them."""

    def __init__(self, most: int = KNOWN) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._most = most

    def news(self, forks: Iterable[Said]) -> list[Said]:
        """Those that were not shown yet; one without an id counts as new."""
        new = []
        for fork in forks:
            if name := fork["id"].text:
                if name in self._ids:
                    continue
                self._ids[name] = None
                if len(self._ids) > self._most:
                    self._ids.popitem(last=False)
            new.append(fork)
        return new


async def follow(
    collector: Collector,
    query: Query,
    known: Known,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Item]:
    """Without an end. Raises `Trouble` when the first try fails, and later on what no waiting mends."""
    last_id, failures, gone = "", 0, None
    while True:
        try:
            async with collector.stream(query, last_id) as stream:
                yield Back(None if gone is None else time.monotonic() - gone, bool(last_id))
                gone = 0.0
                async for events, stands in stream:
                    failures = 0
                    forks: list[Said] = []
                    for event in events:
                        if event.name == "fork":
                            forks.append(_read(event.data))
                        elif event.name == "lost":
                            yield Forks(known.news(forks))
                            forks = []
                            told = _read(event.data)
                            yield Lost(told["forks"].whole, told["more"].raw is True)
                    if new := known.news(forks):
                        yield Forks(new)
                    last_id = stands  # only now: what was told is shown
            why, wait = "the collector ended the stream", 0.0
        except Unavailable as trouble:
            if gone is None:
                raise
            why, wait = str(trouble), trouble.wait
        gone = time.monotonic()
        failures += 1
        wait = max(wait, _BACKOFF.half_jitter(failures, random.uniform))
        yield Away(why, wait)
        await pause(wait)


def _read(data: str) -> Said:
    try:
        return Said(orjson.loads(data))
    except ValueError:
        return Said(None)
