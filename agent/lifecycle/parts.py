"""The parts of one agent: opened by startup, used by the loop, by recovery and by shutdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from agent.attribution.enricher import Enricher
from agent.attribution.fork_decoder import ForkDecoder, RecordLayout
from agent.attribution.metadata_cache import MetadataCache
from agent.attribution.pods.watch import PodWatch
from agent.attribution.uniqueness import UniquenessBudget
from agent.interfaces import Clock, EventFields
from agent.journal import Journal
from agent.kernel.capture import Capture
from agent.kernel.clock import WallClock
from agent.kernel.programs import LoadedPrograms
from agent.kernel.records import FORK, FORK_SLOT, NUMBERS, PARENT_CONTEXT
from agent.lifecycle.closed_instances import ClosedInstances
from agent.pipeline import Pipeline
from agent.program_instance import ProgramInstance
from agent.reporting.reporter import Reporter
from agent.reporting.storms import Storms
from agent.reporting.summaries import Summaries
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.encoders.times import Rfc3339
from agent.sinks.sink import Sink

__all__ = ["Options", "Parts", "StreamParts"]

_LAYOUT: Final = RecordLayout(FORK_SLOT, FORK.iter_unpack, PARENT_CONTEXT.unpack, NUMBERS.unpack)


class Options(NamedTuple):
    """What the loop and shutdown need of the settings; see agent.settings. `annotations`: keys of those that are kept of pods;
    `sandboxes`: patterns of RuntimeClasses."""

    summary_interval_s: float
    threads: bool
    storm_limit: int
    keep: bool
    pin: Path | None
    annotations: tuple[str, ...]
    sandboxes: tuple[str, ...]
    state_dir: Path


class StreamParts(NamedTuple):
    """Makes what each stream of forks has of its own. `wait_ns`, `most_waiting`: how long and how many forks may wait for
    their pods. `limits`: of storms, by reason."""

    cluster: str
    node: str
    wall_time: WallClock
    wait_ns: int
    most_waiting: int
    limits: Mapping[str, int]
    metadata_cache: MetadataCache

    def instance(self, programs: LoadedPrograms, tracker: LoadedPrograms, start: str) -> ProgramInstance:
        """`tracker`: the programs in charge; `start`: of the first interval, RFC 3339."""
        stream, cache = programs.stream, self.metadata_cache
        storms = Storms(stream, self.limits, cache.attributions, self._event_fields, programs.meta.loaded_ns)
        budget = UniquenessBudget(self.limits["uniqueness"])
        enricher, summaries = self.enricher(stream, cache), self.summaries(stream)
        return ProgramInstance(programs, enricher, summaries, storms, cache, tracker, start, budget)

    def summaries(self, stream: str) -> Summaries:
        return Summaries(stream, self.metadata_cache.attributions, self._event_fields)

    def enricher(self, stream: str, metadata_cache: MetadataCache) -> Enricher:
        """`metadata_cache`: of the boot that the stream's cgroup ids are of."""
        boot_key = int(stream.partition(".")[0].replace("-", "")[:16], 16)
        return Enricher(
            ForkDecoder(_LAYOUT, boot_key, self.wall_time),
            metadata_cache.attributions,
            metadata_cache.attached_tasks,
            wait_ns=self.wait_ns,
            most=self.most_waiting,
        )

    @property
    def _event_fields(self) -> EventFields:
        return partial(k8s_fields, cluster=self.cluster, node=self.node)


@dataclass(frozen=True)
class Parts:
    """`instances`: the one in charge first, then those that are drained. `wall_time`: from the boot clock to wall time."""

    options: Options
    clock: Clock
    wall_time: WallClock
    boot_id: str
    capture: Capture
    journal: Journal
    metadata_cache: MetadataCache
    watch: PodWatch | None
    sinks: tuple[Sink, ...]
    streams: StreamParts
    instances: list[ProgramInstance]
    closed: ClosedInstances
    pipeline: Pipeline
    reporter: Reporter
    rfc3339: Rfc3339

    def wall(self) -> str:
        """Now, as RFC 3339."""
        return self.rfc3339(self.clock.wall_ns())
