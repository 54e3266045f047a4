"""What earlier agents left: streams whose programs are gone, and programs whose history the journal does not know.

Each stream is brought to its end, and what is missing of it is reported as a gap.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from agent.attribution.enricher import Enricher
from agent.attribution.metadata_cache import MetadataCache
from agent.interfaces import StateReader, StateStore
from agent.ledger import BEFORE_SINK, totals
from agent.lifecycle.parts import Parts
from agent.model import NO_CGROUP, Event, Fork
from agent.program_instance import ProgramInstance, waiting_forks
from agent.reporting.ledger_file import Accounts, last_accounts
from agent.reporting.summaries import Interval, Summaries
from agent.sinks.sink import Sink
from agent.state_records import CGROUPS, POSITIONS, REPORTED, PositionRecord, ReportedRecord, waiting_table

__all__ = ["ended_streams", "forget_positions", "lose_unknown", "missed", "recover_instances", "release_waiting"]

log = logging.getLogger(__name__)


def recover_instances(parts: Parts, *, same_boot: bool) -> None:
    """`same_boot`: the agent before ran on this boot. To be called when capture has begun, before the first commit."""
    journal, wall, instances = parts.journal, parts.wall(), parts.instances
    alive = {instance.stream for instance in instances}
    ended = ended_streams(journal, alive)
    for stream in (journal.streams() | {*ended}) - alive:
        parts.closed.restore(stream)
    metadata_cache = parts.metadata_cache if same_boot else _cache_of_earlier_boot(parts)
    for stream in ended:
        enricher = parts.streams.enricher(stream, metadata_cache)
        parts.pipeline.emit_forks(stream, release_waiting(journal, stream, enricher, parts.clock.boot_ns()))
        if stream.partition(".")[0] == parts.boot_id:  # how many forks an earlier boot made is not known any more
            began, _ = parts.capture.current.meta.attached
            if parts.capture.current.part:
                log.warning("this node is a container: what it forked while no capture ran is not known")
            parts.pipeline.emit_events(stream, missed(journal, stream, parts.closed.restore(stream), began, wall))
        forget_positions(journal, stream)
    for instance in instances[1:]:
        if instance.stream not in journal.table(POSITIONS):
            lose_unknown(instance, parts.sinks, last_accounts(parts.options.state_dir, instance.stream))
    _report_stopped(parts, wall)
    for left in parts.capture.unreadable:
        if left.stream not in ended:  # else its forks are in what was missed
            summaries = parts.closed.restore(left.stream)
            gap = summaries.unattributed_gap(Interval(wall, wall), "unreadable", left.forks)
            parts.pipeline.emit_events(left.stream, gap)


def _cache_of_earlier_boot(parts: Parts) -> MetadataCache:
    """Cgroup ids are of their boot; the pods of an earlier boot are still named by what the journal has."""
    cache = MetadataCache(parts.metadata_cache.root, parts.options.annotations, api=False)
    cache.restore(parts.journal, parts.clock.monotonic_s(), cgroups=True)
    parts.journal.clear(CGROUPS)
    return cache


def _report_stopped(parts: Parts, wall: str) -> None:
    """An agent that was killed while it left had stopped its programs and not yet removed them: what was forked until this
    agent's programs were in charge was captured by none."""
    current, *former = parts.instances
    ends = {}
    for instance in former:
        if stopped := instance.programs.meta.stopped:
            _, after = stopped
            ends[after] = instance
    if not ends:
        return
    attached, _ = current.programs.meta.attached
    unseen = attached - max(ends)
    if unseen > 0:
        last = ends[max(ends)]
        gap = last.summaries.unattributed_gap(Interval(last.interval_start, wall), "restart", unseen)
        parts.pipeline.emit_events(last.stream, gap)


def ended_streams(journal: StateReader, alive: Collection[str]) -> list[str]:
    """The streams that the journal has positions of, and whose programs are gone."""
    return [str(stream) for stream in journal.table(POSITIONS) if stream not in alive]


def release_waiting(journal: StateReader, stream: str, enricher: Enricher, now: int) -> list[Fork]:
    """The forks that still waited for their pods, with what is known of them."""
    for one in waiting_forks(journal, stream):
        enricher.add_waiting(one)
    return enricher.resolve_all_waiting(now)


def missed(journal: StateReader, stream: str, summaries: Summaries, proc_stat: int, wall: str) -> list[Event]:
    """A gap for what was forked on this boot since the last summary of the stream. `proc_stat`: `processes` of /proc/stat when
    capture began anew."""
    reported = journal.table(REPORTED).get(stream)
    if not reported:
        return []
    last = ReportedRecord.decode(reported)
    counted = last.counted
    if counted is None:
        return []
    received = PositionRecord.decode(journal.table(POSITIONS)[stream]).received
    # Made since then and not counted, and what lay in the ring then; less what was still drained from it.
    missing = proc_stat - counted.proc_stat + counted.emitted - received
    return summaries.unattributed_gap(Interval(last.interval_start, wall), "restart", missing) if missing > 0 else []


def forget_positions(journal: StateStore, stream: str) -> None:
    """Nothing more comes of the stream. Its batches may still be on their way, and get lost."""
    journal.put(POSITIONS, stream, None)
    journal.clear(waiting_table(stream))


def lose_unknown(instance: ProgramInstance, sinks: Sequence[Sink], accounts: Mapping[str, Accounts] | None) -> int:
    """Programs were found whose journal is gone. What their ring still holds is drained; what was drained before and is not
    known to have been delivered is lost. They are not in charge any more, so their counts stand still. `accounts`: of the last
    ledger file, None without one. Returns how many."""
    pending_by_cgroup, snapshot = instance.programs.pending_by_cgroup(), instance.programs.snapshot()
    drained = Counter({cgroup: counters.emitted - pending_by_cgroup[cgroup] for cgroup, counters in snapshot.counters.items()})
    # The counters of cgroups that were removed before are gone; the numbers that their forks were given are still counted.
    counted = totals(snapshot.counters.values())
    drained[NO_CGROUP] = max(0, sum(cpu.sequence for cpu in snapshot.cpus) - counted["emitted"] - counted["lost"])
    made = snapshot.tasks_made - snapshot.orphaned - counted["processes"] - counted["threads"]
    instance.summaries.add_unknown(max(made, drained[NO_CGROUP]), drained[NO_CGROUP])
    instance.received = drained.total()
    most = 0
    for sink in sinks:
        if accounts is not None and sink.name not in accounts:  # the agent before did not have this sink
            sink.account(instance.stream).leave_out(BEFORE_SINK, drained)
            continue
        if instance.programs.meta.all_delivered:  # their last agent left when everything was delivered
            delivered = drained
        else:
            known = Counter[int]()
            for cgroup, count in (accounts or {}).get(sink.name, {}).get("delivered", {}).items():
                known[int(cgroup) if int(cgroup) in snapshot.counters else NO_CGROUP] += count
            delivered = known & drained
        # What was delivered after the ledger file was written counts as lost here; the receiver knows better.
        lost = drained - delivered
        sink.account(instance.stream).deliver(delivered)
        sink.account(instance.stream).lose("journal_lost", lost)
        most = max(most, lost.total())
    if most:
        log.error("the journal has no record of the program instance %s: up to %d forks are lost", instance.stream, most)
    return most
