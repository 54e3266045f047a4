"""One probe's forks on their way: from its ring to whose they are; and what is said of them, summed up.

There is one for the probe in charge and, after an upgrade, one for each that is drained. What the next agent has to know of
it goes into the journal with the forks, in one transaction: where in the ring it stands, what waits for a name, what was
said. Must not live here: sinks, and turns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agent.attribution.enricher import Enricher, WaitingFork
from agent.attribution.tracked_cgroups import TrackedCgroups
from agent.interfaces import StateReader, StateWriter
from agent.kernel.programs import LoadedPrograms, Snapshot
from agent.kernel.records import FORK_SLOT
from agent.ledger import Captured, totals
from agent.model import Event, Fork
from agent.reporting.storms import Storms
from agent.reporting.summaries import Interval, Summaries
from agent.state_records import (
    POSITIONS,
    REPORTED,
    CountedRecord,
    PositionRecord,
    ReportedRecord,
    WaitingForkRecord,
    waiting_table,
)

__all__ = ["MOST", "ProgramInstance", "waiting_forks"]

MOST: Final = 2048  # records a turn: 512 KiB, about 10 ms of work, and then the loop gets its say


class ProgramInstance:
    """`hear`: takes in what the probe tells of cgroups. `start`: of the first interval, RFC 3339."""

    def __init__(
        self,
        programs: LoadedPrograms,
        enricher: Enricher,
        summaries: Summaries,
        storms: Storms,
        hear: Callable[[LoadedPrograms], None],
        start: str,
    ) -> None:
        self.programs = programs
        self.stream = programs.stream
        self.enricher = enricher
        self.summaries = summaries
        self.storms = storms
        self._hear = hear
        self.received = 0  # forks taken out of the ring and handed over, or waiting
        self.interval_start = start
        self._held = b""
        self._reached = (programs.forks.cursor, programs.cgroup_events_cursor)
        self._staged: PositionRecord | None = None
        self._short = self._unseen = 0
        self._counted: CountedRecord | None = None  # by the last summary

    def restore(self, journal: StateReader) -> int:
        """Goes on where the agent before stopped. Returns how many forks that agent took out of the ring after its last commit
        that succeeded: it held them in memory, for the disk was in trouble, and they are lost."""
        unsaved = 0
        if position := journal.table(POSITIONS).get(self.stream):
            forks, changes, received = PositionRecord.decode(position)
            unsaved = max(0, self.programs.forks.cursor - forks) // FORK_SLOT
            self.received = received + unsaved
            self.programs.resume(forks, changes)
            self._reached = (self.programs.forks.cursor, self.programs.cgroup_events_cursor)
        if reported := journal.table(REPORTED).get(self.stream):
            before = ReportedRecord.decode(reported)
            self.interval_start = before.interval_start
            self.summaries.restore(before.summaries)
            if before.storms:
                self.storms.restore(before.storms)
            if before.counted:
                self._counted, self._unseen = before.counted, before.counted.unseen
            for cgroup in self.summaries.retired:  # the commit that saved this may have been the last thing that was done
                self.programs.forget(cgroup)
        for one in waiting_forks(journal, self.stream):
            self.enricher.add_waiting(one)
        return unsaved

    def turn(self, now: int) -> list[Fork]:
        """One round. `now`: boot clock ns."""
        # Up to here the last round handed over what it found, or will in this one; the rest is found again after a crash.
        self._reached = (self.programs.forks.cursor, self.programs.cgroup_events_cursor)
        raw = self.programs.forks.read(MOST)
        # After the forks: a cgroup's birth is always told before the first fork in it. What entered a container was forked
        # before it did, so what was taken in the last round is named in this one.
        self.hear()
        ready = self.enricher.enrich(self._held, now) + self.enricher.resolve_waiting(now)
        self.received += len(self._held) // FORK_SLOT
        self._held = raw
        return ready

    def hear(self) -> None:
        """Takes in what the probe has told of cgroups by now."""
        self._hear(self.programs)

    @property
    def busy(self) -> bool:
        """There is more to take at once."""
        return len(self._held) > 0 and self.programs.forks.backlog >= MOST

    @property
    def drained(self) -> bool:
        return not (self._held or self.programs.forks.backlog or self.enricher.waiting)

    def stage(self, journal: StateWriter, *, everything: bool = False) -> None:
        """Stages what changed, or all that the next agent would need."""
        forks, changes = self._reached
        position = PositionRecord(forks, changes, self.received)
        if everything or position != self._staged:
            journal.put(POSITIONS, self.stream, position.encode())
            self._staged = position
        table = waiting_table(self.stream)
        for key, one in self.enricher.changed.items():
            journal.put(table, key, one and _record(one).encode())
        self.enricher.changed.clear()
        if everything:
            for one in self.enricher.all_waiting():
                journal.put(table, one.key, _record(one).encode())
            self.stage_reported(journal)

    def stage_reported(self, journal: StateWriter) -> None:
        """To be staged together with the events that said it."""
        counted = self._counted or CountedRecord(self.programs.meta.attached[1], 0)
        record = ReportedRecord(self.interval_start, self.summaries.record(), self.storms.record(), counted)
        journal.put(REPORTED, self.stream, record.encode())

    def publish(self, reached: tuple[int, int]) -> None:
        """Gives the rings' room back to the kernel: the journal has what lies before."""
        self.programs.forks.publish(reached[0])
        self.programs.publish_cgroup_events(reached[1])

    @property
    def reached(self) -> tuple[int, int]:
        return self._reached

    def summarise(self, snapshot: Snapshot, interval: Interval) -> list[Event]:
        """All that the tally says by now."""
        self.hear()  # after the rows were read: each of their cgroups has been told of by now
        told = self.captured(snapshot)
        tasks = told.captured + told.kernel_workers + told.misses
        # A task may be on its way from /proc/stat's count to its hook. One that is missing an interval later is not.
        short, self._short = self._short, snapshot.proc_stat[0] - self.programs.meta.attached[1] - tasks
        self._unseen = max(self._unseen, min(short, self._short))
        tasks += self._unseen
        self._counted = CountedRecord(self.programs.meta.attached[1] + tasks, told.emitted, self._unseen)
        events = self.summaries.next(snapshot.counters, interval)
        if snapshot.orphaned:
            events += self.summaries.gap(interval, "orphaned", snapshot.orphaned)
        return events

    def look_for_storms(self, snapshot: Snapshot, now: int, wall: str, tracked_cgroups: TrackedCgroups) -> list[Event]:
        """About once a second. `now`: boot clock ns, and the same as RFC 3339; `marks`: which rows are which pod's."""
        rows: dict[int, tuple[int, ...]] = {**self.summaries.retired, **snapshot.counters}
        return self.storms.look(
            now, wall, self.programs.storms(), tracked_cgroups.pods(), lambda pod: tracked_cgroups.counters_of(pod, rows)
        )

    def let_go(self, cgroup: int) -> None:
        """It has been gone for long: nobody will ask."""
        self.summaries.let_go(cgroup)
        self.storms.forget(cgroup)
        self.programs.untrack(cgroup)  # its row of the tally went when that had been told, or is not told yet

    def captured(self, snapshot: Snapshot) -> Captured:
        counted = totals([self.summaries.total(snapshot.counters)])
        # Tasks are read before the tally: what was made in between is no worker.
        workers = max(0, snapshot.tasks_made - counted["processes"] - counted["threads"] - snapshot.orphaned)
        seen = {"misses": snapshot.misses, "kernel_workers": workers, "orphaned": snapshot.orphaned}
        return Captured(**counted, **seen, unseen=self._unseen)


def waiting_forks(journal: StateReader, stream: str) -> list[WaitingFork]:
    """The forks of a stream that the agent before left waiting for their pods, in the order in which they came."""
    found = []
    for key, value in journal.table(waiting_table(stream)).items():
        since, cgroup, attached, raw = WaitingForkRecord.decode(value)
        found.append(WaitingFork(int(key), since, cgroup, attached, raw))
    return sorted(found)


def _record(one: WaitingFork) -> WaitingForkRecord:
    return WaitingForkRecord(one.since, one.cgroup, one.attached, one.raw)
