"""The entries of a list: the counts of each pod, container and host, summed up from their counter sources.

An entry is one object of the API's JSON (`PodEntry`, `ContainerEntry` in `wire.api`). A counter source counts since its
program instance was loaded, so a pod's totals are the sum over its streams and containers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import orjson

from collector.model import NOTHING, CounterSourceRow, GapRow, LossRow, ParentRow, PodRow, PodRows, PointRow, Snapshot
from collector.views.nodes.accounting import stream_accounts
from collector.views.nodes.ledger import gap_json, newest_nodes
from collector.views.pods.missing import declared_here, missing_elsewhere, missing_here, shared_gaps
from collector.views.pods.sandboxes import is_observable
from collector.views.timeline.rates import rate_line, rate_now
from collector.views.timeline.storms import storm_now, storms_json
from collector.views.times import stamp
from wire.api import ContainerEntry, EntryCounts, EntryNumbers, GapEntry, HostEntry, PodDetail, PodEntry
from wire.events import Fork

__all__ = ["HostDetail", "host_detail", "host_entries", "pod_detail", "pod_entries"]

TOP: Final = 10  # comms


class HostDetail(HostEntry):
    """A node's forks outside pods with the latest of them and the newest gaps, for the node's page."""

    latest: list[Fork]
    gaps: list[GapEntry]
    node_gaps: list[GapEntry]


class _Index:
    """A snapshot's rows by counter source and by pod, so that no list is searched once for each pod."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.counter_sources: dict[int | tuple[str, str], list[CounterSourceRow]] = defaultdict(list)
        self.parents: dict[int, list[ParentRow]] = defaultdict(list)
        self.points: dict[int, list[PointRow]] = defaultdict(list)
        self.losses: dict[int | tuple[str, str], list[LossRow]] = defaultdict(list)
        self.gaps: dict[tuple[str, str], list[GapRow]] = defaultdict(list)
        self.storms = {storm.pod: storm for storm in snapshot.storms}
        self.storms_in_all = snapshot.storms_in_all
        self.nodes = newest_nodes(snapshot.ledger.nodes)
        accounts = stream_accounts(snapshot.ledger)
        self.open = {stream: account.open for stream, account in accounts.items() if account.before}
        hosts: dict[int | None, tuple[str, str]] = {}
        for source in snapshot.counter_sources:
            host = source.cluster, source.node
            self.counter_sources[host if source.pod is None else source.pod].append(source)
            hosts[source.id] = host
        for parent in snapshot.parents:
            self.parents[parent.counter_source_id].append(parent)
        for point in snapshot.points:
            self.points[point.counter_source_id].append(point)
        for loss in snapshot.losses:
            if loss.pod is not None:
                self.losses[loss.pod].append(loss)
            elif loss.counter_source_id in hosts:  # otherwise it is of a whole node, and in the ledger's gaps
                self.losses[hosts[loss.counter_source_id]].append(loss)
        for gap in snapshot.ledger.gaps:
            self.gaps[gap.cluster, gap.node].append(gap)


def pod_entries(snapshot: Snapshot, now: int) -> list[PodEntry]:
    """The pods of a snapshot, the most recently seen first. `now` in ns."""
    index = _Index(snapshot)
    return [_pod(pod, index, now) for pod in snapshot.pods]


def pod_detail(page: PodRows, now: int) -> PodDetail:
    """One pod with its latest forks as they were sent, its storms and gaps, and the pods that had its name with another uid."""
    index = _Index(page.snapshot)
    (pod,) = page.snapshot.pods
    return {
        **_pod(pod, index, now),
        "latest": page.latest,
        "storms": storms_json(page.storms, index.nodes, now),
        "gaps": [gap_json(gap) for gap in page.gaps],
        "node_gaps": [gap_json(gap) for gap in shared_gaps(pod, index.gaps[pod.cluster, pod.node])],
        "others": [
            {
                "key": other.id,
                "cluster": other.cluster,
                "node": other.node,
                "pod_uid": other.uid,
                "first_seen": stamp(other.first_seen),
                "last_seen": stamp(other.last_seen),
            }
            for other in page.others
        ],
    }


def host_entries(snapshot: Snapshot, now: int) -> list[HostEntry]:
    """The same numbers for each node's forks outside pods."""
    index = _Index(snapshot)
    nodes = sorted({(source.cluster, source.node) for source in snapshot.counter_sources if source.pod is None})
    return [
        {
            "cluster": cluster,
            "node": node,
            **_numbers(index.counter_sources[cluster, node], index.losses[cluster, node], index, now),
        }
        for cluster, node in nodes
    ]


def host_detail(page: PodRows, cluster: str, node: str, now: int) -> HostDetail | None:
    """None when there are no forks outside pods."""
    shared = _Index(page.snapshot).gaps[cluster, node]
    for host in host_entries(page.snapshot, now):
        if (host["cluster"], host["node"]) == (cluster, node):
            detail: HostDetail = {
                **host,
                "latest": page.latest,
                "gaps": [gap_json(gap) for gap in page.gaps],
                "node_gaps": [gap_json(gap) for gap in shared],
            }
            return detail
    return None


def _pod(pod: PodRow, index: _Index, now: int) -> PodEntry:
    sources = index.counter_sources[pod.id]
    newest = max(sources, key=lambda source: source.last_seen, default=None)
    attribution = orjson.loads(newest.attribution) if newest else {"k8s": {}, "cgroup": None}
    k8s = attribution["k8s"]
    shared: Counter[str] = Counter()
    for gap in shared_gaps(pod, index.gaps[pod.cluster, pod.node]):
        shared[gap.reason] += gap.amount
    return {
        "cluster": pod.cluster,
        "node": pod.node,
        "namespace": pod.namespace,
        "pod": pod.name,
        "pod_uid": pod.uid,
        "key": pod.id,
        "workload": k8s.get("workload"),
        "labels": k8s.get("labels"),
        "cgroup": attribution["cgroup"],
        "qos": k8s.get("qos"),
        "service_account": k8s.get("service_account"),
        **_numbers(sources, index.losses[pod.id], index, now),
        "unknown_share": dict(shared),
        "storm": storm_now(index.storms.get(pod.id), index.nodes, now),
        "storms_in_all": index.storms_in_all.get(pod.id, 0),
        "observable": is_observable(index.losses[pod.id]),
        "first_seen": stamp(pod.first_seen),
        "last_seen": stamp(pod.last_seen),
        "containers": _containers(sources, index.losses[pod.id], index, now),
    }


def _numbers(sources: Sequence[CounterSourceRow], losses: Sequence[LossRow], index: _Index, now: int) -> EntryNumbers:
    parents: Counter[str | None] = Counter()
    for source in sources:
        for parent in index.parents[source.id]:
            parents[parent.comm] += parent.forks
    line = rate_line([point for source in sources for point in index.points[source.id]], now)
    return {
        **_counts(sources, declared_here(losses), index, now),
        "top": [{"comm": comm, "forks": forks} for comm, forks in parents.most_common(TOP)],
        "history": line.rates if line else [],
        "history_interval": {"start": stamp(line.start), "end": stamp(line.end)} if line else None,
        "missing": missing_here(sources, losses),
        "missing_elsewhere": missing_elsewhere(losses),
    }


def _counts(sources: Sequence[CounterSourceRow], declared: int, index: _Index, now: int) -> EntryCounts:
    """`declared`: forks that will not arrive, as was reported.

    `awaited` and `since` are summed over each stream, because a fork may have a deeper cgroup than its container's summary.
    `since` includes what a stream that has ended never summed up. `awaited` leaves out what came before the stream's account
    began: the kernel's totals have it.
    """
    totals = NOTHING
    early: dict[int, int] = {}
    for source in sources:
        totals = source.totals if totals is NOTHING else totals.plus(source.totals)
        early[source.stream] = early.get(source.stream, 0) + source.stored - source.totals.emitted
    late = -sum(count for count in early.values() if count < 0)
    # Of a stream whose account began later than the kernel's counts, no more can be on its way than the ledger has.
    before = sum(max(0, -count - index.open.get(stream, -count)) for stream, count in early.items())
    return {
        "processes": totals.processes,
        "threads": totals.threads,
        "emitted": totals.emitted,
        "filtered": totals.filtered,
        "suppressed": totals.suppressed,
        "lost": totals.lost,
        "entered": totals.entered,
        "delivered": sum(source.stored for source in sources),
        "awaited": max(0, late - before - declared),
        "since": sum(early.values()) + late,
        "rate": rate_now(sources, now),
        "summed": any(source.end is not None for source in sources),
    }


def _containers(
    sources: Iterable[CounterSourceRow], losses: Iterable[LossRow], index: _Index, now: int
) -> list[ContainerEntry]:
    """By container id; one that several streams counted is summed up. Those that fork most come first."""
    lost: dict[int | None, list[LossRow]] = defaultdict(list)
    for loss in losses:
        lost[loss.counter_source_id].append(loss)
    by_id: dict[str | None, list[CounterSourceRow]] = defaultdict(list)
    newest: dict[str | None, dict[str, str | None]] = {}
    for source in sorted(sources, key=lambda source: source.last_seen):
        container = orjson.loads(source.attribution)["container"] or {}
        by_id[container.get("id")].append(source)
        newest[container.get("id")] = container
    containers: list[ContainerEntry] = []
    for container_id, members in by_id.items():
        container = newest[container_id]
        declared = declared_here(loss for source in members for loss in lost[source.id])
        containers.append(
            {
                "id": container_id,
                "name": container.get("name"),
                "image": container.get("image"),
                "image_id": container.get("image_id"),
                "kind": container.get("kind"),
                "runtime": container.get("runtime"),
                **_counts(members, declared, index, now),
            }
        )
    return sorted(containers, key=lambda one: (-(one["processes"] or 0), -(one["delivered"] or 0), str(one["id"])))
