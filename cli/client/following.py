"""Follows the live stream: reconnects when it breaks, yields each fork once, and reports what was missed."""

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
from cli.client.json_view import JsonView
from wire.backoff import Backoff

__all__ = ["Connected", "Disconnected", "Forks", "Item", "Lost", "SeenIds", "follow"]

_BACKOFF: Final = Backoff(first_s=0.5, longest_s=30.0)
MAX_SEEN: Final = 20_000  # ids remembered: a collector may send these again after a break; at 1 KB each 20 MB at most


class Forks(NamedTuple):
    """Forks that arrived together, each for the first time."""

    forks: list[JsonView]


class Lost(NamedTuple):
    """Forks that the collector skipped because this reader was too slow. `forks` None: the number is unknown. `more`: the
    number is a lower bound."""

    forks: int | None
    more: bool


class Disconnected(NamedTuple):
    """The stream broke. `wait`: seconds until the next try."""

    reason: str
    wait: float


class Connected(NamedTuple):
    """The stream is connected. `after`: seconds since it broke; None: the first time. `resumed`: it continues where it broke,
    as far as the collector can."""

    after: float | None
    resumed: bool


Item = Forks | Lost | Disconnected | Connected


class SeenIds:
    """Ids of the forks that were shown last."""

    def __init__(self, most: int = MAX_SEEN) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._most = most

    def unseen(self, forks: Iterable[JsonView]) -> list[JsonView]:
        """The forks that were not shown yet; one without an id counts as new."""
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
    seen: SeenIds,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Item]:
    """Never ends. Raises `CommandError` when the first try fails, and later for errors that are not temporary."""
    last_id, failures, broken_at = "", 0, None
    while True:
        try:
            async with collector.stream(query, last_id) as stream:
                yield Connected(None if broken_at is None else time.monotonic() - broken_at, bool(last_id))
                broken_at = 0.0
                async for events, position in stream:
                    failures = 0
                    forks: list[JsonView] = []
                    for event in events:
                        if event.name == "fork":
                            forks.append(_read(event.data))
                        elif event.name == "lost":
                            yield Forks(seen.unseen(forks))
                            forks = []
                            lost = _read(event.data)
                            yield Lost(lost["forks"].integer, lost["more"].raw is True)
                    if new := seen.unseen(forks):
                        yield Forks(new)
                    last_id = position  # only now: the consumer has shown the forks before it
            reason, wait = "the collector ended the stream", 0.0
        except Unavailable as error:
            if broken_at is None:
                raise
            reason, wait = str(error), error.wait
        broken_at = time.monotonic()
        failures += 1
        wait = max(wait, _BACKOFF.half_jitter(failures, random.uniform))
        yield Disconnected(reason, wait)
        await pause(wait)


def _read(data: str) -> JsonView:
    try:
        return JsonView(orjson.loads(data))
    except ValueError:
        return JsonView(None)
