"""Wall time of the kernel's boot clock. A step of wall time does not change the times of earlier events.

CLOCK_BOOTTIME and CLOCK_REALTIME run at one rate; their separation changes only when wall time is stepped. A moment is
converted by the separation that was in force then, so a process's start has the same wall time before and after a step.
"""

from __future__ import annotations

import time
from bisect import bisect_right

from agent.state_records import ClockRecord

__all__ = ["SystemClock", "WallClock", "separation"]

_NOISE_NS = 1_000_000  # two measurements differ by microseconds; a step that matters is larger


def separation() -> int:
    """CLOCK_REALTIME less CLOCK_BOOTTIME, ns: of five measurements the one that took the least time."""
    shortest = (1 << 62, 0)
    for _ in range(5):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        shortest = min(shortest, (after - before, wall - (before + after) // 2))
    return shortest[1]


class SystemClock:
    """This machine's clocks: agent.interfaces.Clock."""

    def boot_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def separation_ns(self) -> int:
        return separation()


class WallClock:
    """`measured`: the separation at the start, ns."""

    def __init__(self, measured: int) -> None:
        self._since = [0]
        self._separations = [measured]

    def record(self) -> ClockRecord:
        """Its history, for `restore`."""
        return ClockRecord(self._since, self._separations)

    def restore(self, record: ClockRecord, boot_ns: int) -> None:
        """Continues an earlier agent's history of this boot: a moment has the same wall time for both. `boot_ns`: now."""
        measured = self._separations[-1]
        self._since, self._separations = [*record.since_ns], [*record.separations_ns]
        self.remeasure(boot_ns, measured)

    @property
    def steps(self) -> int:
        """How often wall time was stepped since the start."""
        return len(self._since) - 1

    def remeasure(self, boot_ns: int, measured: int) -> bool:
        """True when wall time was stepped: from `boot_ns` on, `measured` is in force."""
        if abs(measured - self._separations[-1]) < _NOISE_NS:
            return False
        self._since.append(boot_ns)
        self._separations.append(measured)
        return True

    def wall(self, boot_ns: int) -> int:
        """Nanoseconds since 1970 of a moment of the boot clock."""
        if len(self._since) == 1:
            return boot_ns + self._separations[0]
        return boot_ns + self._separations[bisect_right(self._since, boot_ns) - 1]
