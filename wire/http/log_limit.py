"""How often a line about what strangers do is logged, so that they can't fill the disk. Pure but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from typing import Final, NamedTuple

__all__ = ["LOG_S", "LeftOut", "LogLimit"]

LOG_S: Final = 10.0  # seconds between two lines of one kind


class LeftOut(NamedTuple):
    """`lines` of `kind` that were not written in `seconds`."""

    kind: Hashable
    lines: int
    seconds: float


class _Period:
    __slots__ = ("left_out", "start", "written")

    def __init__(self, start: float) -> None:
        self.start, self.written, self.left_out = start, 0, 0


class LogLimit:
    """Of each kind the first `lines` of a period (`period_s`, seconds, from the first of them); the others are counted. The
    count is given once: by `ended`, where that is called now and then, or else at the next line.

    The kinds must be few: none of them may come from outside.
    """

    def __init__(self, lines: int = 1, period_s: float = LOG_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines, self._period_s, self._clock = lines, period_s, clock
        self._periods: dict[Hashable, _Period] = {}

    def suffix(self, kind: Hashable = None) -> str | None:
        """For the end of the line: how many were left out before it. None: leave this one out, too."""
        now, left_out = self._clock(), 0
        period = self._periods.get(kind)
        if period is None or now - period.start >= self._period_s:
            left_out = period.left_out if period else 0
            period = self._periods[kind] = _Period(now)
        if period.written >= self._lines:
            period.left_out += 1
            return None
        period.written += 1
        return f", and {left_out} more since the last such line" if left_out else ""

    def ended(self) -> Iterator[LeftOut]:
        """The kinds of which lines were left out in periods that are over. Each is given once."""
        now = self._clock()
        for kind, period in [*self._periods.items()]:
            if (seconds := now - period.start) >= self._period_s:
                del self._periods[kind]
                if period.left_out:
                    yield LeftOut(kind, period.left_out, seconds)
