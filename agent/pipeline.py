"""The way of a fork through the agent, in one direction. Read this file first.

    bpf/fork.c -> ring -> attribution -> encoder -> journal -> POST -> collector

What is drained from a ring stays in it, for the next agent, until the journal has it. agent.lifecycle.startup opens the parts,
and agent.lifecycle.loop drives them; what each part does is in its own package.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from agent.attribution.metadata_cache import MetadataCache
from agent.interfaces import Clock
from agent.journal import Journal
from agent.kernel.clock import WallClock
from agent.model import Event, Fork, state_of
from agent.program_instance import ProgramInstance
from agent.sinks.sink import Sink
from agent.state_records import CLOCK

__all__ = ["Pipeline"]

_COMMIT_S = 1.0  # between commits when no batch is due; the ring keeps what is not committed
_FULL = 0.25  # of the ring: then a commit is due, whatever the batches say


class Pipeline:
    """`instances`: of the BPF programs: the one in charge first, then those that are drained. `boot_id`: of this boot.

    `enrichment`: forks by how they were attributed; `last_turn`: when the last turn ended, s of the monotonic clock.
    """

    def __init__(
        self,
        clock: Clock,
        wall_time: WallClock,
        boot_id: str,
        instances: Sequence[ProgramInstance],
        metadata_cache: MetadataCache,
        sinks: Sequence[Sink],
        journal: Journal,
    ) -> None:
        self._clock = clock
        self._wall_time = wall_time
        self._boot_id = boot_id
        self.instances = instances
        self._metadata_cache = metadata_cache
        self.sinks = sinks
        self._journal = journal
        self._to_delete: list[tuple[ProgramInstance, int]] = []
        self._committed = 0.0
        self.enrichment: Counter[str] = Counter()
        self.last_turn = clock.monotonic_s()

    def turn(self) -> bool:
        """Moves forks from the rings into the open batches of the sinks. True: there is more to drain at once."""
        now = self._clock.boot_ns()
        for instance in self.instances:
            forks = instance.turn(now)  # ring -> attribution
            self.emit_forks(instance.stream, forks)  # -> encoder
        self.last_turn = self._clock.monotonic_s()
        return any(instance.busy for instance in self.instances)

    def emit_forks(self, stream: str, forks: Sequence[Fork]) -> None:
        """Each sink encodes those that it selects."""
        if forks:
            for sink in self.sinks:
                sink.emit_forks(stream, forks, self.wall_s)
            self.enrichment.update(Counter(state_of(fork.attribution, fork.lag_ms) for fork in forks))

    def emit_events(self, stream: str, events: Sequence[Event]) -> None:
        """The agent's own: summaries, storms, gaps."""
        for event in events:
            for sink in self.sinks:
                sink.emit_event(stream, event, self.wall_s)

    def commit_is_due(self) -> bool:
        now = self.wall_s
        return (
            any(sink.due(now) for sink in self.sinks)
            or not 0 <= now - self._committed < _COMMIT_S
            or any(instance.programs.forks.fill > _FULL for instance in self.instances)
        )

    async def commit(self, *, close_batches: bool = False) -> None:
        """Encoder -> journal: saves what was emitted, and what waits; then lets the kernel overwrite it in the rings.

        The kernel may do so after a commit that failed, too: the journal holds in memory what it can.
        """
        if close_batches:
            for sink in self.sinks:
                sink.close_batch()
        self.stage()
        reached = [(instance, instance.reached) for instance in self.instances]
        to_delete, self._to_delete = self._to_delete, []
        await self._journal.commit()  # reports it when it can't write; capture goes on
        for instance, positions in reached:
            instance.publish(positions)
        for instance, cgroup in to_delete:
            instance.programs.delete_counters(cgroup)
            instance.summaries.finish_retiring(cgroup)
        self._committed = self.wall_s

    def stage(self, *, everything: bool = False) -> None:
        """Gives the journal what changed since the last time, or everything."""
        now = self.wall_s
        for sink in self.sinks:
            sink.stage(self._journal, now, everything=everything)
        for instance in self.instances:
            instance.stage(self._journal, everything=everything)
        self._metadata_cache.stage(self._journal, everything=everything)
        self._journal.put(CLOCK, self._boot_id, self._wall_time.record().encode())

    def start_posting(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Journal -> POST: each sink has a task that sends its batches in order, and waits for the journal's next one."""
        return [tasks.create_task(sink.sender.run(), name=f"sink {sink.name}") for sink in self.sinks]

    def delete_counters_after_commit(self, instance: ProgramInstance, cgroup: int) -> None:
        """The kernel's counters of a removed cgroup go, after the commit of what was reported of them."""
        self._to_delete.append((instance, cgroup))

    @property
    def wall_s(self) -> float:
        """Now, seconds since 1970."""
        return self._clock.wall_ns() / 1e9
