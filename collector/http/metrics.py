"""The metrics of /metrics, in a registry of the collector's own. No label has a pod, a client or anything else that grows."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from collector.http.token_refusals import Reason
from wire import VERSION

__all__ = ["Metrics"]


class Metrics:
    """Two of these can be in one process: nothing is global."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.batches = Counter(
            "forklore_collector_batches", "Batches by the status of their answer", ["status"], registry=self.registry
        )
        self.events = Counter(
            "forklore_collector_events",
            "Events by outcome: accepted, duplicate (unchecked: those whose stored row has expired), rejected, conflict",
            ["outcome"],
            registry=self.registry,
        )
        self.refused = Counter(
            "forklore_collector_refused_events",
            "Events not accepted, by why: form, time (ahead of the clock, or before any agent), count (no kernel reaches it)",
            ["why"],
            registry=self.registry,
        )
        self.streams_refused = Counter(
            "forklore_collector_streams_refused",
            "Batches of another node, by why: node (other than the token's), stream (of another node)",
            ["why"],
            registry=self.registry,
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
        self.deleted_early = Counter(
            "forklore_collector_deleted_early_rows",
            "Rows deleted before their time, for the volume of the embedded store was 90 % full",
            ["table"],
            registry=self.registry,
        )
        self.disk = Gauge(
            "forklore_collector_disk_used_ratio",
            "Part of the embedded store's volume that is in use; 0: the store is a server",
            registry=self.registry,
        )
        self.store_errors = Counter(
            "forklore_collector_store_errors", "Times that the store did not answer", registry=self.registry
        )
        self.reads = Counter(
            "forklore_collector_reads", "Answers to readers by route and status", ["route", "status"], registry=self.registry
        )
        self.read_seconds = Histogram(
            "forklore_collector_read_seconds", "From a reader's question to the end of the answer", ["route"],
            registry=self.registry, buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 1, 2.5, 5, 10, 60),
        )  # fmt: skip
        self.turned_away = Counter(
            "forklore_collector_turned_away",
            "Requests by why: token, rate, places, host, connections",
            ["why"],
            registry=self.registry,
        )
        self.tokens_refused = Counter(
            "forklore_collector_tokens_refused",
            "Requests whose token was refused, by why: see docs/access.md",
            ["reason"],
            registry=self.registry,
        )
        self.batches_by_credential = Counter(
            "forklore_collector_batches_by_credential",
            "Batches by their senders' credential: node: a token of one node; shared: another token; none: none is required",
            ["credential"],
            registry=self.registry,
        )
        self.clusters_without_keys = Gauge(
            "forklore_collector_clusters_without_keys",
            "Clusters of the settings whose keys could not be read yet: their agents are refused",
            registry=self.registry,
        )
        self.key_failures = Gauge(
            "forklore_collector_key_failures", "Failed readings of clusters' keys since the start", registry=self.registry
        )
        self.certificate_expires = Gauge(
            "forklore_collector_certificate_expires_timestamp_seconds",
            "When the certificate in use ends, in seconds since 1970; 0: plain HTTP",
            registry=self.registry,
        )
        self.certificate_broken = Gauge(
            "forklore_collector_certificate_broken",
            "1: the files of the certificate can't be used as they are now, and the one before is in use",
            registry=self.registry,
        )
        self.exports = Gauge("forklore_collector_exports_open", "Exports being written", registry=self.registry)
        self.exported = Counter("forklore_collector_exported_forks", "Forks exported", ["format"], registry=self.registry)
        self.streams = Gauge("forklore_collector_streams_open", "Readers of the stream", registry=self.registry)
        self.streamed = Counter("forklore_collector_streamed_forks", "Forks sent to readers", registry=self.registry)
        self.stream_lost = Counter(
            "forklore_collector_stream_lost_forks", "Forks that readers were too slow for", registry=self.registry
        )
        # Apart, because only those who may read get the version.
        self._build = CollectorRegistry()
        Info("forklore_collector_build", "This collector", registry=self._build).info({"version": VERSION})
        for why in ("token", "rate", "places", "host", "connections"):
            self.turned_away.labels(why)
        for reason in Reason:
            self.tokens_refused.labels(reason.label)
        for credential in ("node", "shared", "none"):
            self.batches_by_credential.labels(credential)
        for outcome in ("accepted", "duplicate", "rejected", "conflict", "unchecked"):
            self.events.labels(outcome)
        for why in ("node", "stream"):
            self.streams_refused.labels(why)
        for why in ("form", "time", "count"):
            self.refused.labels(why)
        for table in ("fork", "summary", "minute", "gap"):
            self.deleted_early.labels(table)
        for form in ("wire", "plain"):
            self.bytes.labels(form)

    def text(self, *, known: bool) -> bytes:
        """`known`: the client may read."""
        return generate_latest(self.registry) + (generate_latest(self._build) if known else b"")
