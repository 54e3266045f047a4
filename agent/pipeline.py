"""The hall: opens the rooms in the order of the data's way, and lets it walk. Read this file first.

    fork.c => ring -> enrich(subjects) -> encoder -> journal -> sender => collector

One direction; no room is entered twice. What was taken is given back to the kernel only when the journal has it. If one
room burns the house closes: one TaskGroup, and what is not expected ends the process. Must not live here: what any room
does.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from agent.attribution.cgroups import Hierarchy, choose_hierarchy
from agent.attribution.enricher import Enricher
from agent.attribution.fork_decoder import ForkDecoder, RecordLayout
from agent.attribution.metadata_cache import MetadataCache
from agent.attribution.pod_watch import PodWatch
from agent.journal import Journal
from agent.kernel.capture import Capture, open_capture
from agent.kernel.clock import WallClock, separation
from agent.kernel.programs import LoadedPrograms, boot_id
from agent.kernel.records import FORK, FORK_SLOT, NUMBERS, PARENT_CONTEXT
from agent.lifecycle import recovery
from agent.lifecycle.build import build_sink, requested_annotations, serve_status
from agent.lifecycle.confinement import confine, first_threads
from agent.model import NOBODY, Event, Fork, state_of
from agent.program_instance import ProgramInstance
from agent.reporting.reporter import Reporter
from agent.reporting.storms import Storms
from agent.reporting.summaries import Interval, Summaries
from agent.settings import Settings
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.encoders.times import Rfc3339
from agent.state_records import CGROUPS, CLOCK, POSITIONS, ClockRecord
from wire import VERSION

__all__ = ["Pipeline", "run"]

log = logging.getLogger(__name__)

_LAYOUT = RecordLayout(FORK_SLOT, FORK.iter_unpack, PARENT_CONTEXT.unpack, NUMBERS.unpack)
_PAUSE_S = 0.1  # between turns when there is nothing more to take; a turn that finds nothing costs 0.1 ms
_COMMIT_S = 1.0  # between commits when no batch is due; the ring keeps what is not committed
_FULL = 0.25  # of the ring: then a commit is due, whatever the batches say
_WAITING = 50_000  # forks that may wait for their names: 15 MB of raw records
_ROW_GRACE_NS = 30 * 10**9  # a dead cgroup's row stays this long: its last counts have been said by then
_ALIVE_NS = 300 * 10**9  # without an agent for so long the probe only counts; a node's upgrade takes less
_QUIET_S = 1.0  # a probe that is no longer in charge has heard its last fork after this
_SHIP_S = 10.0  # to ship what is left at SIGTERM; a pod's grace period is 30 s by default


def _boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """From attach to the last delivered batch. Raises CannotCapture, NoHierarchy, PinsTaken, JournalTaken, OSError (a port in
    use)."""
    threads = first_threads()
    hierarchy = choose_hierarchy(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
    journal = Journal(settings.state_dir / "journal.sqlite3", {sink.name: sink.journal_bytes for sink in settings.sinks})
    await journal.open()
    try:
        take = settings.capture
        # A probe whose history the journal does not know is not taken over: its successor begins with a clean account, and
        # what it leaves behind is drained and told.
        known = {str(stream) for stream in journal.table(POSITIONS)}
        capture = await asyncio.to_thread(
            open_capture, take.ring_bytes, hierarchy.number, hierarchy.controller, take.pin, known
        )
        keep = take.keep
        try:
            await Pipeline(settings, hierarchy, capture, journal).run(stop, threads)
        except BaseException:
            keep = True  # something burned: the next agent takes over
            raise
        finally:
            capture.close(keep=keep)
    finally:
        await journal.close()


class Pipeline:
    """One agent on one node. `capture` is attached; its probe is started here, or was found running."""

    def __init__(self, settings: Settings, hierarchy: Hierarchy, capture: Capture, journal: Journal) -> None:
        self._settings = settings
        self._capture = capture
        self._journal = journal
        self._boot_id = boot_id()
        self._clock = WallClock(separation())
        kubernetes = settings.kubernetes
        self._metadata_cache = MetadataCache(hierarchy.root, api=kubernetes.enabled)
        annotations = requested_annotations(settings.sinks)
        self._watch = (
            PodWatch(self._metadata_cache.pods, settings.node, kubernetes.kubeconfig, annotations)
            if kubernetes.enabled
            else None
        )
        self._sinks = [build_sink(one, journal, settings.cluster, settings.node, annotations) for one in settings.sinks]
        self._time = Rfc3339()
        self._changes_lost = 0
        self._former_since = time.monotonic()
        self._committed = 0.0
        self._instances: list[ProgramInstance] = []
        self._ended = recovery.ClosedInstances(journal, self._new_summaries)
        self._forgettable: list[tuple[ProgramInstance, int]] = []
        agent = {"version": VERSION, "kernel": os.uname().release, "started": self._time(time.time_ns())}
        self.reports = Reporter(
            capture,
            journal,
            self._instances,
            self._sinks,
            self._watch,
            self._metadata_cache,
            agent,
            settings.cluster,
            settings.node,
        )
        journal.rewrite = partial(self._keep, everything=True)

    async def run(self, stop: asyncio.Event, threads: Executor) -> None:
        """Until `stop` is set and what was captured has been shipped, or the time for that is up. `threads`: that were made so
        far."""
        status = await serve_status(self.reports, self._settings)  # first: when the port is taken, nothing has begun
        async with asyncio.TaskGroup() as rooms:
            tasks = [rooms.create_task(sink.sender.run(), name=f"sink {sink.name}") for sink in self._sinks]
            self._start()
            left = await confine(self._capture, self._journal, self._settings, self._metadata_cache.root, threads)
            self.reports.privileges = left.in_words()
            if self._watch:
                tasks.append(rooms.create_task(self._watch.run(), name="pods"))
            await self._turns(stop)
            await self._leave()
            for task in tasks:
                task.cancel()
        await status.cleanup()

    def _start(self) -> None:
        """What the last agent left is taken up first; then capture begins, or goes on."""
        journal, kept = self._journal, self._journal.table
        same_boot = self._boot_id in kept(CLOCK)
        if same_boot:
            self._clock.restore(ClockRecord.decode(kept(CLOCK)[self._boot_id]), _boot_ns())
        self._metadata_cache.restore(journal, time.monotonic(), cgroups=same_boot)
        for sink in self._sinks:
            sink.restore(journal)
        for programs in (self._capture.current, *self._capture.former):
            instance = self._instance(programs)
            unkept = instance.restore(journal)
            instance.summaries.go_on(int(time.time()))  # less than one a second was used
            for sink in self._sinks if unkept else ():
                sink.account(instance.stream).lose("journal_failed", {NOBODY: unkept})
            self._instances.append(instance)
        self._metadata_cache.walk(self._capture.current, _boot_ns())
        self._keep_alive()
        self.reports.capturing = True
        self._recover_instances(same_boot=same_boot)
        journal.clear(CLOCK)
        self._keep(everything=True)
        # What is here now stays; the forks that come and go by the thousand hold no cycles. Saves a twentieth of the CPU.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        if self._capture.unpinned and self._settings.capture.pin:
            log.warning("capture will not outlive this agent: %s", self._capture.unpinned)
        how = "taken over" if self._capture.taken_over else "new"
        log.info("capturing: %s, epoch %s (%s)", self._metadata_cache.root, self._capture.current.meta.instance_id, how)

    def _recover_instances(self, *, same_boot: bool) -> None:
        """What nothing more can be read of is brought to its end, and what is missing of it is said."""
        journal, wall = self._journal, self._time(time.time_ns())
        metadata_cache = self._metadata_cache
        if not same_boot:
            metadata_cache = MetadataCache(self._metadata_cache.root, api=False)
            metadata_cache.restore(journal, time.monotonic(), cgroups=True)
            journal.clear(CGROUPS)
        alive = {instance.stream for instance in self._instances}
        dead = recovery.dead_streams(journal, alive)
        for stream in (journal.streams() | {*dead}) - alive:
            self._ended.add(stream)
        for stream in dead:
            self._hand_over(stream, recovery.waited(journal, stream, self._enricher(stream, metadata_cache), _boot_ns()))
            if stream.partition(".")[0] == self._boot_id:  # of another boot nobody can say how many there were
                began = self._capture.current.meta.attached[0]
                self._tell(stream, recovery.missed(journal, stream, self._ended.add(stream), began, wall))
            recovery.drop(journal, stream)
        for instance in self._instances[1:]:
            if instance.stream not in journal.table(POSITIONS):
                accounts = recovery.last_accounts(self._settings.state_dir, instance.stream)
                recovery.lose_unknown(instance, self._sinks, accounts)
        ends = {
            instance.programs.meta.stopped[1]: instance for instance in self._instances[1:] if instance.programs.meta.stopped
        }
        if ends and (unseen := self._instances[0].programs.meta.attached[0] - max(ends)) > 0:
            last = ends[max(ends)]  # its agent had stopped it, and was ended before it could take it away
            self._tell(last.stream, last.summaries.gap(Interval(last.interval_start, wall), "restart", unseen))
        for left in self._capture.unreadable:
            if left.stream in dead:
                continue  # what it held is in what was missed
            self._tell(left.stream, self._ended.add(left.stream).gap(Interval(wall, wall), "unreadable", left.forks))

    async def _turns(self, stop: asyncio.Event) -> None:
        every = int(self._settings.capture.summary_interval * 1e9)
        next_summary = (time.time_ns() // every + 1) * every
        next_second = time.monotonic()
        while not stop.is_set():  # looked at ten times a second, which is quick enough to leave
            busy = self._turn()
            if time.monotonic() >= next_second:
                next_second = time.monotonic() + 1
                self._housekeeping()
                await self._close_drained()
            if not -every < next_summary - time.time_ns() <= every:  # somebody stepped the clock
                next_summary = time.time_ns()
            if time.time_ns() >= next_summary:
                self._summarise(self._instances[0])
                next_summary += every
                await self._commit()
                await asyncio.to_thread(self.reports.write_ledger, self._settings.state_dir)
            elif self._commit_is_due():
                await self._commit()
            await asyncio.sleep(0 if busy else _PAUSE_S)

    def _turn(self) -> bool:
        """One round of the data's way. True when there is more to take at once."""
        now = _boot_ns()
        for instance in self._instances:
            self._hand_over(instance.stream, instance.turn(now))
        self.reports.last_turn = time.monotonic()
        return any(instance.busy for instance in self._instances)

    def _hand_over(self, stream: str, forks: Sequence[Fork]) -> None:
        if forks:
            for sink in self._sinks:
                sink.emit_forks(stream, forks, time.time())
            self.reports.enrichment.update(Counter(state_of(fork.attribution, fork.lag_ms) for fork in forks))

    def _tell(self, stream: str, events: Sequence[Event]) -> None:
        for event in events:
            for sink in self._sinks:
                sink.emit_event(stream, event, time.time())

    def _commit_is_due(self) -> bool:
        now = time.time()
        return (
            any(sink.due(now) for sink in self._sinks)
            or not 0 <= now - self._committed < _COMMIT_S
            or any(instance.programs.forks.fill > _FULL for instance in self._instances)
        )

    async def _commit(self, *, all_of_it: bool = False) -> None:
        """The journal takes over what was handed to the sinks; only then the kernel may overwrite it."""
        if all_of_it:
            for sink in self._sinks:
                sink.close()
        self._keep()
        reached = [(instance, instance.reached) for instance in self._instances]
        forgettable, self._forgettable = self._forgettable, []
        await self._journal.commit()  # when it can't write it says so, and holds in memory what it can: capture goes on
        for instance, position in reached:
            instance.publish(position)
        for instance, cgroup in forgettable:
            instance.programs.forget(cgroup)
            instance.summaries.gone(cgroup)
        self._committed = time.time()

    def _keep(self, *, everything: bool = False) -> None:
        """Stages what changed since the last time, or all of it."""
        now = time.time()
        for sink in self._sinks:
            sink.stage(self._journal, now, everything=everything)
        for instance in self._instances:
            instance.stage(self._journal, everything=everything)
        self._metadata_cache.stage(self._journal, everything=everything)
        self._journal.put(CLOCK, self._boot_id, self._clock.record().encode())

    def _hear_of_cgroups(self, programs: LoadedPrograms) -> None:
        self._metadata_cache.apply_cgroup_events(programs.cgroup_events(), self._capture.current)

    def _keep_alive(self) -> None:
        """The probe hears that somebody is there, and what is wanted."""
        take = self._settings.capture
        self._capture.current.start(threads=take.threads, storm_limit=take.storm_limit, alive_ns=_ALIVE_NS)

    def _housekeeping(self) -> None:
        """Once a second: the clock, storms, lost births, what has been gone for long."""
        now, current = _boot_ns(), self._instances[0]
        self._keep_alive()
        if self._clock.remeasure(now, separation()):
            self.reports.clock_steps = self._clock.steps
            log.warning("wall time was stepped; forks from here on carry the new time")
        snapshot = current.programs.snapshot()
        lost = sum(cpu.cgroup_events_lost for cpu in snapshot.cpus)
        if lost != self._changes_lost:
            self._changes_lost = lost
            self._metadata_cache.walk(self._capture.current, now)
            self.reports.walks += 1
        if storms := current.look_for_storms(snapshot, now, self._time(time.time_ns()), self._metadata_cache.tracked_cgroups):
            self._tell(current.stream, storms)
            current.stage_reported(self._journal)
        for cgroup in self._metadata_cache.forget(now, time.monotonic()):
            for instance in self._instances:
                instance.let_go(cgroup)
            for sink in self._sinks:
                sink.account(current.stream).forget(cgroup)

    async def _close_drained(self) -> None:
        """Another probe took over from these, and their rings are empty: their last word."""
        for instance in self._instances[1:]:
            if instance.drained and time.monotonic() - self._former_since > _QUIET_S:
                self._summarise(instance)
                recovery.drop(self._journal, instance.stream)
                self._instances.remove(instance)
                self._ended.take_over(instance.stream, instance.summaries)
                await self._commit()
                self._capture.retire(instance.programs)
                log.info("the epoch %s is drained and closed", instance.stream)

    def _summarise(self, instance: ProgramInstance) -> None:
        snapshot = instance.programs.snapshot()
        end = self._time(time.time_ns())
        interval = Interval(instance.interval_start, end)
        instance.interval_start = end
        self._tell(instance.stream, instance.summarise(snapshot, interval))
        if instance is self._instances[0]:
            sandboxes = self._metadata_cache.sandboxed_pods(self._settings.kubernetes.sandboxes)
            self._tell(instance.stream, instance.summaries.sandboxed(sandboxes, interval))
        for sink in self._sinks:
            for event in instance.summaries.sink_gaps(sink.name, sink.account(instance.stream).lost, interval):
                sink.emit_event(instance.stream, event, time.time())
        heads = {str(cpu): row.sequence for cpu, row in enumerate(snapshot.cpus)}
        lag_ms = int(self.reports.lag_s() * 1000)
        heartbeat = self.reports.heartbeat(instance, snapshot)
        node = instance.summaries.node(snapshot.counters, interval, self.reports.agent, lag_ms, heads, heartbeat)
        self._tell(instance.stream, [node])
        for cgroup in self._metadata_cache.cgroups.removed_before(_boot_ns() - _ROW_GRACE_NS):
            if cgroup in snapshot.counters and cgroup not in instance.summaries.retired:
                instance.summaries.forget(cgroup, snapshot.counters[cgroup])
                self._forgettable.append((instance, cgroup))
        instance.stage_reported(self._journal)
        self._ended.tell(self._sinks, interval.start, end, time.time())

    async def _leave(self) -> None:
        """Drain, say the last counts, ship until the time is up. What is left stays in the journal for the next start."""
        current, keep = self._instances[0], self._settings.capture.keep
        if not keep:
            current.programs.stop()
            await asyncio.sleep(_PAUSE_S)  # a fork that was being told when the probe stopped
        self.reports.capturing = False
        deadline = time.monotonic() + _SHIP_S
        ends = [(instance, instance.programs.forks.end) for instance in self._instances]  # what comes later is the next agent's
        while any(instance.reached[0] < end for instance, end in ends) and time.monotonic() < deadline:
            self._turn()
            if self._commit_is_due():
                await self._commit()
            await asyncio.sleep(0)
        for instance in self._instances[bool(keep) :]:  # what the next agent goes on with may go on waiting
            self._hand_over(instance.stream, instance.enricher.resolve_all_waiting(_boot_ns()))
        await self._close_drained()
        self._summarise(current)
        await self._commit(all_of_it=True)
        try:
            async with asyncio.timeout(_SHIP_S):
                await asyncio.gather(*(sink.queue.empty() for sink in self._sinks))
        except TimeoutError:
            log.warning("what is left after %.0f s stays in the journal for the next start", _SHIP_S)
        self._capture.current.update_meta(all_delivered=not any(len(sink.queue) for sink in self._sinks))
        await self._commit()
        self.reports.write_ledger(self._settings.state_dir)
        self.reports.say_goodbye()

    def _instance(self, programs: LoadedPrograms) -> ProgramInstance:
        stream, limit = programs.stream, self._settings.capture.storm_limit
        storms = Storms(stream, limit, self._metadata_cache.attributions.resolve_now, self._k8s_fields, programs.meta.loaded_ns)
        enricher, summaries = self._enricher(stream, self._metadata_cache), self._new_summaries(stream)
        return ProgramInstance(programs, enricher, summaries, storms, self._hear_of_cgroups, self._time(time.time_ns()))

    def _new_summaries(self, stream: str) -> Summaries:
        return Summaries(stream, self._metadata_cache.attributions.resolve_now, self._k8s_fields)

    def _enricher(self, stream: str, metadata_cache: MetadataCache) -> Enricher:
        kubernetes = self._settings.kubernetes
        boot_key = int(stream.partition(".")[0].replace("-", "")[:16], 16)
        return Enricher(
            ForkDecoder(_LAYOUT, boot_key, self._clock),
            metadata_cache.attributions,
            metadata_cache.attached_tasks,
            wait_ns=int(kubernetes.wait * 1e9) if kubernetes.enabled else 0,
            most=_WAITING,
        )

    @property
    def _k8s_fields(self) -> partial[dict[str, object]]:
        return partial(k8s_fields, cluster=self._settings.cluster, node=self._settings.node)


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
