"""What /metrics says, in a registry of the collector's own. No label names a pod, a client or anything else that grows.

Must not live here: reading the store; the numbers are brought.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from wire import VERSION

__all__ = ["Metrics"]


class Metrics:
    """Two of these can live in one process: nothing is global."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.batches = Counter(
            "forklore_collector_batches", "Batches by the status of their answer", ["status"], registry=self.registry
        )
        self.events = Counter(
            "forklore_collector_events", "Events by outcome: accepted, duplicate, rejected", ["outcome"], registry=self.registry
        )
        self.bytes = Counter(
            "forklore_collector_bytes",
            "Bytes of batches, wire: as they came, plain: unpacked",
            ["form"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "forklore_collector_batch_seconds", "From a batch's first byte to its answer, committed", registry=self.registry,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )  # fmt: skip
        self.waiting = Gauge("forklore_collector_batches_open", "Batches being received or filed", registry=self.registry)
        self.rows = Gauge("forklore_collector_store_rows", "Rows in the store", ["table"], registry=self.registry)
        self.size = Gauge("forklore_collector_store_bytes", "Size of the store", registry=self.registry)
        self.swept = Counter("forklore_collector_swept_forks", "Forks deleted for their age", registry=self.registry)
        self.store_errors = Counter(
            "forklore_collector_store_errors", "Times that the store did not answer", registry=self.registry
        )
        Info("forklore_collector_build", "This collector", registry=self.registry).info({"version": VERSION})
        for outcome in ("accepted", "duplicate", "rejected"):
            self.events.labels(outcome)
        for form in ("wire", "plain"):
            self.bytes.labels(form)

    def text(self) -> bytes:
        return generate_latest(self.registry)
