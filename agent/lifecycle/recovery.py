"""What earlier agents left behind: streams that nothing more can be read of, and a probe whose history nobody knows.

Each is brought to its end and what is missing of it is said. Must not live here: reading the journal's file.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from agent.attribution.enricher import Enricher
from agent.interfaces import StateStore
from agent.ledger import totals
from agent.model import NOBODY, Event, Fork
from agent.program_instance import ProgramInstance, waiting_forks
from agent.reporting.summaries import Interval, Summaries
from agent.sinks.sink import Sink
from agent.state_records import POSITIONS, REPORTED, PositionRecord, ReportedRecord, waiting_table

__all__ = ["LEDGER", "ClosedInstances", "dead_streams", "drop", "last_accounts", "lose_unknown", "missed", "waited"]

log = logging.getLogger(__name__)

LEDGER: Final = "ledger.json"  # in the state directory, beside the journal: the accounts' last known state, when that is gone


class Journal(StateStore, Protocol):
    """The journal, as far as streams that ended need it."""

    def streams(self) -> set[str]: ...

    def forget_stream(self, stream: str) -> bool: ...


def dead_streams(journal: Journal, alive: Collection[str]) -> list[str]:
    """The streams that the journal knows and no probe goes on with."""
    return [str(stream) for stream in journal.table(POSITIONS) if stream not in alive]


def waited(journal: Journal, stream: str, enricher: Enricher, now: int) -> list[Fork]:
    """The forks that still waited for their names: they go with what is known."""
    for one in waiting_forks(journal, stream):
        enricher.add_waiting(one)
    return enricher.resolve_all_waiting(now)


def missed(journal: Journal, stream: str, summaries: Summaries, proc_stat: int, wall: str) -> list[Event]:
    """A gap for what was forked since anybody last looked, on this boot. `proc_stat`: its `processes` when capture began
    anew."""
    reported = journal.table(REPORTED).get(stream)
    if not reported:
        return []
    last = ReportedRecord.decode(reported)
    received = PositionRecord.decode(journal.table(POSITIONS)[stream]).received
    counted = last.counted
    if counted is None:
        return []
    # Made since then and counted by nobody, and what lay in the ring then; less what was still taken out of it.
    missing = proc_stat - counted.proc_stat + counted.emitted - received
    return summaries.gap(Interval(last.interval_start, wall), "restart", missing) if missing > 0 else []


def drop(journal: Journal, stream: str) -> None:
    """Nothing of it is to come any more; its batches may still be on their way, and get lost."""
    journal.put(POSITIONS, stream, None)
    journal.clear(waiting_table(stream))


class ClosedInstances:
    """Streams that no probe goes on with, for as long as any of their batches is on its way: what gets lost of them is
    told, too.

    `summaries_of`: a stream -> its Summaries, new.
    """

    def __init__(self, journal: Journal, summaries_of: Callable[[str], Summaries]) -> None:
        self._journal = journal
        self._summaries_of = summaries_of
        self._streams: dict[str, Summaries] = {}

    def add(self, stream: str) -> Summaries:
        """From the journal, with what was told of it already."""
        summaries = self._summaries_of(stream)
        if reported := self._journal.table(REPORTED).get(stream):
            summaries.restore(ReportedRecord.decode(reported).summaries)
        return self.take_over(stream, summaries)

    def take_over(self, stream: str, summaries: Summaries) -> Summaries:
        self._streams[stream] = summaries
        return summaries

    def tell(self, sinks: Sequence[Sink], start: str, wall: str, now: float) -> None:
        """What was lost since the last time, to the sink that it is missing in; what is over is forgotten."""
        for stream, summaries in list(self._streams.items()):
            events = [
                (sink, event)
                for sink in sinks
                for event in summaries.sink_gaps(sink.name, sink.account(stream).lost, Interval(start, wall))
            ]
            for sink, event in events:
                sink.emit_event(stream, event, now)
            if events:
                self._journal.put(REPORTED, stream, ReportedRecord(start, summaries.record()).encode())
            elif not any(sink.queued(stream) for sink in sinks):
                self._journal.forget_stream(stream)
                self._journal.put(REPORTED, stream, None)
                del self._streams[stream]


def last_accounts(state_dir: Path, stream: str) -> dict[str, Any]:
    """What the last ledger says of each sink's account; empty when it says nothing that can be used."""
    try:
        said = orjson.loads((state_dir / LEDGER).read_bytes())
        return dict(said["accounts"]) if said["stream"] == stream else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def lose_unknown(instance: ProgramInstance, sinks: Sequence[Sink], accounts: Mapping[str, Any]) -> int:
    """A probe was found whose journal is gone. What its ring still holds is drained; what was taken out before and is not
    known to have been delivered is lost. The probe is not in charge any more, so the counts stand still. Returns how many."""
    pending_by_cgroup, snapshot = instance.programs.pending_by_cgroup(), instance.programs.snapshot()
    taken = Counter({cgroup: row.emitted - pending_by_cgroup[cgroup] for cgroup, row in snapshot.counters.items()})
    # The rows of cgroups that died before are gone; the numbers that their forks were given are still counted.
    counted = totals(snapshot.counters.values())
    taken[NOBODY] = max(0, sum(cpu.sequence for cpu in snapshot.cpus) - counted["emitted"] - counted["lost"])
    made = snapshot.tasks_made - snapshot.orphaned - counted["processes"] - counted["threads"]
    instance.summaries.recover(max(made, taken[NOBODY]), taken[NOBODY])
    instance.received = taken.total()
    most = 0
    for sink in sinks:
        if instance.programs.meta.all_delivered:  # its last agent left with nothing in its hands
            delivered = taken
        else:
            said = accounts.get(sink.name, {}).get("delivered", {})
            known = Counter[int]()
            for cgroup, count in said.items():
                known[int(cgroup) if int(cgroup) in snapshot.counters else NOBODY] += count
            delivered = known & taken
        # What was delivered after the ledger was written counts as lost here; the receiver knows better.
        lost = taken - delivered
        sink.account(instance.stream).deliver(delivered)
        sink.account(instance.stream).lose("journal_lost", lost)
        most = max(most, lost.total())
    if most:
        log.error("the journal knows nothing of the epoch %s: up to %d forks are lost", instance.stream, most)
    return most
