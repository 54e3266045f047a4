"""One load of the BPF programs, as the agent reads it: its ring, its forks on their way to the sinks, what was reported of it.

There is one in charge and, after an upgrade, one for each that is drained. What the next agent must know of it goes into the
journal with its forks, in one transaction.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from agent.attribution.enricher import Enricher, WaitingFork
from agent.attribution.tracked_cgroups import TrackedCgroups
from agent.attribution.uniqueness import UniquenessBudget
from agent.interfaces import CgroupEventConsumer, CgroupTracker, StateReader, StateWriter
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

__all__ = ["MOST", "ProgramInstance", "RingPositions", "waiting_forks"]

MOST: Final = 2048  # records a turn: 512 KiB, about 10 ms of work, and then other tasks of the loop run


class RingPositions(NamedTuple):
    """How far the rings of forks and of cgroup events have been read, in bytes."""

    forks: int
    cgroup_events: int


class ProgramInstance:
    """What the agent adds to LoadedPrograms, which are its kernel side: forks that wait, summaries, storms, positions.

    `cgroups`: applies cgroup events, and tracks cgroups by `tracker`. `start`: of the first interval, RFC 3339. `budget`: what
    each container may bring that is new.

    `received`: forks that were drained from the ring and are emitted, or wait for their pods.
    """

    def __init__(
        self,
        programs: LoadedPrograms,
        enricher: Enricher,
        summaries: Summaries,
        storms: Storms,
        cgroups: CgroupEventConsumer,
        tracker: CgroupTracker,
        start: str,
        budget: UniquenessBudget,
    ) -> None:
        self.programs = programs
        self.stream = programs.stream
        self.enricher = enricher
        self.summaries = summaries
        self.storms = storms
        self._cgroups = cgroups
        self._tracker = tracker
        self._budget = budget
        self.received = 0
        self.interval_start = start
        self._drained = b""  # records of the last turn, which the next one attributes
        self._reached = self._read_positions()
        self._staged: PositionRecord | None = None
        self._unaccounted = self._unseen = 0
        self._counted: CountedRecord | None = None  # by the last summary

    def restore(self, journal: StateReader) -> int:
        """Goes on where the agent before stopped. Returns how many forks that agent took out of the ring after its last commit
        that succeeded: it held them in memory, for the disk was in trouble, and they are lost."""
        unsaved = 0
        if position := journal.table(POSITIONS).get(self.stream):
            forks, cgroup_events, received = PositionRecord.decode(position)
            unsaved = max(0, self.programs.forks.cursor - forks) // FORK_SLOT
            self.received = received + unsaved
            self.programs.resume(forks, cgroup_events)
            self._reached = self._read_positions()
        if reported := journal.table(REPORTED).get(self.stream):
            before = ReportedRecord.decode(reported)
            self.interval_start = before.interval_start
            self.summaries.restore(before.summaries)
            if before.storms:
                self.storms.restore(before.storms)
            if before.counted:
                self._counted, self._unseen = before.counted, before.counted.unseen
            for cgroup in self.summaries.retired:  # the commit that saved this may have been the last thing that was done
                self.programs.delete_counters(cgroup)
        for one in waiting_forks(journal, self.stream):
            self.enricher.add_waiting(one)
        return unsaved

    def turn(self, now: int) -> list[Fork]:
        """Drains the ring, attributes what the turn before drained, and returns the forks that are ready. `now`: boot clock
        ns."""
        # Everything before this position will have been emitted, or waits, when this turn ends. What this turn reads is not
        # included: after a crash it is read again.
        self._reached = self._read_positions()
        drained = self.programs.forks.read(MOST)
        # After the forks: the creation of a cgroup is always written before the first fork in it. A task is attached to a
        # container after its fork, so what was drained in the last turn is attributed in this one.
        self.read_cgroup_events()
        ready = self.enricher.enrich(self._drained, now) + self.enricher.resolve_waiting(now)
        self.received += len(self._drained) // FORK_SLOT
        self._drained = drained
        # By the time of the forks: what has gathered in the ring without an agent did not come at once.
        for container in self._budget.spend(self.enricher.new, self.enricher.newest):
            self.programs.suppress(container, now)
        self.enricher.new.clear()
        return ready

    def read_cgroup_events(self) -> None:
        """Applies the cgroup events that the kernel has written by now."""
        self._cgroups.apply_cgroup_events(self.programs.cgroup_events(), self._tracker)

    @property
    def busy(self) -> bool:
        """There is more to drain at once."""
        return len(self._drained) > 0 and self.programs.forks.backlog >= MOST

    @property
    def emitted(self) -> int:
        """Forks that every sink has been given."""
        return self.received - self.enricher.waiting

    @property
    def drained(self) -> bool:
        """Nothing is left in the ring, and nothing waits."""
        return not (self._drained or self.programs.forks.backlog or self.enricher.waiting)

    @property
    def reached(self) -> RingPositions:
        """What lies before has been emitted, or waits: with the next commit the journal has it."""
        return self._reached

    def stage(self, journal: StateWriter, *, everything: bool = False) -> None:
        """Stages what changed, or all that the next agent would need."""
        position = PositionRecord(*self._reached, self.received)
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
        """Stages what was reported, together with the events that report it."""
        counted = self._counted or CountedRecord(self._attached, 0)
        record = ReportedRecord(self.interval_start, self.summaries.record(), self.storms.record(), counted)
        journal.put(REPORTED, self.stream, record.encode())

    def publish(self, reached: RingPositions) -> None:
        """Lets the kernel overwrite the rings up to there: the journal has what lies before."""
        self.programs.forks.publish(reached.forks)
        self.programs.publish_cgroup_events(reached.cgroup_events)

    def summarize(self, snapshot: Snapshot, interval: Interval) -> list[Event]:
        """Events with all that the kernel has counted by now."""
        self.read_cgroup_events()  # after the counters were read: so each of their cgroups is known
        counted = self.captured(snapshot)
        tasks = counted.captured + counted.kernel_workers + counted.misses
        # A task may be on its way from /proc/stat's count to its tracepoint. One that is missing an interval later is not.
        made, _ = snapshot.proc_stat
        before, self._unaccounted = self._unaccounted, made - self._attached - tasks
        self._unseen = max(self._unseen, min(before, self._unaccounted))
        proc_stat = self._attached + tasks + self._unseen
        self._counted = CountedRecord(proc_stat, counted.emitted, self._unseen)
        events = self.summaries.summarize(snapshot.counters, interval)
        if snapshot.orphaned:
            events += self.summaries.unattributed_gap(interval, "orphaned", snapshot.orphaned)
        return events

    def check_storms(self, snapshot: Snapshot, now: int, wall: str, tracked_cgroups: TrackedCgroups) -> list[Event]:
        """About once a second. `now`: boot clock ns; `wall`: the same as RFC 3339."""
        counters = {**self.summaries.retired, **snapshot.counters}
        pods = {pod: [*tracked_cgroups.counters_of(pod, counters)] for pod in tracked_cgroups.pods()}
        containers = {cgroup: [one] for cgroup, one in counters.items()}
        return self.storms.check(now, wall, self.programs.storms(), {**containers, **pods})

    def forget_cgroup(self, cgroup: int) -> None:
        """The cgroup was removed so long ago that its name is forgotten."""
        self.summaries.forget(cgroup)
        self.enricher.forget(cgroup)
        self.storms.forget(cgroup)
        self.programs.untrack(cgroup)  # its counters went when they had been reported, or are not reported yet

    def captured(self, snapshot: Snapshot) -> Captured:
        counted = totals([self.summaries.total(snapshot.counters)])
        # Tasks are read before the cgroup counters: what was made in between is no worker.
        workers = max(0, snapshot.tasks_made - counted["processes"] - counted["threads"] - snapshot.orphaned)
        beyond = {"misses": snapshot.misses, "kernel_workers": workers, "orphaned": snapshot.orphaned}
        return Captured(**counted, **beyond, unseen=self._unseen)

    @property
    def _attached(self) -> int:
        """/proc/stat's `processes` just after the programs were put in charge."""
        _, after = self.programs.meta.attached
        return after

    def _read_positions(self) -> RingPositions:
        return RingPositions(self.programs.forks.cursor, self.programs.cgroup_events_cursor)


def waiting_forks(journal: StateReader, stream: str) -> list[WaitingFork]:
    """The forks of a stream that the agent before left waiting for their pods, in the order in which they came."""
    found = []
    for key, value in journal.table(waiting_table(stream)).items():
        since, cgroup, attached, raw = WaitingForkRecord.decode(value)
        found.append(WaitingFork(int(key), since, cgroup, attached, raw))
    return sorted(found)


def _record(one: WaitingFork) -> WaitingForkRecord:
    return WaitingForkRecord(one.since, one.cgroup, one.attached, one.raw)
