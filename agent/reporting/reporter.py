"""The agent's state, put into words for the status endpoints, the heartbeat and the last ledger. Reads rooms, changes none.

Must not live here: HTTP; anything on the way of the data.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from agent.attribution.metadata_cache import MetadataCache
from agent.attribution.pod_watch import PodWatch
from agent.journal import Journal
from agent.kernel.capture import Capture
from agent.kernel.programs import Snapshot
from agent.ledger import Captured, Queued, closed, totals
from agent.lifecycle.recovery import LEDGER
from agent.program_instance import ProgramInstance
from agent.reporting.metrics import Measures, PodCounts, SinkMeasures
from agent.sinks.sink import Sink

__all__ = ["Reporter"]

log = logging.getLogger(__name__)

_HANGING_S = 15.0  # a turn takes milliseconds; one that took this long will not come back
Row = tuple[int, ...]  # as ledger.COUNTS


class Reporter:
    """`epochs`: the one in charge first; there is none before the start. All of it answers at once."""

    def __init__(
        self,
        capture: Capture,
        journal: Journal,
        instances: Sequence[ProgramInstance],
        sinks: Sequence[Sink],
        watch: PodWatch | None,
        metadata_cache: MetadataCache,
        agent: dict[str, str],
        cluster: str,
        node: str,
    ) -> None:
        self._capture = capture
        self._journal = journal
        self._instances = instances
        self._sinks = sinks
        self._watch = watch
        self._metadata_cache = metadata_cache
        self.agent = agent
        self._cluster = cluster
        self._node = node
        self.enrichment: Counter[str] = Counter()
        self.last_turn = time.monotonic()
        self.capturing = False
        self.clock_steps = 0
        self.privileges: dict[str, Any] = {}
        self.walks = 0
        self._unwritten = False

    @property
    def begun(self) -> bool:
        return bool(self._instances)

    def alive(self) -> str | None:
        silent = time.monotonic() - self.last_turn
        return f"the pipeline has not turned for {silent:.0f} s" if silent > _HANGING_S else None

    def ready(self) -> str | None:
        """Capturing, and the journal can be written. A sink that is away, or an API, is no reason."""
        if trouble := self._journal.trouble:
            trouble = f"the journal: {trouble}"
        return self.alive() or (None if self.capturing else "not capturing") or trouble

    def queued(self, instance: ProgramInstance, captured: Captured, sink: Sink) -> Queued:
        in_ring = captured.emitted - instance.received
        return Queued(ring=in_ring, waiting=instance.enricher.waiting, journal=sink.queued(instance.stream))

    def ledger(self) -> dict[str, Any]:
        """Of the epoch in charge; those that are being drained are in `former`, in short."""
        current = self._instances[0]
        programs, snapshot = current.programs, current.programs.snapshot()
        captured = current.captured(snapshot)
        unaccounted = self._unaccounted(current, captured)
        sinks = {
            sink.name: {
                **self._account(current, captured, sink),
                "journal_bytes": sink.queue.bytes,
                "answers": dict(sink.sender.responses),
                "state": sink.sender.state,
            }
            for sink in self._sinks
        }
        return {
            "node": self._node,
            "cluster": self._cluster,
            "agent": self.agent,
            "boot_id": programs.meta.boot_id,
            "epoch": programs.meta.instance_id,
            "taken_over": self._capture.taken_over,
            "pinned": self._capture.unpinned or "yes",
            "journal": self._journal.trouble or "works",
            "privileges": self.privileges,
            "processes": captured.processes,
            "threads": captured.threads,
            "entered": captured.entered,
            "captured": captured.captured,
            "emitted": captured.emitted,
            "received": current.received,
            "suppressed": captured.suppressed,
            "kernel_workers": captured.kernel_workers,
            "lost": _lost(captured),
            "filtered": {"threads": captured.filtered},
            "storms": len(current.storms),
            "sinks": sinks,
            "former": [self._former(instance) for instance in self._instances[1:]],
            "unaccounted": unaccounted,
            "closed": unaccounted == 0,
            "heads": {str(cpu): row.sequence for cpu, row in enumerate(snapshot.cpus)},
            "proc_stat": {"attach": list(programs.meta.attached), "now": list(snapshot.proc_stat)},
            "enrichment": dict(self.enrichment),
            "kubernetes": {
                "state": self._watch.state if self._watch else "not asked",
                "requests": self._watch.requests if self._watch else {},
            },
        }

    def pods(self) -> dict[str, Any]:
        current = self._instances[0]
        rows: dict[int, Row] = {**current.summaries.retired, **current.programs.snapshot().counters}
        current.hear()  # after the rows were read: each of their cgroups has been told of by now
        accounts = {sink.name: sink.account(current.stream) for sink in self._sinks}
        entries: dict[tuple[str | None, str | None], dict[str, Any]] = {}
        for cgroup, row in rows.items():
            attribution = self._metadata_cache.attributions.resolve_now(cgroup)
            container = attribution.container
            entry = entries.setdefault(
                (attribution.pod_uid, container.id if container else None),
                {
                    "namespace": attribution.pod.namespace if attribution.pod else None,
                    "pod": attribution.pod.name if attribution.pod else None,
                    "pod_uid": attribution.pod_uid,
                    "container": container.name if container else None,
                    "container_id": container.id if container else None,
                    "kind": container.kind if container else None,
                    **dict.fromkeys(totals([]), 0),
                    "delivered": {sink.name: 0 for sink in self._sinks},
                },
            )
            for name, count in totals([row]).items():
                entry[name] += count
            for name, account in accounts.items():
                entry["delivered"][name] += account.delivered[cgroup]
        return {"pods": list(entries.values())}

    def heartbeat(self, instance: ProgramInstance, snapshot: Snapshot) -> dict[str, Any]:
        """wire.events.Ledger."""
        captured = instance.captured(snapshot)
        return {
            "captured": captured.captured,
            "suppressed": captured.suppressed,
            "kernel_workers": captured.kernel_workers,
            "lost": _lost(captured),
            "sinks": {sink.name: self._account(instance, captured, sink) for sink in self._sinks},
        }

    def _account(self, instance: ProgramInstance, captured: Captured, sink: Sink) -> dict[str, Any]:
        """wire.events.SinkLedger."""
        queued, account = self.queued(instance, captured, sink), sink.account(instance.stream)
        return {
            "delivered": account.delivered.total(),
            "queued": {"ring": queued.ring, "waiting": queued.waiting, "journal": queued.journal},
            "lost": account.lost_by_reason(),
            "filtered": {"threads": captured.filtered, **account.filtered_by_reason()},
        }

    def _unaccounted(self, instance: ProgramInstance, captured: Captured) -> int:
        sinks = self._sinks
        differences = [closed(captured, sink.account(instance.stream), self.queued(instance, captured, sink)) for sink in sinks]
        return max(map(abs, differences), default=0)

    def _former(self, instance: ProgramInstance) -> dict[str, Any]:
        snapshot = instance.programs.snapshot()
        return {"stream": instance.stream, **self.heartbeat(instance, snapshot)}

    def lag_s(self) -> float:
        now = time.time()
        return max((sink.lag(now) for sink in self._sinks), default=0.0)

    def measures(self) -> Measures:
        journal, ring = self._journal, self._instances[0].programs.forks
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
            sinks={sink.name: _measures_of(sink) for sink in self._sinks},
        )

    def pod_counts(self) -> Iterator[PodCounts]:
        """Each row of the tally that is a pod's."""
        current, metadata_cache = self._instances[0], self._metadata_cache
        rows: dict[int, Row] = {**current.summaries.retired, **current.programs.snapshot().counters}
        current.hear()
        there = metadata_cache.pods_with_cgroups()
        for cgroup, row in rows.items():
            attribution = metadata_cache.attributions.resolve_now(cgroup)
            if (uid := attribution.pod_uid) is not None:
                counts = totals([row])
                namespace, name = (attribution.pod.namespace, attribution.pod.name) if attribution.pod else ("", uid)
                told = [counts[what] for what in ("processes", "threads", "suppressed", "lost")]
                yield PodCounts(uid, namespace, name, cgroup, uid in there, *told)

    def write_ledger(self, folder: Path) -> None:
        """For people, and for the next agent should the journal be gone by then. Blocks for as long as the disk takes."""
        stream = self._instances[0].stream
        accounts = {
            sink.name: {"delivered": {str(cgroup): count for cgroup, count in sink.account(stream).delivered.items()}}
            for sink in self._sinks
        }
        said = {**self.ledger(), **self.pods(), "stream": stream, "accounts": accounts}
        try:
            draft = folder / f"{LEDGER}.new"
            draft.write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2))
            draft.replace(folder / LEDGER)
        except OSError as error:
            if not self._unwritten:
                log.error("the ledger can't be written to %s: %s", folder, error.strerror)
            self._unwritten = True
        else:
            self._unwritten = False

    def say_goodbye(self) -> None:
        said = self.ledger()
        sinks = {name: {key: sink[key] for key in ("delivered", "queued", "lost")} for name, sink in said["sinks"].items()}
        log.info("left: captured %d, lost %s, %s", said["captured"], said["lost"], sinks)


def _measures_of(sink: Sink) -> SinkMeasures:
    sender = sink.sender
    return SinkMeasures(
        sender.tries,
        sender.retries,
        sender.reconnected,
        sender.bytes_sent,
        len(sink.queue),
        sink.lag(time.time()),
        sender.durations,
    )


def _lost(captured: Captured) -> dict[str, int]:
    """Before any sink."""
    return {
        "ring": captured.lost,
        "recursion": captured.misses,
        "orphaned": captured.orphaned,
        "unseen": captured.unseen,
    }
