"""An agent's state by value, as its reports put it, and what Prometheus makes of the answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.histogram import Durations
from agent.reporting.metrics import Exposition, Measures, SinkMeasures


class State:
    """Reports of an agent that has two sinks and some of everything."""

    def __init__(self):
        self.commits, self.tries = Durations(), Durations()
        self.beyond = Measures(
            ring_fill=0.25, ring_backlog=7, ring_bytes=1 << 24, journal_bytes=8192, journal_corruptions=1, journal_works=True,
            commits=self.commits, pinned=True, clock_steps=2, walks=3, synced=True,
            sinks={
                "siem": SinkMeasures(12, 2, 1, 34567, 4, 1.5, self.tries),
                "lake": SinkMeasures(1, 0, 0, 99, 0, 0.0, Durations()),
            },
        )  # fmt: skip
        self.ledger_json = {
            "node": "node1",
            "agent": {"version": "0.1.0", "kernel": "6.18.44", "started": "2026-11-23T00:00:00Z"},
            "processes": 800, "threads": 150, "entered": 5, "suppressed": 30, "storms": 1, "unaccounted": 0,
            "lost": {"ring": 10, "recursion": 0, "orphaned": 50},
            "sinks": {
                "siem": self.sink(delivered=700, journal=60, answers={"200": 9, "503": 2, "timeout": 1}),
                "lake": self.sink(delivered=750, journal=0, lost={"rejected": 10}, answers={"200": 1}),
            },
            "former": [{"stream": "b.e", "sinks": {"siem": self.sink(journal=6), "lake": self.sink()}}],
            "enrichment": {"resolved": 700, "late": 20, "unresolved": 3, "host": 77},
            "kubernetes": {"state": "watching", "requests": {"list": 1, "watch": 4, "403": 2, "TimeoutError": 1}},
        }  # fmt: skip
        self.counts = []

    def sink(self, *, delivered=0, journal=0, lost=None, answers=None):
        queued = {"ring": 7, "waiting": 3, "journal": journal} if delivered else {"ring": 0, "waiting": 0, "journal": journal}
        filtered = {"threads": 100, "select": 40} if delivered else {}
        return {
            "delivered": delivered, "queued": queued, "lost": lost or {}, "filtered": filtered,
            "journal_bytes": 100 * journal, "answers": answers or {}, "state": "taken",
        }  # fmt: skip

    def ledger(self):
        return self.ledger_json

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
