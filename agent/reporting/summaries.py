"""Snapshots of the tally -> what the agent says of its own: fork_summary, gap, node_summary. Pure: told time and snapshot.

The numbers are the kernel's, so they are right also where events were lost. Must not live here: reading the tally.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.ledger import COUNTS, FORGOTTEN, totals
from agent.model import NOBODY, Attribution, Event
from agent.state_records import Counters, SummariesRecord
from wire.events import FORK, FORK_SUMMARY, GAP, NODE_SUMMARY, NOT_OBSERVABLE

__all__ = ["HOST", "Interval", "Summaries"]

HOST: Final = -1  # the key of the sum of all cgroups outside pods
_NODE: Final = -2  # the key of the sum of everything
_LOST: Final = COUNTS.index("lost")
_AGAIN: Final = 360  # summaries, of 10 s by default: once an hour
_ROOT: Final = 1  # the root directory's id, in every hierarchy: stands for the host in a gap's id


@dataclass(frozen=True)
class Interval:
    """Both ends as RFC 3339."""

    start: str
    end: str


class Summaries:
    """`best`: cgroup id -> Attribution, at once. `whose`: Attribution -> the event's cgroup, container and k8s objects."""

    def __init__(
        self,
        stream: str,
        best: Callable[[int], Attribution],
        whose: Callable[[Attribution], dict[str, Any]],
    ) -> None:
        self._stream = stream
        self._k8s = whose(Attribution(0, None, "host", None))["k8s"]
        self._best = best
        self._whose = whose
        self._said: dict[int, Counters] = {}
        self._keys: dict[int, int] = {}
        self._forgotten_host: Counters = (0,) * len(COUNTS)
        self._forgotten: Counters = (0,) * len(COUNTS)
        self.retired: dict[int, Counters] = {}  # the last counts of dead cgroups, while their names are kept
        self._leaving: set[int] = set()
        self._told: dict[tuple[str, str, int], int] = {}  # how many are missing, as said: by sink or "-", reason, cgroup
        self._number = 0
        self._sandboxed: dict[int, int] = {}  # pods with a kernel of their own: in which summary that was last said

    def next(self, rows: Mapping[int, Counters], interval: Interval) -> list[Event]:
        """One fork_summary a container (and other cgroup of a pod), one for all the host, and a gap wherever the ring lost."""
        self._number += 1
        events: list[Event] = []
        sums: dict[int, Counters] = {HOST: self._forgotten_host}
        for cgroup, row in rows.items():
            if (cgroup or any(row)) and cgroup not in self._leaving:  # cgroup 0: the row for when the table is full
                key = self._key(cgroup)
                sums[key] = _plus(sums[key], row) if key == HOST else row
        for key, row in sums.items():
            new = _minus(row, self._said.get(key, (0,) * len(row)))
            self._said[key] = row
            counts = dict(zip(COUNTS, new, strict=True))
            whose, enrichment = self._identity(key)
            name = "host" if key == HOST else str(key)
            events.append({
                "event": FORK_SUMMARY,
                "id": f"{self._stream}.summary.{name}.{self._number}",
                "timestamp": interval.end,
                "interval": {"start": interval.start, "end": interval.end},
                "counts": counts,
                "totals": dict(zip(COUNTS, row, strict=True)),
                **whose,
                "enrichment": enrichment,
            })  # fmt: skip
            if row[_LOST]:
                events += self._gap(interval, None, "ring_full", _ROOT if key == HOST else key, row[_LOST], whose, enrichment)
        return events

    def gap(self, interval: Interval, reason: str, missing: int) -> list[Event]:
        """What nobody can say of whose it is: `missing` forks by now for this reason, on this node."""
        whose, enrichment = self._identity(0)
        whose["cgroup"] = None
        return self._gap(interval, None, reason, 0, missing, whose, enrichment)

    def sandboxed(self, pods: Iterable[int], interval: Interval) -> list[Event]:
        """Pods, by their directories, with a kernel of their own: what they fork is not observable from here. It is said of
        each now and then, so that who keeps events for some hours only is told, too."""
        events = []
        due = {pod: self._sandboxed.get(pod, self._number - _AGAIN) for pod in pods}
        for pod, last in due.items():
            if self._number - last >= _AGAIN:
                due[pod] = self._number
                whose, enrichment = self._identity(pod)
                events.append(self._gap_event(interval, None, NOT_OBSERVABLE, pod, 0, None, whose, enrichment))
        self._sandboxed = due
        return events

    def sink_gaps(self, sink: str, lost: Mapping[str, Mapping[int, int]], interval: Interval) -> list[Event]:
        """What one sink has lost since the last call, by reason and cgroup."""
        events = []
        for reason, forks in lost.items():
            for cgroup, count in forks.items():
                # What is forgotten is long gone, and was told.
                if cgroup != FORGOTTEN and count > self._told.get((sink, reason, cgroup), 0):
                    known = cgroup != NOBODY
                    whose, enrichment = self._identity(cgroup if known else 0)
                    if not known:
                        whose["cgroup"] = None
                    events += self._gap(interval, sink, reason, cgroup, count, whose, enrichment)
        return events

    def record(self) -> SummariesRecord:
        """What the next agent must know so as to report nothing twice."""
        return SummariesRecord(
            dict(self._said),
            dict(self._keys),
            self._forgotten,
            self._forgotten_host,
            dict(self.retired),
            dict(self._told),
            self._number,
        )

    def restore(self, record: SummariesRecord) -> None:
        self._said, self._keys, self._forgotten, self._forgotten_host, self.retired, self._told, self._number = record

    def go_on(self, number: int) -> None:
        """What is said from here on has higher numbers, above any that an agent used whose last words are not known."""
        self._number = max(self._number, number)

    def node(
        self,
        rows: Mapping[int, Counters],
        interval: Interval,
        agent: Mapping[str, str],
        lag_ms: int,
        heads: Mapping[str, int],
        ledger: Mapping[str, Any],
    ) -> Event:
        """The heartbeat. Call after `next`: its counts are the sum of all that was counted in the interval."""
        now = self.total(rows)
        new = _minus(now, self._said.get(_NODE, (0,) * len(now)))
        self._said[_NODE] = now
        return {
            "event": NODE_SUMMARY,
            "id": f"{self._stream}.node.{self._number}",
            "timestamp": interval.end,
            "interval": {"start": interval.start, "end": interval.end},
            "agent": dict(agent),
            "lag_ms": lag_ms,
            "counts": dict(zip(COUNTS, new, strict=True)),
            "totals": dict(zip(COUNTS, now, strict=True)),
            "heads": dict(heads),
            "ledger": dict(ledger),
            "k8s": self._k8s,
        }

    def total(self, rows: Mapping[int, Counters]) -> Counters:
        """All that was ever counted in this epoch, dead cgroups included."""
        left = (row for cgroup, row in rows.items() if cgroup not in self._leaving)
        return _plus(self._forgotten, tuple(totals(left).values()))

    def forget(self, cgroup: int, row: Counters) -> None:
        """The kernel's row of a dead cgroup goes after the commit of what was said of it; until `gone` it is not read."""
        self._leaving.add(cgroup)
        self._forgotten = _plus(self._forgotten, row)
        self.retired[cgroup] = row
        if self._key(cgroup) == HOST:
            self._forgotten_host = _plus(self._forgotten_host, row)
        self._said.pop(cgroup, None)
        self._keys.pop(cgroup, None)

    def recover(self, tasks: int, emitted: int) -> None:
        """What was counted in rows that are gone, and that an agent knew whose last words are not known."""
        row = {**totals([]), "processes": tasks, "emitted": emitted, "filtered": tasks - emitted}
        self._forgotten = _plus(self._forgotten, tuple(row.values()))

    def gone(self, cgroup: int) -> None:
        """The kernel has no row of it any more."""
        self._leaving.discard(cgroup)

    def let_go(self, cgroup: int) -> None:
        """Its name is about to go, too."""
        self.retired.pop(cgroup, None)
        for key in [key for key in self._told if key[2] == cgroup]:
            del self._told[key]

    def _key(self, cgroup: int) -> int:
        """Where its counts go: decided once, or what was said in one place would be said again in the other."""
        if cgroup not in self._keys:
            self._keys[cgroup] = HOST if cgroup and self._best(cgroup).state == "host" else cgroup
        return self._keys[cgroup]

    def _identity(self, key: int) -> tuple[dict[str, Any], dict[str, Any]]:
        attribution = self._best(key) if key > 0 else Attribution(0, None, "host" if key == HOST else "unresolved", None)
        whose = self._whose(attribution)
        if key <= 0:
            whose["cgroup"] = None if key == HOST else {"id": 0, "path": None}
        return whose, {"state": attribution.state, "by": attribution.by, "lag_ms": 0}

    def _gap(
        self,
        interval: Interval,
        sink: str | None,
        reason: str,
        cgroup: int,
        missing: int,
        whose: dict[str, Any],
        enrichment: dict[str, Any],
    ) -> list[Event]:
        """`missing`: by now; none when that has been said."""
        key = (sink or "-", reason, cgroup)
        new = missing - self._told.get(key, 0)
        if not new:
            return []
        self._told[key] = missing
        return [self._gap_event(interval, sink, reason, cgroup, missing, new, whose, enrichment)]

    def _gap_event(
        self,
        interval: Interval,
        sink: str | None,
        reason: str,
        cgroup: int,
        missing: int,
        new: int | None,
        whose: dict[str, Any],
        enrichment: dict[str, Any],
    ) -> Event:
        return {
            "event": GAP,
            # The sum so far makes the id: what is told again, after a crash, is the same gap, and counts once.
            "id": f"{self._stream}.gap.{sink or '-'}.{reason}.{cgroup}.{missing}",
            "timestamp": interval.end,
            "interval": {"start": interval.start, "end": interval.end},
            "missing": FORK,
            "count": new,
            "reason": reason,
            "sink": sink,
            **whose,
            "enrichment": enrichment,
        }


def _plus(one: Counters, other: Counters) -> Counters:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _minus(one: Counters, other: Counters) -> Counters:
    return tuple(a - b for a, b in zip(one, other, strict=True))
