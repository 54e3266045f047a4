"""The agent's state, put into words for the status endpoints, the heartbeat and the last ledger. Reads rooms, changes none.

Must not live here: HTTP; anything on the way of the data.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from agent.enrich import Enricher
from agent.identity.pods import PodWatch
from agent.kernel.probe import Probe, Snapshot
from agent.ledger import Captured, Queued, closed, totals
from agent.nouns import Subject
from agent.sinks.sink import Sink
from agent.summaries import Row, Summaries

__all__ = ["Reporter"]

_HANGING_S = 15.0  # a turn takes milliseconds; one that took this long will not come back


class Reporter:
    """`received`: how many forks the pipeline has taken out of the ring. `hear`: takes in what the kernel has told of cgroups.
    All of it answers at once."""

    def __init__(
        self,
        probe: Probe,
        summaries: Summaries,
        enricher: Enricher,
        sinks: Sequence[Sink],
        watch: PodWatch | None,
        best: Callable[[int], Subject],
        hear: Callable[[], None],
        agent: dict[str, str],
        cluster: str,
        node: str,
    ) -> None:
        self._probe = probe
        self._summaries = summaries
        self._enricher = enricher
        self._sinks = sinks
        self._watch = watch
        self._best = best
        self._hear = hear
        self.agent = agent
        self._cluster = cluster
        self._node = node
        self.received = 0
        self.enrichment: Counter[str] = Counter()
        self.last_turn = time.monotonic()
        self.capturing = False
        self.clock_steps = 0
        self.walks = 0

    def alive(self) -> str | None:
        silent = time.monotonic() - self.last_turn
        return f"the pipeline has not turned for {silent:.0f} s" if silent > _HANGING_S else None

    def ready(self) -> str | None:
        return self.alive() or (None if self.capturing else "not capturing")

    def captured(self, snapshot: Snapshot) -> Captured:
        counted = totals([self._summaries.total(snapshot.rows)])
        workers = snapshot.tasks_made - counted["processes"] - counted["threads"]
        return Captured(**counted, misses=snapshot.misses, kernel_workers=workers)

    def queued(self, captured: Captured, sink: Sink) -> Queued:
        # What is encoded and not in the journal yet lies in the ring, too: its room has not been given back.
        in_ring = captured.emitted - self.received + sink.open_forks
        return Queued(ring=in_ring, waiting=self._enricher.waiting, journal=sink.journal.forks)

    def ledger(self) -> dict[str, Any]:
        snapshot = self._probe.snapshot()
        captured = self.captured(snapshot)
        differences = [closed(captured, sink.account, self.queued(captured, sink)) for sink in self._sinks]
        unaccounted = max(map(abs, differences), default=0)
        sinks = {
            sink.name: {
                **self._account(captured, sink),
                "journal_bytes": sink.journal.bytes,
                "answers": sink.sender.answers,
                "state": sink.sender.state,
            }
            for sink in self._sinks
        }
        return {
            "node": self._node,
            "cluster": self._cluster,
            "agent": self.agent,
            "boot_id": self._probe.boot_id,
            "epoch": self._probe.epoch,
            "processes": captured.processes,
            "threads": captured.threads,
            "entered": captured.entered,
            "captured": captured.captured,
            "emitted": captured.emitted,
            "received": self.received,
            "suppressed": captured.suppressed,
            "kernel_workers": captured.kernel_workers,
            "lost": {"ring": captured.lost, "recursion": captured.misses},
            "filtered": {"threads": captured.filtered},
            "sinks": sinks,
            "unaccounted": unaccounted,
            "closed": unaccounted == 0,
            "heads": {str(cpu): row.sequence for cpu, row in enumerate(snapshot.cpus)},
            "proc_stat": {"attach": list(self._probe.attached), "now": list(snapshot.proc_stat)},
            "enrichment": dict(self.enrichment),
            "kubernetes": {
                "state": self._watch.state if self._watch else "not asked",
                "requests": self._watch.requests if self._watch else {},
            },
        }

    def pods(self) -> dict[str, Any]:
        rows: dict[int, Row] = {**self._summaries.retired, **self._probe.snapshot().rows}
        self._hear()  # after the rows were read: each of their cgroups has been told of by now
        entries: dict[tuple[str | None, str | None], dict[str, Any]] = {}
        for cgroup, row in rows.items():
            subject = self._best(cgroup)
            container = subject.container
            entry = entries.setdefault(
                (subject.pod_uid, container.id if container else None),
                {
                    "namespace": subject.pod.namespace if subject.pod else None,
                    "pod": subject.pod.name if subject.pod else None,
                    "pod_uid": subject.pod_uid,
                    "container": container.name if container else None,
                    "container_id": container.id if container else None,
                    "kind": container.kind if container else None,
                    **dict.fromkeys(totals([]), 0),
                    "delivered": {sink.name: 0 for sink in self._sinks},
                },
            )
            for name, count in totals([row]).items():
                entry[name] += count
            for sink in self._sinks:
                entry["delivered"][sink.name] += sink.account.delivered[cgroup]
        return {"pods": list(entries.values())}

    def heartbeat(self, snapshot: Snapshot) -> dict[str, Any]:
        """wire.events.Ledger."""
        captured = self.captured(snapshot)
        return {
            "captured": captured.captured,
            "suppressed": captured.suppressed,
            "kernel_workers": captured.kernel_workers,
            "lost": {"ring": captured.lost, "recursion": captured.misses},
            "sinks": {sink.name: self._account(captured, sink) for sink in self._sinks},
        }

    def _account(self, captured: Captured, sink: Sink) -> dict[str, Any]:
        """wire.events.SinkLedger."""
        queued = self.queued(captured, sink)
        return {
            "delivered": sink.account.delivered.total(),
            "queued": {"ring": queued.ring, "waiting": queued.waiting, "journal": queued.journal},
            "lost": sink.account.lost_by_reason(),
            "filtered": {"threads": captured.filtered},
        }

    def lag_s(self) -> float:
        now = time.monotonic()
        return max((sink.lag(now) for sink in self._sinks), default=0.0)

    def gauges(self) -> dict[str, float]:
        return {
            "ring_fill_ratio": self._probe.forks.fill,
            "delivery_lag_seconds": self.lag_s(),
            "clock_steps": float(self.clock_steps),
            "cgroup_walks": float(self.walks),
            "kubernetes_synced": float(self._watch.synced) if self._watch else 0.0,
        }
