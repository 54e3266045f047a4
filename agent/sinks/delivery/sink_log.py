"""Log lines about one sink, at a bounded rate: a receiver chooses how many there would be, and what they say."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

__all__ = ["SinkLog"]

_LINES: Final = 3  # of one kind in _PERIOD_S; the others are counted
_PERIOD_S: Final = 60.0


@dataclass(slots=True)
class _Period:
    """`left_out`: lines that were not written since `start`, seconds of the loop's clock."""

    start: float
    lines: int = 0
    left_out: int = 0


class SinkLog:
    """`sink`: its name, at the head of each line."""

    def __init__(self, log: logging.Logger, sink: str) -> None:
        self._log = log
        self._sink = sink
        self._periods: dict[str, _Period] = {}

    def write(self, level: int, kind: str, text: str, now: float) -> None:
        """Writes the line, or counts it. `kind`: one of few: lines of one kind share a rate. `now`: the loop's clock."""
        period = self._periods.setdefault(kind, _Period(now))
        if period.lines < _LINES:
            period.lines += 1
            self._log.log(level, "sink %s: %s", self._sink, text)
        else:
            period.left_out += 1

    def end_periods(self, now: float) -> None:
        """Writes how many lines were left out in the periods that are over. To be called now and then."""
        for kind, period in [*self._periods.items()]:
            if now - period.start >= _PERIOD_S:
                del self._periods[kind]
                if period.left_out:
                    text = "sink %s: %d more lines of this kind in %d s: %s"
                    self._log.warning(text, self._sink, period.left_out, now - period.start, kind)
