"""What an agent reports of itself, on request: takes snapshots of its parts and hands them to what prints them.

It changes nothing, and answers at once: status endpoints and scrapes wait for nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.attribution.metadata_cache import MetadataCache
from agent.attribution.pods.watch import PodWatch
from agent.interfaces import Clock
from agent.journal import Journal
from agent.kernel.capture import Capture
from agent.kernel.programs import Snapshot
from agent.model import Counters, Event
from agent.pipeline import Pipeline
from agent.program_instance import ProgramInstance
from agent.reporting.ledger_file import write_ledger
from agent.reporting.ledger_json import heartbeat_json, ledger_json, ledger_line
from agent.reporting.metrics import Measures, PodCounts, SinkMeasures
from agent.reporting.pod_counts import pod_counts, pods_json
from agent.reporting.snapshots import AgentIdentity, AgentSnapshot, LedgerSnapshot, SinkState, ledger_snapshot
from agent.reporting.summaries import Interval
from agent.sinks.sink import Sink

__all__ = ["AgentIdentity", "Reporter"]

log = logging.getLogger(__name__)

_NEARLY_FULL = 0.9  # of a map: the alert ForkloreTableFilling comes at the same fill
_LISTED_NS = 60 * 10**9  # a pod is in the API before its first container is here; a static pod's mirror comes soon after
_HANGING_S = 15.0  # a turn takes milliseconds; one that took this long will not come back


class Reporter:
    """`capturing`: from the start to shutdown. `clock_steps`: times that wall time was stepped; `walks`: times that all cgroups
    were read again; `privileges`: those that the agent kept."""

    def __init__(
        self,
        identity: AgentIdentity,
        clock: Clock,
        capture: Capture,
        pipeline: Pipeline,
        metadata_cache: MetadataCache,
        watch: PodWatch | None,
        journal: Journal,
    ) -> None:
        self._identity = identity
        self._clock = clock
        self._capture = capture
        self._pipeline = pipeline
        self._metadata_cache = metadata_cache
        self._watch = watch
        self._journal = journal
        self.capturing = False
        self.clock_steps = 0
        self.privileges: dict[str, Any] = {}
        self.walks = 0
        self._unwritten = False
        self._unnamed = False

    @property
    def begun(self) -> bool:
        return bool(self._pipeline.instances)

    def alive(self) -> str | None:
        since = self._clock.monotonic_s() - self._pipeline.last_turn
        return f"the pipeline has not turned for {since:.0f} s" if since > _HANGING_S else None

    def ready(self) -> str | None:
        """Capturing, and the journal can be written. A receiver or an API that does not answer is no reason."""
        if trouble := self._journal.trouble:
            trouble = f"the journal: {trouble}"
        return self.alive() or (None if self.capturing else "not capturing") or trouble

    def warnings(self) -> list[str]:
        """What does not stop capture: receivers that get nothing, because one side does not trust the other's certificate or a
        file is missing; maps that are nearly full; a node's name that the API has not."""
        sinks = ((sink.name, sink.sender.untrusted) for sink in self._pipeline.sinks)
        fills = self._current.programs.table_fills() if self.begun else {}
        unknown = self._unknown_pods()
        return [
            *([self._wrong_node(unknown)] if unknown else []),
            *(f"sink {name}: {text}" for name, text in sinks if text),
            *(
                f"the kernel's map {name} has {fill.entries} of {fill.most} entries"
                for name, fill in fills.items()
                if fill.ratio > _NEARLY_FULL
            ),
        ]

    def snapshot(self) -> AgentSnapshot:
        current, *former = [self._snapshot(instance) for instance in self._pipeline.instances]
        watch = self._watch
        return AgentSnapshot(
            identity=self._identity,
            current=current,
            former=former,
            taken_over=self._capture.taken_over,
            pinned=self._capture.unpinned or "yes",
            journal=self._journal.trouble or "works",
            privileges=self.privileges,
            sinks={
                sink.name: SinkState(sink.queue.bytes, dict(sink.sender.responses), sink.sender.state)
                for sink in self._pipeline.sinks
            },
            enrichment=dict(self._pipeline.enrichment),
            kubernetes_state=watch.state if watch else "not asked",
            kubernetes_requests=watch.requests if watch else {},
        )

    def ledger(self) -> dict[str, Any]:
        return ledger_json(self.snapshot())

    def pods(self) -> dict[str, Any]:
        accounts = {sink.name: sink.account(self._current.stream) for sink in self._pipeline.sinks}
        return pods_json(self._counters(), self._metadata_cache.attributions, accounts)

    def pod_counts(self) -> Iterator[PodCounts]:
        counters = self._counters()
        return pod_counts(counters, self._metadata_cache.attributions, self._metadata_cache.pods_with_cgroups())

    def node_summary(self, instance: ProgramInstance, kernel: Snapshot, interval: Interval) -> Event:
        """The heartbeat."""
        ledger = ledger_snapshot(instance, kernel, self._pipeline.sinks)
        now = self._pipeline.wall_s
        lag_ms = int(max((sink.lag(now) for sink in self._pipeline.sinks), default=0.0) * 1000)
        agent, heartbeat = self._identity.as_json(), heartbeat_json(ledger)
        return instance.summaries.node_summary(kernel.counters, interval, agent, lag_ms, ledger.heads, heartbeat)

    def measures(self) -> Measures:
        journal, programs = self._journal, self._current.programs
        ring = programs.forks
        now = self._pipeline.wall_s
        return Measures(
            ring_fill=ring.fill,
            ring_backlog=ring.backlog,
            ring_bytes=ring.size,
            journal_bytes=journal.bytes_on_disk,
            journal_corruptions=journal.corruptions,
            journal_works=journal.trouble is None,
            commits=journal.durations,
            pinned=self._capture.unpinned is None,
            clock_steps=self.clock_steps,
            walks=self.walks,
            synced=self._watch.synced if self._watch else None,
            table_fills={name: fill.ratio for name, fill in programs.table_fills().items()},
            folded=sum(one.folded for one in programs.tracked().values()),
            folded_tasks=programs.folded_tasks(),
            ring_shared=programs.meta.shares_ring,
            unread=self._metadata_cache.cgroups.unread,
            unknown_pods=self._unknown_pods(),
            root_known=self._metadata_cache.kubelet_root.known,
            sinks={sink.name: _measures_of(sink, now) for sink in self._pipeline.sinks},
        )

    def write_ledger(self, folder: Path) -> None:
        """Writes the ledger file. Blocks for as long as the disk takes."""
        stream = self._current.stream
        accounts = {
            sink.name: {"delivered": {str(cgroup): count for cgroup, count in sink.account(stream).delivered.items()}}
            for sink in self._pipeline.sinks
        }
        try:
            write_ledger(folder, {**self.ledger(), **self.pods(), "stream": stream, "accounts": accounts})
        except OSError as error:
            if not self._unwritten:
                log.error("the ledger can't be written to %s: %s", folder, error.strerror)
            self._unwritten = True
        else:
            self._unwritten = False

    def log_wrong_node(self) -> None:
        """When it begins, and when it is over."""
        unknown = self._unknown_pods()
        if unknown and not self._unnamed:
            log.error("%s", self._wrong_node(unknown))
        elif self._unnamed and not unknown:
            log.info("the Kubernetes API has pods of this node now")
        self._unnamed = unknown > 0

    def _wrong_node(self, unknown: int) -> str:
        name = self._identity.node
        return (
            f"no pod is named: {unknown} have containers here, and the Kubernetes API has none of them on a node {name!r}. "
            "Set `node` to the name that `kubectl get nodes` shows"
        )

    def _unknown_pods(self) -> int:
        """How many pods are here and are not the API's, when none is: the node has another name there."""
        if self._watch is None or not self._watch.synced:
            return 0
        return self._metadata_cache.unknown_pods(self._clock.boot_ns() - _LISTED_NS)

    def log_ledger(self) -> None:
        log.info("left: %s", ledger_line(self._snapshot(self._current)))

    @property
    def _current(self) -> ProgramInstance:
        return self._pipeline.instances[0]

    def _snapshot(self, instance: ProgramInstance) -> LedgerSnapshot:
        return ledger_snapshot(instance, instance.programs.snapshot(), self._pipeline.sinks)

    def _counters(self) -> dict[int, Counters]:
        """Of the instance in charge, by cgroup."""
        counters: dict[int, Counters] = {**self._current.summaries.retired, **self._current.programs.snapshot().counters}
        self._current.read_cgroup_events()  # after the counters were read: so each of their cgroups is known
        return counters


def _measures_of(sink: Sink, now: float) -> SinkMeasures:
    sender = sink.sender
    return SinkMeasures(
        sender.tries,
        sender.retries,
        sender.reconnected,
        sender.bytes_sent,
        len(sink.queue),
        sink.lag(now),
        sender.durations,
    )
