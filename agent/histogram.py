"""A histogram of durations, for the lifetime of the process. Pure: it reads no clock."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import Final

__all__ = ["BOUNDS", "Durations"]

# Seconds. From a commit to a fast disk to the longest timeout of a receiver.
BOUNDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Durations:
    """`total`: the sum of all durations, seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[int]:
        """The number of durations up to each of BOUNDS; last, the number of all."""
        return [*accumulate(self._counts)]
