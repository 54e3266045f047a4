"""How often one client may ask, and how many requests may run at once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from wire.http.connections import network_of

__all__ = ["ConcurrencyLimit", "LimitReached", "RateLimit"]

BURST: Final = 4.0  # seconds' worth of requests at once: a page with its parts, a few of them opened together
ADDRESSES: Final = 10_000  # kept, the most recent; a dropped one begins anew with a full bucket


class LimitReached(Exception):
    """As many as may run at once do."""


class RateLimit:
    """Token buckets. `rate`: requests a second, on the average, of one client address. An IPv6 client is its /64."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = rate, rate * BURST, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> float:
        """Seconds until the next request is admitted; 0: this one is."""
        key, now = network_of(address), self._clock()
        left, then = self._buckets.pop(key, (self._most, now))
        left = min(self._most, left + (now - then) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._buckets[key] = (left if wait else left - 1, now)
        if len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)
        return wait


class ConcurrencyLimit:
    """At most so many at once, without a queue. `count` is called with how many run."""

    def __init__(self, most: int, count: Callable[[int], object]) -> None:
        self._most, self._count = most, count
        self._running = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises `LimitReached`."""
        if self._running >= self._most:
            raise LimitReached
        self._running += 1
        self._count(self._running)
        try:
            yield
        finally:
            self._running -= 1
            self._count(self._running)
