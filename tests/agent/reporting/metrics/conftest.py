"""An agent's state by value, as its reports put it, and what Prometheus makes of the answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.histogram import Durations
from agent.ledger import Captured, Queued
from agent.reporting.metrics import Exposition, Measures, SinkMeasures
from agent.reporting.snapshots import AgentIdentity, AgentSnapshot, LedgerSnapshot, SinkLedger, SinkState


class State:
    """Reports of an agent that has two sinks and some of everything."""

    def __init__(self):
        self.commits, self.tries = Durations(), Durations()
        self.beyond = Measures(
            ring_fill=0.25, ring_backlog=7, ring_bytes=1 << 24, journal_bytes=8192, journal_corruptions=1, journal_works=True,
            commits=self.commits, pinned=True, clock_steps=2, walks=3, synced=True,
            table_fills={"tracked": 0.125, "host_counters": 0.5}, folded=12, folded_tasks=56, ring_shared=True,
            unread=34, unknown_pods=0, root_known=True,
            sinks={
                "siem": SinkMeasures(12, 2, 1, 34567, 4, 1.5, self.tries),
                "lake": SinkMeasures(1, 0, 0, 99, 0, 0.0, Durations()),
            },
        )  # fmt: skip
        captured = Captured(
            processes=800, threads=150, emitted=860, filtered=100, suppressed=30, lost=10, entered=5, orphaned=50
        )  # fmt: skip
        current = LedgerSnapshot(
            stream="b.i", boot_id="b", instance="i", captured=captured, received=853, storms={"limit": 1}, heads={},
            attached=(0, 0), proc_stat=(0, 0),
            sinks={
                "siem": self.sink(delivered=700, journal=60),
                "lake": self.sink(delivered=750, journal=0, lost={"rejected": 10}),
            },
        )  # fmt: skip
        former = replace(current, stream="b.e", sinks={"siem": self.sink(journal=6), "lake": self.sink()})
        self.agent = AgentSnapshot(
            identity=AgentIdentity("node1", "demo", "0.1.0", "6.18.44", "2026-11-23T00:00:00Z"),
            current=current, former=[former], taken_over=False, pinned="yes", journal="works", privileges={},
            sinks={
                "siem": SinkState(6000, {"200": 9, "503": 2, "timeout": 1}, "taken"),
                "lake": SinkState(0, {"200": 1}, "taken"),
            },
            enrichment={"resolved": 700, "late": 20, "unresolved": 3, "host": 77},
            kubernetes_state="watching",
            kubernetes_requests={"list": 1, "watch": 4, "403": 2, "TimeoutError": 1},
        )  # fmt: skip
        self.counts = []

    def sink(self, *, delivered=0, journal=0, lost=None):
        queued = Queued(7, 3, journal) if delivered else Queued(0, 0, journal)
        filtered = {"threads": 100, "select": 40} if delivered else {}
        return SinkLedger(delivered, queued, lost or {}, filtered, 0)

    def snapshot(self):
        return self.agent

    def change(self, **changes):
        self.agent = replace(self.agent, **changes)

    def measures(self):
        return self.beyond

    def pod_counts(self):
        return self.counts

    def measure(self, **changes):
        self.beyond = replace(self.beyond, **changes)


class Scraped:
    """What a scrape came to. Parsing it is the check that it can be parsed."""

    def __init__(self, exposition):
        self.text = exposition.text().decode()
        self.families = list(text_string_to_metric_families(self.text))
        samples = [sample for family in self.families for sample in family.samples]
        self.series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples]
        self._values = {key: sample.value for key, sample in zip(self.series, samples, strict=True)}

    def value(self, name, **labels):
        return self._values[name, tuple(sorted(labels.items()))]

    def sum(self, name, **labels):
        wanted = set(labels.items())
        return sum(value for (of, has), value in self._values.items() if of == name and wanted <= set(has))

    def labels(self, name):
        return [dict(has) for of, has in self.series if of == name]

    @property
    def types(self):
        return Counter(family.type for family in self.families)


@pytest.fixture
def state():
    return State()


@pytest.fixture
def scrape(state):
    """Scrapes the same exposition each time, as Prometheus does."""
    exposition = Exposition(state, most_pods=3)
    return lambda: Scraped(exposition)
