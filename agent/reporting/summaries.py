"""Cgroup counters -> the agent's own events: fork_summary, gap, node_summary. Pure: given the interval and the counters.

The numbers are the kernel's, so they are right also where events were lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from agent.interfaces import AttributionSource, EventFields
from agent.ledger import COUNTS, FORGOTTEN, totals
from agent.model import NO_CGROUP, Attribution, Counters, Event
from agent.state_records import SummariesRecord
from wire.events import FORK, FORK_SUMMARY, GAP, NODE_SUMMARY, NOT_OBSERVABLE

__all__ = ["HOST", "Interval", "Summaries"]

HOST: Final = -1  # the key of the sum of all cgroups outside pods
_NODE: Final = -2  # the key of the sum of everything
_LOST: Final = COUNTS.index("lost")
_AGAIN: Final = 360  # summaries, of 10 s by default: once an hour
_ROOT: Final = 1  # the root cgroup's id, in every hierarchy: stands for the host in a gap's id


@dataclass(frozen=True)
class Interval:
    """Both ends as RFC 3339."""

    start: str
    end: str


class _Identity(NamedTuple):
    """The part of an event that names its cgroup, container and pod, and how they are known."""

    fields: dict[str, Any]
    enrichment: dict[str, Any]


class Summaries:
    """What is reported of one stream. `retired`: last counters of removed cgroups whose names are still known."""

    def __init__(self, stream: str, attributions: AttributionSource, event_fields: EventFields) -> None:
        self._stream = stream
        self._k8s_of_node = event_fields(Attribution(0, None, "host", None))["k8s"]
        self._attributions = attributions
        self._event_fields = event_fields
        self._reported: dict[int, Counters] = {}
        self._keys: dict[int, int] = {}
        self._removed_of_host: Counters = (0,) * len(COUNTS)
        self._removed: Counters = (0,) * len(COUNTS)
        self.retired: dict[int, Counters] = {}
        self._unresolved: dict[int, bool] = {}  # retired cgroups whose container is not known -> whether their pod is
        self._leaving: set[int] = set()
        self._gaps: dict[tuple[str, str, int], int] = {}  # missing forks as reported: by sink or "-", reason, cgroup
        self._number = 0
        self._not_observable: dict[int, int] = {}  # pods with a kernel of their own -> number of the last summary with it

    def summarize(self, counters_by_cgroup: Mapping[int, Counters], interval: Interval) -> list[Event]:
        """One fork_summary for each container (and other cgroup of a pod), one for the host, and a gap where the ring lost."""
        self._number += 1
        events: list[Event] = []
        sums: dict[int, Counters] = {HOST: self._removed_of_host}
        for cgroup, counters in counters_by_cgroup.items():
            if (cgroup or any(counters)) and cgroup not in self._leaving:  # cgroup 0: for when the kernel's table is full
                key = self._key(cgroup)
                sums[key] = _plus(sums[key], counters) if key == HOST else counters
        for key, counters in sums.items():
            new = _minus(counters, self._reported.get(key, (0,) * len(counters)))
            self._reported[key] = counters
            identity = self._identity(key)
            events.append(self._summary(interval, key, new, counters, identity))
            if lost := counters[_LOST]:
                events += self._gap(interval, None, "ring_full", _ROOT if key == HOST else key, lost, identity)
        return events + self._named_late(interval)

    def _named_late(self, interval: Interval) -> list[Event]:
        """Once more a summary of each cgroup whose container or pod became known after its counters went: forks that were sent
        can't be changed, but receivers name them by the summary of their cgroup."""
        events = []
        for cgroup, pod_is_known in list(self._unresolved.items()):
            attribution, counters = self._attributions.resolve_now(cgroup), self.retired[cgroup]
            self._note_unresolved(cgroup, attribution)
            if cgroup not in self._unresolved or self._unresolved[cgroup] > pod_is_known:
                events.append(self._summary(interval, cgroup, (0,) * len(counters), counters, self._identity(cgroup)))
        return events

    def _note_unresolved(self, cgroup: int, attribution: Attribution) -> None:
        self._unresolved.pop(cgroup, None)
        if attribution.state == "unresolved":
            self._unresolved[cgroup] = attribution.pod is not None

    def _summary(self, interval: Interval, key: int, new: Counters, counters: Counters, identity: _Identity) -> Event:
        name = "host" if key == HOST else str(key)
        return {
            "event": FORK_SUMMARY,
            "id": f"{self._stream}.summary.{name}.{self._number}",
            "timestamp": interval.end,
            "interval": {"start": interval.start, "end": interval.end},
            "counts": dict(zip(COUNTS, new, strict=True)),
            "totals": dict(zip(COUNTS, counters, strict=True)),
            **identity.fields,
            "enrichment": identity.enrichment,
        }

    def unattributed_gap(self, interval: Interval, reason: str, missing: int) -> list[Event]:
        """`missing` forks in all for this reason, on this node, of cgroups that are not known."""
        return self._gap(interval, None, reason, 0, missing, self._unknown())

    def not_observable(self, pods: Iterable[int], interval: Interval) -> list[Event]:
        """A gap of unknown size for each pod (by cgroup id) with a kernel of its own, whose forks can't be seen from here.
        Repeated now and then, for receivers that keep events for some hours only."""
        events = []
        due = {pod: self._not_observable.get(pod, self._number - _AGAIN) for pod in pods}
        for pod, last in due.items():
            if self._number - last >= _AGAIN:
                due[pod] = self._number
                events.append(self._gap_event(interval, None, NOT_OBSERVABLE, pod, 0, None, self._identity(pod)))
        self._not_observable = due
        return events

    def sink_gaps(self, sink: str, lost: Mapping[str, Mapping[int, int]], interval: Interval) -> list[Event]:
        """What one sink has lost since the last call, by reason and cgroup."""
        events = []
        for reason, forks in lost.items():
            for cgroup, count in forks.items():
                # What is forgotten was removed long ago, and has been reported.
                if cgroup != FORGOTTEN and count > self._gaps.get((sink, reason, cgroup), 0):
                    identity = self._unknown() if cgroup == NO_CGROUP else self._identity(cgroup)
                    events += self._gap(interval, sink, reason, cgroup, count, identity)
        return events

    def record(self) -> SummariesRecord:
        """What the next agent must know so as to report nothing twice."""
        return SummariesRecord(
            dict(self._reported),
            dict(self._keys),
            self._removed,
            self._removed_of_host,
            dict(self.retired),
            dict(self._gaps),
            self._number,
        )

    def restore(self, record: SummariesRecord) -> None:
        self._reported, self._keys, self._removed, self._removed_of_host, self.retired, self._gaps, self._number = record
        for cgroup in self.retired:
            self._note_unresolved(cgroup, self._attributions.resolve_now(cgroup))

    def raise_number(self, number: int) -> None:
        """Summaries from here on have numbers above this one, so above those of an agent whose last summaries are not known."""
        self._number = max(self._number, number)

    def node_summary(
        self,
        counters_by_cgroup: Mapping[int, Counters],
        interval: Interval,
        agent: Mapping[str, str],
        lag_ms: int,
        heads: Mapping[str, int],
        ledger: Mapping[str, Any],
    ) -> Event:
        """The heartbeat. To be called after `summarize`: its counts are the sum of all that was counted in the interval."""
        now = self.total(counters_by_cgroup)
        new = _minus(now, self._reported.get(_NODE, (0,) * len(now)))
        self._reported[_NODE] = now
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
            "k8s": self._k8s_of_node,
        }

    def total(self, counters_by_cgroup: Mapping[int, Counters]) -> Counters:
        """All that was ever counted in this stream, removed cgroups included."""
        left = (counters for cgroup, counters in counters_by_cgroup.items() if cgroup not in self._leaving)
        return _plus(self._removed, tuple(totals(left).values()))

    def retire(self, cgroup: int, counters: Counters) -> None:
        """The kernel's counters of a removed cgroup go after the commit of this report; until `finish_retiring` they are not
        read."""
        self._leaving.add(cgroup)
        self._removed = _plus(self._removed, counters)
        self.retired[cgroup] = counters
        if self._key(cgroup) == HOST:
            self._removed_of_host = _plus(self._removed_of_host, counters)
        else:
            self._note_unresolved(cgroup, self._attributions.resolve_now(cgroup))
        self._reported.pop(cgroup, None)
        self._keys.pop(cgroup, None)

    def finish_retiring(self, cgroup: int) -> None:
        """The kernel has no counters of it any more."""
        self._leaving.discard(cgroup)

    def add_unknown(self, tasks: int, emitted: int) -> None:
        """Counts what was in counters that are gone, and reported by an agent whose journal is gone."""
        counters = {**totals([]), "processes": tasks, "emitted": emitted, "filtered": tasks - emitted}
        self._removed = _plus(self._removed, tuple(counters.values()))

    def forget(self, cgroup: int) -> None:
        """Its name is forgotten."""
        self.retired.pop(cgroup, None)
        self._unresolved.pop(cgroup, None)
        for key in [(sink, reason, of) for sink, reason, of in self._gaps if of == cgroup]:
            del self._gaps[key]

    def _key(self, cgroup: int) -> int:
        """Where its counts go: decided once, or what was reported in one place would be reported again in the other."""
        if cgroup not in self._keys:
            of_host = cgroup and self._attributions.resolve_now(cgroup).state == "host"
            self._keys[cgroup] = HOST if of_host else cgroup
        return self._keys[cgroup]

    def _identity(self, key: int) -> _Identity:
        if key > 0:
            attribution = self._attributions.resolve_now(key)
        else:
            attribution = Attribution(0, None, "host" if key == HOST else "unresolved", None)
        fields = self._event_fields(attribution)
        if key <= 0:
            fields["cgroup"] = None if key == HOST else {"id": 0, "path": None}
        return _Identity(fields, {"state": attribution.state, "by": attribution.by, "lag_ms": 0})

    def _unknown(self) -> _Identity:
        identity = self._identity(0)
        identity.fields["cgroup"] = None
        return identity

    def _gap(
        self, interval: Interval, sink: str | None, reason: str, cgroup: int, missing: int, identity: _Identity
    ) -> list[Event]:
        """`missing`: in all; none when that has been reported."""
        key = (sink or "-", reason, cgroup)
        new = missing - self._gaps.get(key, 0)
        if not new:
            return []
        self._gaps[key] = missing
        return [self._gap_event(interval, sink, reason, cgroup, missing, new, identity)]

    def _gap_event(
        self,
        interval: Interval,
        sink: str | None,
        reason: str,
        cgroup: int,
        missing: int,
        new: int | None,
        identity: _Identity,
    ) -> Event:
        return {
            "event": GAP,
            # The sum so far makes the id: what is reported again, after a crash, is the same gap, and counts once.
            "id": f"{self._stream}.gap.{sink or '-'}.{reason}.{cgroup}.{missing}",
            "timestamp": interval.end,
            "interval": {"start": interval.start, "end": interval.end},
            "missing": FORK,
            "count": new,
            "reason": reason,
            "sink": sink,
            **identity.fields,
            "enrichment": identity.enrichment,
        }


def _plus(one: Counters, other: Counters) -> Counters:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _minus(one: Counters, other: Counters) -> Counters:
    return tuple(a - b for a, b in zip(one, other, strict=True))
