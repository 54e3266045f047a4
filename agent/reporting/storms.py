"""Pods and containers above a limit -> fork_storm events, start and stop, with exact numbers. Pure: it is given the time.

The kernel decides when a pod forks above its storm limit and then suppresses its events; the agent decides when a container
brings too much that is new (agent.attribution.uniqueness). The numbers are the difference of two
readings of the cgroup counters, so a storm's interval begins with the last check before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from agent.interfaces import AttributionSource, EventFields
from agent.ledger import COUNTS, totals
from agent.model import Counters, Event
from agent.state_records import StormRecord, StormsRecord
from wire.events import FORK_STORM

__all__ = ["HOLD_S", "Storms"]

HOLD_S: Final = {"limit": 5, "ring": 5, "uniqueness": 10}  # by reason: STORM_HOLD and BUDGET_HOLD in bpf/fork.c


class Storms:
    """`stream`: of the ids. `limits`: by reason, in a second. `loaded`: when its BPF programs were, boot clock ns: a storm that
    was over by then was reported by the stream before, though the kernel's entry of it was inherited. `begun`: how many storms
    have begun."""

    def __init__(
        self,
        stream: str,
        limits: Mapping[str, int],
        attributions: AttributionSource,
        event_fields: EventFields,
        loaded: int = 0,
    ) -> None:
        self._stream = stream
        self._loaded = loaded
        self._limits = limits
        self._attributions = attributions
        self._event_fields = event_fields
        self._ongoing: dict[int, StormRecord] = {}
        self._ended: dict[int, int] = {}
        self._checked: dict[int, tuple[str, Counters]] = {}
        self.begun = 0

    def __len__(self) -> int:
        """How many storms go on."""
        return len(self._ongoing)

    def by_reason(self) -> Counter[str]:
        """How many storms go on."""
        return Counter(storm.reason for storm in self._ongoing.values())

    def check(
        self, now: int, wall: str, storms: Mapping[int, tuple[int, int, str]], pods: Mapping[int, Sequence[Counters]]
    ) -> list[Event]:
        """About once a second. `now`: boot clock ns; `wall`: the same as RFC 3339; `storms`: pod or container -> when
        it was last over a limit, since when, and which; `pods`: pod or container -> the counters of its cgroups now."""
        events: list[Event] = []
        for pod, (over, since, reason) in storms.items():
            counters, ongoing, hold = pods.get(pod, ()), self._ongoing.get(pod), HOLD_S[reason] * 10**9
            if ongoing and (since != ongoing.since or now - over > hold):
                events.append(self._stop(pod, ongoing, wall, counters))
                ongoing = None
            if not ongoing and self._ended.get(pod) != since and over + hold >= self._loaded:
                events.append(self._start(pod, since, reason, wall, counters))
                if now - over > hold:  # it came and went between two checks
                    events.append(self._stop(pod, self._ongoing[pod], wall, counters))
        gone = self._ongoing.keys() - storms.keys()  # a pod's entry goes with its cgroup
        events += [self._stop(pod, self._ongoing[pod], wall, pods.get(pod, ())) for pod in gone]
        self._checked = {pod: (wall, _sum(counters)) for pod, counters in pods.items()}
        return events

    def record(self) -> StormsRecord:
        """What the next agent must know."""
        return StormsRecord(self.begun, dict(self._ongoing), dict(self._ended), dict(self._checked))

    def restore(self, record: StormsRecord) -> None:
        self.begun, self._ongoing, self._ended, self._checked = record

    def forget(self, pod: int) -> None:
        self._ended.pop(pod, None)

    def _start(self, pod: int, since: int, reason: str, wall: str, counters: Iterable[Counters]) -> Event:
        self.begun += 1
        start, before = self._checked.get(pod, (wall, (0,) * len(COUNTS)))
        self._ongoing[pod] = storm = StormRecord(self.begun, since, start, before, reason)
        return self._event(pod, storm, "start", wall, _sum(counters))

    def _stop(self, pod: int, storm: StormRecord, wall: str, counters: Iterable[Counters]) -> Event:
        del self._ongoing[pod]
        self._ended[pod] = storm.since
        total = _sum(counters)
        self._checked[pod] = (wall, total)  # where one begins that goes on already: nothing counts in both
        return self._event(pod, storm, "stop", wall, total)

    def _event(self, pod: int, storm: StormRecord, phase: str, wall: str, total: Counters) -> Event:
        attribution = self._attributions.resolve_now(pod)
        new = tuple(now - before for now, before in zip(total, storm.before, strict=True))
        return {
            "event": FORK_STORM,
            "id": f"{self._stream}.storm.{pod}.{storm.number}.{phase}",
            "timestamp": wall,
            "phase": phase,
            "storm": storm.number,
            "reason": storm.reason,
            "limit": self._limits[storm.reason],
            "hold_s": HOLD_S[storm.reason],
            "interval": {"start": storm.start, "end": wall},
            "counts": dict(zip(COUNTS, new, strict=True)),
            "totals": dict(zip(COUNTS, total, strict=True)),
            **self._event_fields(attribution),
            "enrichment": {"state": attribution.state, "by": attribution.by, "lag_ms": 0},
        }


def _sum(counters: Iterable[Counters]) -> Counters:
    return tuple(totals(counters).values())
