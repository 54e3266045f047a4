"""/metrics: every family with its name, its help and its labels. Read at the scrape; only which pods have series is kept.

Counters are those of the program instance in charge. So at every scrape, for each sink, captured = delivered + queued + lost +
suppressed + filtered, except for what was lost before it was counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from agent.histogram import BOUNDS, Durations
from agent.reporting.metrics.measures import Measures, Reports, SinkMeasures
from agent.reporting.metrics.pods import PodSeries
from agent.reporting.snapshots import AgentSnapshot
from wire.http.certificate import ServerCertificate

__all__ = ["Exposition"]

_LONGEST: Final = 253  # characters of a label: Kubernetes' longest name
_STATUSES: Final = frozenset(str(status.value) for status in HTTPStatus)
_OTHER: Final = "other"  # statuses that HTTP does not know: a receiver must not be able to make series

Samples = Sequence[tuple[Sequence[str], float]]


class Exposition(Collector):
    """`most_pods`: how many pods have series of their own; 0: no pod has metrics. `certificate`: the status port's."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, reports: Reports, most_pods: int = 0, certificate: ServerCertificate | None = None) -> None:
        self._reports, self._certificate = reports, certificate
        self._pods = PodSeries(most_pods) if most_pods else None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not read the state, which is not there yet."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        agent, measures = self._reports.snapshot(), self._reports.measures()
        version, kernel, node = agent.identity.version, agent.identity.kernel, agent.identity.node
        labels = {"version": _label(version), "kernel": _label(kernel), "node": _label(node)}
        yield InfoMetricFamily("forklore_agent", "The agent's version, its node and that node's kernel.", labels)
        yield from _captured(agent, measures)
        yield from _sinks(agent, measures.sinks)
        yield from _journal(measures)
        yield from _attribution(agent, measures)
        yield from _status_port(self._certificate)
        if self._pods is not None:
            self._pods.update(self._reports.pod_counts())
            yield from _pods(self._pods)


def _captured(agent: AgentSnapshot, measures: Measures) -> Iterator[Metric]:
    forks = agent.current.captured
    kinds = {"process": forks.processes, "thread": forks.threads, "orphaned": forks.orphaned}
    captured = [([kind], count) for kind, count in kinds.items()]
    text = "Forks, as the kernel counts them; orphaned: of either kind, while no agent was running."
    yield _counter("forklore_captured_forks", text, captured, ["kind"])
    yield _counter("forklore_entered_processes", "Processes that were moved into a container after their fork.", forks.entered)
    text = "Forks above their pod's storm limit or their container's uniqueness limit: counted, not sent."
    yield _counter("forklore_suppressed_forks", text, forks.suppressed)
    yield _gauge(
        "forklore_storms",
        "Pods above their storm limit.",
        agent.current.storms.get("limit", 0) + agent.current.storms.get("ring", 0),
    )
    text = "Containers above capture.uniqueness_limit, which are only counted."
    yield _gauge("forklore_unique_containers", text, agent.current.storms.get("uniqueness", 0))
    yield _gauge(
        "forklore_unaccounted_forks",
        "Difference of the two sides of the ledger. Anything but 0 is a bug.",
        agent.current.unaccounted,
    )
    yield _gauge("forklore_ring_fill_ratio", "How full the kernel's ring is.", measures.ring_fill)
    yield _gauge("forklore_ring_backlog_forks", "Forks in the kernel's ring that are not drained yet.", measures.ring_backlog)
    yield _gauge("forklore_ring_size_bytes", "Size of the kernel's ring.", measures.ring_bytes)
    text = "1: a ring that fills is shared between pods. 0: BCC can't compile what does, and one pod can fill it for all."
    yield _gauge("forklore_ring_shared", text, measures.ring_shared)
    yield _gauge("forklore_capture_pinned", "1: capture outlives the agent. 0: a restart misses forks.", measures.pinned)
    yield _gauge(
        "forklore_draining_probes",
        "Program instances of earlier agents whose forks are still being sent.",
        len(agent.former),
    )
    yield _counter("forklore_clock_steps", "Times that wall time was stepped.", measures.clock_steps)
    yield _counter(
        "forklore_cgroup_walks", "Times that all cgroups were read again, because cgroup events were lost.", measures.walks
    )


def _sinks(agent: AgentSnapshot, measures: Mapping[str, SinkMeasures]) -> Iterator[Metric]:
    ledgers, states = agent.current.sinks, agent.sinks

    def split(parts: Mapping[str, Mapping[str, int]]) -> Samples:
        return [([name, part], count) for name, counts in parts.items() for part, count in _bounded(counts).items()]

    def measured(what: str) -> Samples:
        return [([name], getattr(sink, what)) for name, sink in measures.items()]

    lost = [
        *((["", reason], count) for reason, count in agent.current.captured.lost_by_reason().items()),
        *split({name: sink.lost for name, sink in ledgers.items()}),
    ]
    filtered = split({name: sink.filtered for name, sink in ledgers.items()})
    delivered = [([name], sink.delivered) for name, sink in ledgers.items()]
    queued = split({name: sink.queued.by_place() for name, sink in ledgers.items()})
    draining = [([name], sum(former.sinks[name].queued.total for former in agent.former)) for name in ledgers]
    answers = split({name: sink.answers for name, sink in states.items()})
    waiting = [([name], sink.journal_bytes) for name, sink in states.items()]
    yield _counter("forklore_lost_forks", "Forks without an event; sink empty: in all sinks.", lost, ["sink", "reason"])
    yield _counter(
        "forklore_filtered_forks",
        "Forks that the settings exclude, or that came before the sink (before_sink).",
        filtered,
        ["sink", "reason"],
    )
    yield _counter("forklore_delivered_forks", "Forks that the sink has accepted.", delivered, ["sink"])
    yield _gauge("forklore_queued_forks", "Forks on their way to the sink.", queued, ["sink", "where"])
    yield _gauge("forklore_draining_forks", "Forks of earlier program instances on their way to the sink.", draining, ["sink"])
    text = "Answers of the sink: a status, or the kind of failure."
    yield _counter("forklore_sink_answers", text, answers, ["sink", "answer"])
    yield _gauge("forklore_journal_bytes", "Compressed bodies that wait for the sink.", waiting, ["sink"])
    yield _gauge("forklore_journal_batches", "Batches that wait for the sink.", measured("batches"), ["sink"])
    yield _counter("forklore_sink_tries", "Batches sent, again or for the first time.", measured("tries"), ["sink"])
    yield _counter(
        "forklore_sink_retries", "Batches sent again, because they had not been accepted.", measured("retries"), ["sink"]
    )
    text = "Kept connections that the sink had closed meanwhile."
    yield _counter("forklore_sink_reconnects", text, measured("reconnects"), ["sink"])
    yield _counter("forklore_sink_sent_bytes", "Bytes of bodies that the sink responded to.", measured("sent_bytes"), ["sink"])
    text = "How long the oldest event has waited for the sink."
    yield _gauge("forklore_delivery_lag_seconds", text, measured("lag_s"), ["sink"])
    text = "From a batch's first byte to its response."
    durations = {name: sink.durations for name, sink in measures.items()}
    yield _histogram("forklore_sink_try_duration_seconds", text, [([name], one) for name, one in durations.items()], ["sink"])


def _journal(measures: Measures) -> Iterator[Metric]:
    yield _gauge("forklore_journal_disk_bytes", "The journal's size on the disk.", measures.journal_bytes)
    text = "1: the journal can be written. 0: new batches are held in memory."
    yield _gauge("forklore_journal_works", text, measures.journal_works)
    yield _counter(
        "forklore_journal_corruptions", "Times that a new journal replaced a corrupt one.", measures.journal_corruptions
    )
    text = "How long a commit to the journal took."
    yield _histogram("forklore_journal_commit_duration_seconds", text, [([], measures.commits)])


def _attribution(agent: AgentSnapshot, measures: Measures) -> Iterator[Metric]:
    states = [([state], count) for state, count in agent.enrichment.items()]
    yield _counter("forklore_enriched_forks", "Forks by the state of their attribution.", states, ["state"])
    requests = [([what], count) for what, count in _bounded(agent.kubernetes_requests).items()]
    yield _counter("forklore_kubernetes_requests", "Requests to the Kubernetes API, and how they ended.", requests, ["what"])
    fills = [([name], fill) for name, fill in measures.table_fills.items()]
    yield _gauge("forklore_table_fill_ratio", "How full a map of the kernel is.", fills, ["table"])
    text = "Cgroups made inside running containers that count for their container, without a record of their own."
    yield _gauge("forklore_folded_cgroups", text, measures.folded)
    text = "Tasks attached to running containers, or outside pods, without a record of their own: beyond 64 in a second."
    yield _gauge("forklore_folded_attached_tasks", text, measures.folded_tasks)
    text = "Directories inside containers that the last reading of all cgroups left out, at least."
    yield _gauge("forklore_unread_cgroups", text, measures.unread)
    text = "1: where the kubelet's cgroups are is set or learned. 0: no pod is named before."
    yield _gauge("forklore_kubelet_root_known", text, measures.root_known)
    if measures.synced is not None:
        yield _gauge("forklore_kubernetes_synced", "1: this node's pods have been listed.", measures.synced)
        text = "Pods with containers here, when the API has none of them for this node: `node` is not its name there. Else 0."
        yield _gauge("forklore_kubernetes_unknown_pods", text, measures.unknown_pods)


def _status_port(certificate: ServerCertificate | None) -> Iterator[Metric]:
    text = "When the status port's certificate ends, in seconds since 1970; 0: plain HTTP."
    expires = certificate.expires_s if certificate else 0
    yield _gauge("forklore_status_certificate_expires_timestamp_seconds", text, expires)
    text = "1: the files of the status port's certificate can't be used as they are now, and the one before is in use."
    broken = certificate is not None and certificate.error is not None
    yield _gauge("forklore_status_certificate_broken", text, broken)


def _pods(pods: PodSeries) -> Iterator[Metric]:
    captured, suppressed, lost = [], [], []
    for name, counts in pods:
        captured += [([*name, "process"], counts.processes), ([*name, "thread"], counts.threads)]
        suppressed.append((name, counts.suppressed))
        lost.append((name, counts.lost))
    names = ["namespace", "pod"]
    yield _counter("forklore_pod_captured_forks", "Forks in the pod.", captured, [*names, "kind"])
    yield _counter("forklore_pod_suppressed_forks", "Forks above the pod's storm limit.", suppressed, names)
    yield _counter("forklore_pod_lost_forks", "Forks that did not fit into the kernel's ring.", lost, names)
    yield _gauge("forklore_pods_without_series", "Pods that forked, beyond metrics.pods.most.", pods.left_out)


def _counter(name: str, text: str, value: float | Samples, labels: Sequence[str] = ()) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), value)


def _gauge(name: str, text: str, value: float | Samples, labels: Sequence[str] = ()) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), value)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, value: float | Samples) -> Metric:
    for values, number in [([], value)] if isinstance(value, float | int) else value:
        family.add_metric([_label(one) for one in values], number)
    return family


def _histogram(name: str, text: str, values: Sequence[tuple[Sequence[str], Durations]], labels: Sequence[str] = ()) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for of, durations in values:
        family.add_metric([_label(one) for one in of], _buckets(durations), durations.total)
    return family


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    return [*zip([*map(str, BOUNDS), "+Inf"], durations.cumulative(), strict=True)]


def _bounded(counts: Mapping[str, int]) -> dict[str, int]:
    """Statuses that HTTP knows, and our own words; all other statuses are one."""
    known: dict[str, int] = {}
    for what, count in counts.items():
        name = what if what in _STATUSES or not what[:1].isdigit() else _OTHER
        known[name] = known.get(name, 0) + count
    return known


def _label(text: str) -> str:
    """What can be written down: no lone surrogates, and no endless names."""
    return text[:_LONGEST].encode(errors="replace").decode()
