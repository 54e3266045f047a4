"""One probe's forks on their way: from its ring to whose they are; and what is said of them, summed up.

There is one for the probe in charge and, after an upgrade, one for each that is drained. What the next agent has to know of
it goes into the journal with the forks, in one transaction: where in the ring it stands, what waits for a name, what was
said. Must not live here: sinks, and turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import orjson

from agent.attribution.enricher import Enricher, Waiting
from agent.attribution.tracked_cgroups import TrackedCgroups
from agent.interfaces import StateWriter
from agent.kernel.programs import LoadedPrograms, Snapshot
from agent.kernel.records import FORK_SLOT
from agent.ledger import Captured, totals
from agent.model import Event, Fork
from agent.reporting.storms import Storms
from agent.reporting.summaries import Interval, Summaries

__all__ = ["MOST", "POSITIONS", "SAID", "ProgramInstance", "waiting_of", "waiting_table"]

MOST: Final = 2048  # records a turn: 512 KiB, about 10 ms of work, and then the loop gets its say
POSITIONS: Final = "positions"  # shelf: stream -> where it stands
SAID: Final = "said"  # shelf: stream -> what was said of it


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
        self._reached = (programs.forks.cursor, programs.changes_taken)
        self._kept: bytes | None = None
        self._short = self._unseen = 0
        self._told: dict[str, int] | None = None  # how far /proc/stat and the ring had come by the tally that was last told

    def restore(self, position: bytes | None, said: bytes | None, waiting: Mapping[int | str, bytes]) -> int:
        """What the last agent's journal has of it. Returns how many forks it took out of the ring after the last commit that
        succeeded: it held them in memory, for its disk was in trouble."""
        unkept = 0
        if position:
            where = orjson.loads(position)
            unkept = max(0, self.programs.forks.cursor - where["forks"]) // FORK_SLOT
            self.received = where["received"] + unkept
            self.programs.resume(where["forks"], where["changes"])
            self._reached = (self.programs.forks.cursor, self.programs.changes_taken)
        if said:
            before = orjson.loads(said)
            self.interval_start = before["interval_start"]
            self.summaries.restore(before["summaries"])
            self.storms.restore(before["storms"])
            self._told = before["snapshot"]
            self._unseen = before["snapshot"].get("unseen", 0)
            for cgroup in self.summaries.retired:  # the commit that saved this may have been the last thing that was done
                self.programs.forget(cgroup)
        for one in waiting_of(waiting):
            self.enricher.add_waiting(one)
        return unkept

    def turn(self, now: int) -> list[Fork]:
        """One round. `now`: boot clock ns."""
        # Up to here the last round handed over what it found, or will in this one; the rest is found again after a crash.
        self._reached = (self.programs.forks.cursor, self.programs.changes_taken)
        raw = self.programs.forks.take(MOST)
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
        position = orjson.dumps({"forks": forks, "changes": changes, "received": self.received})
        if everything or position != self._kept:
            journal.put(POSITIONS, self.stream, position)
            self._kept = position
        table = waiting_table(self.stream)
        for key, one in self.enricher.changed.items():
            journal.put(table, key, one and _raw(one))
        self.enricher.changed.clear()
        if everything:
            for one in self.enricher.all_waiting():
                journal.put(table, one.key, _raw(one))
            self.keep_said(journal)

    def keep_said(self, journal: StateWriter) -> None:
        """To be staged together with the events that said it."""
        said = {
            "interval_start": self.interval_start,
            "summaries": self.summaries.state(),
            "storms": self.storms.state(),
            "snapshot": self._told or {"proc_stat": self.programs.meta.attached[1], "emitted": 0},
        }
        journal.put(SAID, self.stream, orjson.dumps(said))

    def publish(self, reached: tuple[int, int]) -> None:
        """Gives the rings' room back to the kernel: the journal has what lies before."""
        self.programs.forks.publish(reached[0])
        self.programs.publish_changes(reached[1])

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
        self._told = {"proc_stat": self.programs.meta.attached[1] + tasks, "emitted": told.emitted, "unseen": self._unseen}
        events = self.summaries.next(snapshot.rows, interval)
        if snapshot.orphaned:
            events += self.summaries.gap(interval, "orphaned", snapshot.orphaned)
        return events

    def look_for_storms(self, snapshot: Snapshot, now: int, wall: str, tracked_cgroups: TrackedCgroups) -> list[Event]:
        """About once a second. `now`: boot clock ns, and the same as RFC 3339; `marks`: which rows are which pod's."""
        rows: dict[int, tuple[int, ...]] = {**self.summaries.retired, **snapshot.rows}
        return self.storms.look(
            now, wall, self.programs.storms(), tracked_cgroups.pods(), lambda pod: tracked_cgroups.rows_of(pod, rows)
        )

    def let_go(self, cgroup: int) -> None:
        """It has been gone for long: nobody will ask."""
        self.summaries.let_go(cgroup)
        self.storms.forget(cgroup)
        self.programs.untrack(cgroup)  # its row of the tally went when that had been told, or is not told yet

    def captured(self, snapshot: Snapshot) -> Captured:
        counted = totals([self.summaries.total(snapshot.rows)])
        # Tasks are read before the tally: what was made in between is no worker.
        workers = max(0, snapshot.tasks_made - counted["processes"] - counted["threads"] - snapshot.orphaned)
        seen = {"misses": snapshot.misses, "kernel_workers": workers, "orphaned": snapshot.orphaned}
        return Captured(**counted, **seen, unseen=self._unseen)


def waiting_table(stream: str) -> str:
    return f"waiting {stream}"


def waiting_of(table: Mapping[int | str, bytes]) -> list[Waiting]:
    """In the order in which they came."""
    found = []
    for key, value in table.items():
        head, raw = value[:_HEAD], value[_HEAD:]
        since, cgroup = int.from_bytes(head[:8], "little"), int.from_bytes(head[8:16], "little")
        found.append(Waiting(int(key), since, cgroup, head[16] == 1, raw))
    return sorted(found)


_HEAD: Final = 17  # since, cgroup, entered


def _raw(one: Waiting) -> bytes:
    return one.since.to_bytes(8, "little") + one.cgroup.to_bytes(8, "little") + bytes([one.entered]) + one.raw
