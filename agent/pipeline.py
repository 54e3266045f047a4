"""The hall: opens the rooms in the order of the data's way, and lets it walk. Read this file first.

    fork.c => ring -> enrich(subjects) -> encoder -> journal -> sender => collector

One direction; no room is entered twice. If one room burns the house closes: one TaskGroup, and what is not expected ends the
process. Must not live here: what any room does.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from struct import Struct

import aiohttp
import orjson
from aiohttp import web

from agent.enrich import Enricher, Layout
from agent.identity.cgroups import Cgroups, Hierarchy, choose_hierarchy
from agent.identity.entrants import Entrants
from agent.identity.pods import Pods, PodWatch
from agent.identity.subjects import Subjects
from agent.kernel.clock import Clock, separation
from agent.kernel.probe import Probe, open_probe
from agent.kernel.records import BORN, CHAIN, DIED, FORK, FORK_SLOT, ORIGIN
from agent.nouns import Event, Fork, state_of
from agent.reports import Reporter
from agent.settings import Settings, SinkSettings
from agent.sinks.native import NativeEncoder, whose
from agent.sinks.sink import Sink
from agent.sinks.times import Rfc3339
from agent.status import status_app
from agent.summaries import Interval, Summaries
from wire import VERSION

__all__ = ["Pipeline", "run"]

log = logging.getLogger(__name__)

_LAYOUT = Layout(FORK_SLOT, FORK.iter_unpack, ORIGIN.unpack, Struct(f"={CHAIN}I").unpack)
_MOST = 4096  # records a turn: 1 MiB, about 20 ms of work, and then the loop gets its say
_PAUSE_S = 0.1  # between turns when there is nothing more to take; a turn that finds nothing costs 0.1 ms
_WAITING = 50_000  # forks that may wait for their names: 15 MB of raw records
_ROW_GRACE_NS = 30 * 10**9  # a dead cgroup's row stays this long: its last counts have been said by then
_SHIP_S = 10.0  # to ship what is left at SIGTERM; a pod's grace period is 30 s by default


def _boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """From attach to the last delivered batch. Raises CannotCapture, NoHierarchy, OSError (a port in use)."""
    hierarchy = choose_hierarchy(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
    capture = settings.capture
    probe = await asyncio.to_thread(open_probe, capture.ring_bytes, hierarchy.number, hierarchy.controller)
    try:
        await Pipeline(settings, hierarchy, probe).run(stop)
    finally:
        probe.close()


class Pipeline:
    """One agent on one node. `probe` is attached and not started."""

    def __init__(self, settings: Settings, hierarchy: Hierarchy, probe: Probe) -> None:
        self._settings = settings
        self._hierarchy = hierarchy
        self.probe = probe
        self._clock = Clock(separation())
        self._cgroups = Cgroups()
        self._entrants = Entrants()
        self._pods = Pods()
        kubernetes = settings.kubernetes
        self._watch = PodWatch(self._pods, settings.node, kubernetes.kubeconfig) if kubernetes.enabled else None
        self._subjects = Subjects(self._cgroups, self._pods, api=kubernetes.enabled)
        self._enricher = Enricher(
            _LAYOUT,
            int(probe.boot_id.replace("-", "")[:16], 16),
            self._clock.wall,
            self._subjects.of,
            self._subjects.best,
            self._subjects.give_up,
            self._entrants.cgroup_of,
            int(kubernetes.wait * 1e9) if kubernetes.enabled else 0,
            _WAITING,
        )
        self._sinks = [self._sink(sink) for sink in settings.sinks]
        in_words = partial(whose, cluster=settings.cluster, node=settings.node)
        self._summaries = Summaries(probe.stream, self._subjects.best, in_words)
        self._time = Rfc3339()
        self._held = b""
        self._interval_start = 0
        self._changes_lost = 0
        agent = {"version": VERSION, "kernel": os.uname().release, "started": self._time(time.time_ns())}
        self.reports = Reporter(
            probe, self._summaries, self._enricher, self._sinks, self._watch, self._subjects.best,
            self._hear_of_cgroups, agent, settings.cluster, settings.node,
        )  # fmt: skip

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set and what was captured has been shipped, or the time for that is up."""
        status = web.AppRunner(status_app(self.reports, self._settings.status_token_file), access_log=None)
        await status.setup()
        host, _, port = self._settings.status.rpartition(":")
        await web.TCPSite(status, host.strip("[]"), int(port)).start()  # first: when the port is taken, nothing has begun
        agent = {"User-Agent": f"forklore/{VERSION}"}
        async with aiohttp.ClientSession(headers=agent) as session, asyncio.TaskGroup() as rooms:
            tasks = [rooms.create_task(sink.run(session), name=f"sink {sink.name}") for sink in self._sinks]
            if self._watch:
                tasks.append(rooms.create_task(self._watch.run(), name="pods"))
            self._start()
            await self._turns(stop)
            await self._leave()
            for task in tasks:
                task.cancel()
        await status.cleanup()

    def _start(self) -> None:
        self._walk()
        self.probe.start(self._settings.capture.threads)
        self._interval_start = time.time_ns()
        self.reports.capturing = True
        # What is here now stays; the forks that come and go by the thousand hold no cycles. Saves a twentieth of the CPU.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        log.info("capturing: cgroup hierarchy %s, epoch %s", self._hierarchy.controller or "v2", self.probe.epoch)

    async def _turns(self, stop: asyncio.Event) -> None:
        every = int(self._settings.capture.summary_interval * 1e9)
        next_summary = (time.time_ns() // every + 1) * every
        next_second = time.monotonic()
        while not stop.is_set():  # looked at ten times a second, which is quick enough to leave
            busy = self._turn()
            if time.monotonic() >= next_second:
                next_second = time.monotonic() + 1
                self._look_around()
            if not -every < next_summary - time.time_ns() <= every:  # somebody stepped the clock
                next_summary = time.time_ns()
            if time.time_ns() >= next_summary:
                self._summarise()
                next_summary += every
            await asyncio.sleep(0 if busy else _PAUSE_S)

    def _turn(self) -> bool:
        """One round of the data's way. True when there is more to take at once."""
        handed_over = self.probe.forks.cursor
        raw = self.probe.forks.take(_MOST)
        # After the forks: a cgroup's birth is always told before the first fork in it. What entered a container was forked
        # before it did, so what was taken in the last round is named in this one.
        self._hear_of_cgroups()
        now = _boot_ns()
        self._hand_over(self._enricher.take(self._held, now) + self._enricher.settle(now))
        self.reports.received += len(self._held) // FORK_SLOT
        self._held = raw
        for sink in self._sinks:
            sink.commit(time.monotonic(), handed_over)
        # Only what every sink's journal has taken over is the kernel's to overwrite.
        self.probe.forks.publish(min((sink.safe for sink in self._sinks), default=handed_over))
        self.reports.last_turn = time.monotonic()
        return len(raw) > 0 and self.probe.forks.backlog >= _MOST

    def _hand_over(self, forks: Sequence[Fork]) -> None:
        if forks:
            for sink in self._sinks:
                sink.take(forks, time.monotonic())
            self.reports.enrichment.update(Counter(state_of(fork.subject, fork.lag_ms) for fork in forks))

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            for sink in self._sinks:
                sink.tell(event, time.monotonic())

    def _hear_of_cgroups(self) -> None:
        for change in self.probe.changes():
            if change.change == BORN:
                self._cgroups.born(change.cgroup, change.path, change.time)
                self._subjects.cgroup_changed(change.cgroup)
            elif change.change == DIED:
                self._cgroups.died(change.cgroup, change.time)
            else:
                self._entrants.entered(change.tid, change.start, change.cgroup, change.time)

    def _walk(self) -> None:
        for cgroup in self._cgroups.walk(self._hierarchy.root, _boot_ns()):
            self._subjects.cgroup_changed(cgroup.id)
        self.reports.walks += 1

    def _look_around(self) -> None:
        """Once a second: the clock, lost births, what has been gone for long."""
        now = _boot_ns()
        if self._clock.remeasure(now, separation()):
            self.reports.clock_steps = self._clock.steps
            log.warning("wall time was stepped; forks from here on carry the new time")
        lost = sum(cpu.changes_lost for cpu in self.probe.cpus())
        if lost != self._changes_lost:
            self._changes_lost = lost
            self._walk()
        for cgroup in self._cgroups.forget(now):
            self._subjects.cgroup_changed(cgroup)
            self._summaries.let_go(cgroup)
            for sink in self._sinks:
                sink.account.forget(cgroup)
        self._pods.forget(time.monotonic())

    def _summarise(self) -> None:
        snapshot = self.probe.snapshot()
        self._hear_of_cgroups()  # after the rows were read: each of their cgroups has been told of by now
        end = time.time_ns()
        interval = Interval(self._time(self._interval_start), self._time(end))
        self._interval_start = end
        self._tell(self._summaries.next(snapshot.rows, interval))
        for sink in self._sinks:
            for event in self._summaries.sink_gaps(sink.name, sink.account.lost, interval):
                sink.tell(event, time.monotonic())
        heads = {str(cpu): row.sequence for cpu, row in enumerate(snapshot.cpus)}
        lag_ms = int(self.reports.lag_s() * 1000)
        heartbeat = self.reports.heartbeat(snapshot)
        self._tell([self._summaries.node(snapshot.rows, interval, self.reports.agent, lag_ms, heads, heartbeat)])
        for cgroup in self._cgroups.dead_since(_boot_ns() - _ROW_GRACE_NS):
            if cgroup in snapshot.rows:
                self._summaries.forget(cgroup, snapshot.rows[cgroup])
                self.probe.forget(cgroup)

    async def _leave(self) -> None:
        """Stop capture, drain, say the last counts, ship until the time is up."""
        self.probe.stop()
        self.reports.capturing = False
        await asyncio.sleep(_PAUSE_S)  # a fork that was being told when the probe stopped
        deadline = time.monotonic() + _SHIP_S
        while (self.probe.forks.backlog or self._held) and time.monotonic() < deadline:
            self._turn()
            await asyncio.sleep(0)
        self._hand_over(self._enricher.give_up_all(_boot_ns()))
        self._summarise()
        for sink in self._sinks:
            sink.commit(time.monotonic(), self.probe.forks.cursor, all_of_it=True)
        try:
            async with asyncio.timeout(_SHIP_S):
                await asyncio.gather(*(sink.journal.empty() for sink in self._sinks))
        except TimeoutError:
            log.warning("what is left after %.0f s goes with this process", _SHIP_S)
        self._write_ledger()

    def _write_ledger(self) -> None:
        ledger = {**self.reports.ledger(), **self.reports.pods()}
        folder = self._settings.state_dir
        try:
            folder.mkdir(parents=True, exist_ok=True)
            draft = folder / "ledger.json.new"
            draft.write_bytes(orjson.dumps(ledger, option=orjson.OPT_INDENT_2))
            draft.replace(folder / "ledger.json")
        except OSError as error:
            log.error("the last ledger could not be written to %s: %s", folder, error.strerror)
        log.info(
            "left: captured %d, lost %s, %s",
            ledger["captured"],
            ledger["lost"],
            {name: {key: sink[key] for key in ("delivered", "queued", "lost")} for name, sink in ledger["sinks"].items()},
        )

    def _sink(self, sink: SinkSettings) -> Sink:
        return Sink(
            sink.name,
            sink.url,
            NativeEncoder(self.probe.stream, self._settings.cluster, self._settings.node),
            compression=sink.compression,
            events=sink.batch.events,
            size=sink.batch.bytes,
            wait_s=sink.batch.wait,
            journal_bytes=sink.journal_bytes,
            token_file=sink.token_file,
            headers=sink.headers,
            stream=self.probe.stream,
        )


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
