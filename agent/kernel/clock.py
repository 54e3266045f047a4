"""From the kernel's boot clock to wall time, without bending history when somebody steps the clock.

CLOCK_BOOTTIME and CLOCK_REALTIME run at one rate; what separates them changes only when wall time is stepped. So a moment is
told by the separation that was in force at that moment, and a process's start reads the same before and after the step.
Must not live here: formats.
"""

from __future__ import annotations

import time
from bisect import bisect_right

from agent.state_records import ClockRecord

__all__ = ["Clock", "separation"]

_NOISE_NS = 1_000_000  # two readings of the clocks differ by microseconds; a step that matters by more


def separation() -> int:
    """CLOCK_REALTIME less CLOCK_BOOTTIME, ns: of a few readings the one with the least time between its two halves."""
    best = (1 << 62, 0)
    for _ in range(5):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        best = min(best, (after - before, wall - (before + after) // 2))
    return best[1]


class Clock:
    """`measured`: the separation at the start, ns."""

    def __init__(self, measured: int) -> None:
        self._since = [0]
        self._apart = [measured]

    def record(self) -> ClockRecord:
        """Its history, for `restore`."""
        return ClockRecord(self._since, self._apart)

    def restore(self, record: ClockRecord, boot_ns: int) -> None:
        """Goes on from an earlier agent's history of this boot: a moment has one wall time, whichever agent reports it.
        `boot_ns`: now."""
        measured = self._apart[-1]
        self._since, self._apart = [*record.since_ns], [*record.separations_ns]
        self.remeasure(boot_ns, measured)

    @property
    def steps(self) -> int:
        """How often wall time was stepped since the start."""
        return len(self._since) - 1

    def remeasure(self, boot_ns: int, measured: int) -> bool:
        """True when wall time was stepped: from `boot_ns` on, `measured` is in force."""
        if abs(measured - self._apart[-1]) < _NOISE_NS:
            return False
        self._since.append(boot_ns)
        self._apart.append(measured)
        return True

    def wall(self, boot_ns: int) -> int:
        """Nanoseconds since 1970 of a moment of the boot clock."""
        if len(self._since) == 1:
            return boot_ns + self._apart[0]
        return boot_ns + self._apart[bisect_right(self._since, boot_ns) - 1]
