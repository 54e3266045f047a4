"""The loop of a running agent: turns, commits, and what is due once a second and once an interval."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from agent.lifecycle import recovery
from agent.lifecycle.parts import Parts
from agent.program_instance import ProgramInstance
from agent.reporting.summaries import Interval

__all__ = ["Loop", "keep_alive"]

log = logging.getLogger(__name__)

PAUSE_S: Final = 0.1  # between turns when there is nothing more to drain; a turn that finds nothing costs 0.1 ms
_ALIVE_NS: Final = 300 * 10**9  # without an agent for so long the programs only count; a node's upgrade takes less
_QUIET_S: Final = 1.0  # programs that are no longer in charge have written their last fork after this
_COUNTER_GRACE_NS: Final = 30 * 10**9  # a removed cgroup's counters stay this long: they have been reported by then


def keep_alive(parts: Parts) -> None:
    """Tells the BPF programs that an agent is there, and what it wants."""
    options = parts.options
    parts.capture.current.start(threads=options.threads, storm_limit=options.storm_limit, alive_ns=_ALIVE_NS)


class Loop:
    """Drives the pipeline. Begins with the first interval's summary still to come."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._clock = parts.clock
        self._pipeline = parts.pipeline
        self._every = int(parts.options.summary_interval_s * 1e9)
        self._next_summary = (self._clock.wall_ns() // self._every + 1) * self._every
        self._next_second = self._former_since = self._clock.monotonic_s()
        self._cgroup_events_lost = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():  # checked ten times a second, which is soon enough to leave
            busy = await self.step()
            await asyncio.sleep(0 if busy else PAUSE_S)

    async def step(self) -> bool:
        """One turn, and what is due after it. True: there is more to drain at once."""
        busy = self._pipeline.turn()
        if self._clock.monotonic_s() >= self._next_second:
            self._next_second = self._clock.monotonic_s() + 1
            self.housekeeping()
            await self.close_drained()
        now = self._clock.wall_ns()
        if not -self._every < self._next_summary - now <= self._every:  # the clock was stepped
            self._next_summary = now
        if now >= self._next_summary:
            self._next_summary += self._every
            self.summarize(self._parts.instances[0])
            await self._pipeline.commit()
            await asyncio.to_thread(self._parts.reporter.write_ledger, self._parts.options.state_dir)
        elif self._pipeline.commit_is_due():
            await self._pipeline.commit()
        return busy

    def housekeeping(self) -> None:
        """Once a second: the clock, storms, lost cgroup events, what was removed long ago."""
        parts, now = self._parts, self._clock.boot_ns()
        current, cache = parts.instances[0], parts.metadata_cache
        keep_alive(parts)
        if parts.wall_time.remeasure(now, self._clock.separation_ns()):
            parts.reporter.clock_steps = parts.wall_time.steps
            log.warning("wall time was stepped; forks from here on carry the new time")
        snapshot = current.programs.snapshot()
        lost = sum(cpu.cgroup_events_lost for cpu in snapshot.cpus)
        if lost != self._cgroup_events_lost:
            self._cgroup_events_lost = lost
            cache.walk(parts.capture.current, now)
            parts.reporter.walks += 1
        if storms := current.check_storms(snapshot, now, parts.wall(), cache.tracked_cgroups):
            self._pipeline.emit_events(current.stream, storms)
            current.stage_reported(parts.journal)
        for cgroup in cache.forget(now, self._clock.monotonic_s()):
            for instance in parts.instances:
                instance.forget_cgroup(cgroup)
            for sink in parts.sinks:
                sink.account(current.stream).forget(cgroup)

    def summarize(self, instance: ProgramInstance) -> None:
        """Emits the events of an interval: summaries, gaps, the heartbeat."""
        parts, stream, summaries = self._parts, instance.stream, instance.summaries
        snapshot = instance.programs.snapshot()
        interval = Interval(instance.interval_start, parts.wall())
        instance.interval_start = interval.end
        self._pipeline.emit_events(stream, instance.summarize(snapshot, interval))
        if instance is parts.instances[0]:
            pods = parts.metadata_cache.sandboxed_pods(parts.options.sandboxes)
            self._pipeline.emit_events(stream, summaries.not_observable(pods, interval))
        for sink in parts.sinks:
            for event in summaries.sink_gaps(sink.name, sink.account(stream).lost, interval):
                sink.emit_event(stream, event, self._pipeline.wall_s)
        self._pipeline.emit_events(stream, [parts.reporter.node_summary(instance, snapshot, interval)])
        for cgroup in parts.metadata_cache.cgroups.removed_before(self._clock.boot_ns() - _COUNTER_GRACE_NS):
            if cgroup in snapshot.counters and cgroup not in summaries.retired:
                instance.enricher.forget(cgroup)
                summaries.retire(cgroup, snapshot.counters[cgroup])
                self._pipeline.delete_counters_after_commit(instance, cgroup)
        parts.reporter.log_wrong_node()
        instance.stage_reported(parts.journal)
        parts.closed.report_losses(parts.sinks, interval.start, interval.end, self._pipeline.wall_s)

    async def close_drained(self) -> None:
        """Closes the program instances that others have replaced, and whose rings are empty."""
        parts = self._parts
        for instance in parts.instances[1:]:
            if instance.drained and self._clock.monotonic_s() - self._former_since > _QUIET_S:
                self.summarize(instance)
                recovery.forget_positions(parts.journal, instance.stream)
                parts.instances.remove(instance)
                parts.closed.add(instance.stream, instance.summaries)
                await self._pipeline.commit()
                parts.capture.remove_instance(instance.programs)
                log.info("the program instance %s is drained and closed", instance.stream)
