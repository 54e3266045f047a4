"""How often a line about what strangers do is logged, so that they can't fill the disk. Pure but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Final

__all__ = ["LOG_S", "LogLimit"]

LOG_S: Final = 10.0  # seconds between two lines of one kind


class LogLimit:
    """Of each kind the first line of ten seconds. The kinds must be few: none of them may come from outside."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[Hashable, float] = {}
        self._left_out: dict[Hashable, int] = {}

    def suffix(self, kind: Hashable = None) -> str | None:
        """For the end of the line: how many were left out since the last one. None: leave this one out, too."""
        now = self._clock()
        if now - self._last.get(kind, now - LOG_S) < LOG_S:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return None
        self._last[kind] = now
        left_out = self._left_out.pop(kind, 0)
        return f", and {left_out} more since the last such line" if left_out else ""
