"""Exponential backoff: how long to wait before the next try, alike for agents and commands.

Pure: the caller brings the source of randomness (`random.uniform`), and waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Backoff", "Uniform"]

Uniform = Callable[[float, float], float]  # a random number between the two


class Backoff(NamedTuple):
    """`first_s`: upper bound of the pause after the first failure, seconds. It doubles with each failure in a row, up to
    `longest_s`. `failures` counts from 1."""

    first_s: float
    longest_s: float

    def bound(self, failures: int) -> float:
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 16))

    def full_jitter(self, failures: int, uniform: Uniform) -> float:
        """Anything up to the bound: clients that failed in one moment spread out as far as they can."""
        return uniform(0, self.bound(failures))

    def half_jitter(self, failures: int, uniform: Uniform) -> float:
        """From half the bound up to the bound: never a try at once."""
        bound = self.bound(failures)
        return uniform(bound / 2, bound)
