"""Pods above the storm limit -> fork_storm events, start and stop, with exact numbers. Pure: told time, storms and rows.

The kernel decides when a pod is one too many and holds back; the numbers come from the tally, as the difference of two
looks at it. So a storm's interval begins with the last look before it. Must not live here: reading maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from agent.ledger import COUNTS, totals
from agent.model import Attribution, Event
from agent.state_records import Counters, StormRecord, StormsRecord
from wire.events import FORK_STORM

__all__ = ["HOLD_S", "Storms"]

HOLD_S: Final = 5  # STORM_HOLD in bpf/fork.c
_HOLD_NS: Final = HOLD_S * 10**9


class Storms:
    """`stream`: of the ids. `best`, `whose`: as in Summaries. `made`: when its probe was, boot clock ns: a storm that was over
    by then is another stream's to tell, though the probe inherited the kernel's row of it."""

    def __init__(
        self,
        stream: str,
        limit: int,
        best: Callable[[int], Attribution],
        whose: Callable[[Attribution], dict[str, Any]],
        made: int = 0,
    ) -> None:
        self._stream = stream
        self._made = made
        self._limit = limit
        self._best = best
        self._whose = whose
        self._on: dict[int, StormRecord] = {}
        self._ended: dict[int, int] = {}
        self._looked: dict[int, tuple[str, Counters]] = {}
        self.begun = 0

    def __len__(self) -> int:
        """How many pods are in a storm."""
        return len(self._on)

    def look(
        self,
        now: int,
        wall: str,
        storms: Mapping[int, tuple[int, int]],
        pods: Iterable[int],
        rows_of: Callable[[int], Iterable[Counters]],
    ) -> list[Event]:
        """About once a second. `now`: boot clock ns, and the same as RFC 3339; `storms`: pod -> when it was last over the
        limit,
        and since when; `pods`: all that have rows; `rows_of`: a pod's rows of the tally, now."""
        events: list[Event] = []
        for pod, (over, since) in storms.items():
            on = self._on.get(pod)
            if on and (since != on.since or now - over > _HOLD_NS):
                events.append(self._stop(pod, on, wall, rows_of(pod)))
                on = None
            if not on and self._ended.get(pod) != since and over + _HOLD_NS >= self._made:
                events.append(self._start(pod, since, wall, rows_of(pod)))
                if now - over > _HOLD_NS:  # it came and went while nobody looked
                    events.append(self._stop(pod, self._on[pod], wall, rows_of(pod)))
        gone = self._on.keys() - storms.keys()  # a pod's row goes with its directory
        events += [self._stop(pod, self._on[pod], wall, rows_of(pod)) for pod in gone]
        self._looked = {pod: (wall, _sum(rows_of(pod))) for pod in pods}
        return events

    def record(self) -> StormsRecord:
        """What the next agent must know."""
        return StormsRecord(self.begun, dict(self._on), dict(self._ended), dict(self._looked))

    def restore(self, record: StormsRecord) -> None:
        self.begun, self._on, self._ended, self._looked = record

    def forget(self, pod: int) -> None:
        self._ended.pop(pod, None)

    def _start(self, pod: int, since: int, wall: str, rows: Iterable[Counters]) -> Event:
        self.begun += 1
        total = _sum(rows)
        start, before = self._looked.get(pod, (wall, (0,) * len(COUNTS)))
        self._on[pod] = on = StormRecord(self.begun, since, start, before)
        return self._event(pod, on, "start", wall, total)

    def _stop(self, pod: int, on: StormRecord, wall: str, rows: Iterable[Counters]) -> Event:
        del self._on[pod]
        self._ended[pod] = on.since
        total = _sum(rows)
        self._looked[pod] = (wall, total)  # where one begins that is on already: nothing counts in both
        return self._event(pod, on, "stop", wall, total)

    def _event(self, pod: int, on: StormRecord, phase: str, wall: str, total: Counters) -> Event:
        attribution = self._best(pod)
        new = tuple(a - b for a, b in zip(total, on.before, strict=True))
        return {
            "event": FORK_STORM,
            "id": f"{self._stream}.storm.{pod}.{on.number}.{phase}",
            "timestamp": wall,
            "phase": phase,
            "storm": on.number,
            "limit": self._limit,
            "hold_s": HOLD_S,
            "interval": {"start": on.start, "end": wall},
            "counts": dict(zip(COUNTS, new, strict=True)),
            "totals": dict(zip(COUNTS, total, strict=True)),
            **self._whose(attribution),
            "enrichment": {"state": attribution.state, "by": attribution.by, "lag_ms": 0},
        }


def _sum(rows: Iterable[Counters]) -> Counters:
    return tuple(totals(rows).values())
