"""What each pod, container and host forked, summed up out of holders.

Totals count since a probe's epoch, so a pod's are the sum over its streams and containers. Pure. Must not live here: the
ledger of what was sent (`ledger`), words for people (`display`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from collector.model import NOTHING, CounterSourceRow, GapRow, LossRow, ParentRow, PodPage, PodRow, PointRow, Snapshot
from collector.views.nodes.ledger import gap_json, newest_nodes
from collector.views.pods.missing import declared_here, missing_elsewhere, missing_here, shared_gaps
from collector.views.pods.sandboxes import is_observable
from collector.views.timeline.rates import line_of, rate_now
from collector.views.timeline.storms import storm_now, storms_json
from collector.views.times import stamp

__all__ = ["host_entries", "host_json", "pod_entries", "pod_json"]

TOP: Final = 10  # comms


class _Index:
    """A snapshot's rows by holder and by pod, so that no list is walked once a pod."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.counter_sources: dict[int | tuple[str, str], list[CounterSourceRow]] = defaultdict(list)
        self.parents: dict[int, list[ParentRow]] = defaultdict(list)
        self.points: dict[int, list[PointRow]] = defaultdict(list)
        self.losses: dict[int | tuple[str, str], list[LossRow]] = defaultdict(list)
        self.gaps: dict[tuple[str, str], list[GapRow]] = defaultdict(list)
        self.storms = {storm.pod: storm for storm in snapshot.storms}
        self.storms_in_all = snapshot.storms_in_all
        self.nodes = newest_nodes(snapshot.ledger.nodes)
        hosts: dict[int | None, tuple[str, str]] = {}
        for counter_source in snapshot.counter_sources:
            host = counter_source.cluster, counter_source.node
            self.counter_sources[host if counter_source.pod is None else counter_source.pod].append(counter_source)
            hosts[counter_source.id] = host
        for parent in snapshot.parents:
            self.parents[parent.counter_source].append(parent)
        for point in snapshot.points:
            self.points[point.counter_source].append(point)
        for loss in snapshot.losses:
            if loss.pod is not None:
                self.losses[loss.pod].append(loss)
            elif loss.counter_source in hosts:  # otherwise it is of a whole node, and in the ledger's gaps
                self.losses[hosts[loss.counter_source]].append(loss)
        for gap in snapshot.ledger.gaps:
            self.gaps[gap.cluster, gap.node].append(gap)


def pod_entries(snapshot: Snapshot, now: int) -> list[dict[str, Any]]:
    """The pods of a snapshot, the most recently seen first. `now` in ns."""
    index = _Index(snapshot)
    return [_pod(pod, index, now) for pod in snapshot.pods]


def pod_json(page: PodPage, now: int) -> dict[str, Any]:
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


def host_entries(snapshot: Snapshot, now: int) -> list[dict[str, Any]]:
    """The same numbers for each node's forks outside pods."""
    index = _Index(snapshot)
    nodes = sorted(
        {
            (counter_source.cluster, counter_source.node)
            for counter_source in snapshot.counter_sources
            if counter_source.pod is None
        }
    )
    return [
        {
            "cluster": cluster,
            "node": node,
            **_numbers(index.counter_sources[cluster, node], index.losses[cluster, node], index, now),
        }
        for cluster, node in nodes
    ]


def host_json(page: PodPage, cluster: str, node: str, now: int) -> dict[str, Any] | None:
    """One node's forks outside pods, with the latest of them and the gaps; None when there are none."""
    hosts = [host for host in host_entries(page.snapshot, now) if (host["cluster"], host["node"]) == (cluster, node)]
    if not hosts:
        return None
    shared = _Index(page.snapshot).gaps[cluster, node]
    return {
        **hosts[0],
        "latest": page.latest,
        "storm": None,
        "storms": [],
        "gaps": [gap_json(gap) for gap in page.gaps],
        "node_gaps": [gap_json(gap) for gap in shared],
    }


def _pod(pod: PodRow, index: _Index, now: int) -> dict[str, Any]:
    """`unknown_share`: forks of the node while the pod may have lived, of which nobody knows whose they were."""
    counter_sources = index.counter_sources[pod.id]
    newest = max(counter_sources, key=lambda counter_source: counter_source.last_seen, default=None)
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
        **_numbers(counter_sources, index.losses[pod.id], index, now),
        "unknown_share": dict(shared),
        "storm": storm_now(index.storms.get(pod.id), index.nodes, now),
        "storms_in_all": index.storms_in_all.get(pod.id, 0),
        "observable": is_observable(index.losses[pod.id]),
        "first_seen": stamp(pod.first_seen),
        "last_seen": stamp(pod.last_seen),
        "containers": _containers(counter_sources, index.losses[pod.id], now),
    }


def _numbers(counter_sources: Sequence[CounterSourceRow], losses: Sequence[LossRow], index: _Index, now: int) -> dict[str, Any]:
    """`history`: forks a second in each interval of `history_interval`."""
    parents: Counter[str | None] = Counter()
    for counter_source in counter_sources:
        for parent in index.parents[counter_source.id]:
            parents[parent.comm] += parent.forks
    line = line_of([point for counter_source in counter_sources for point in index.points[counter_source.id]], now)
    return {
        **_counts(counter_sources, declared_here(losses), now),
        "top": [{"comm": comm, "forks": forks} for comm, forks in parents.most_common(TOP)],
        "history": line[0] if line else [],
        "history_interval": {"start": stamp(line[1]), "end": stamp(line[2])} if line else None,
        "missing": missing_here(counter_sources, losses),
        "missing_elsewhere": missing_elsewhere(losses),
    }


def _counts(counter_sources: Sequence[CounterSourceRow], declared: int, now: int) -> dict[str, Any]:
    """`awaited`: handed to the ring, not filed here, and not `declared` to be missing: on the way, or lost on it.
    `since`: filed here, and in no summary yet; of a stream that ended without one, it never will be.

    Sums over each stream, because a fork may bear a deeper cgroup than the one its container's summary goes by.
    """
    totals = NOTHING
    early: dict[int, int] = {}
    for counter_source in counter_sources:
        totals = counter_source.totals if totals is NOTHING else totals.plus(counter_source.totals)
        early[counter_source.stream] = (
            early.get(counter_source.stream, 0) + counter_source.filed - counter_source.totals.emitted
        )
    late = -sum(some for some in early.values() if some < 0)
    return {
        **totals._asdict(),
        "delivered": sum(counter_source.filed for counter_source in counter_sources),
        "awaited": max(0, late - declared),
        "since": sum(early.values()) + late,
        "rate": rate_now(counter_sources, now),
        "summed": any(counter_source.end is not None for counter_source in counter_sources),
    }


def _containers(counter_sources: Iterable[CounterSourceRow], losses: Iterable[LossRow], now: int) -> list[dict[str, Any]]:
    """By container id; one that lived through several streams is summed up. Those that fork most come first."""
    lost: dict[int | None, list[LossRow]] = defaultdict(list)
    for loss in losses:
        lost[loss.counter_source].append(loss)
    by_id: dict[str | None, list[CounterSourceRow]] = defaultdict(list)
    words: dict[str | None, dict[str, Any]] = {}
    for counter_source in sorted(counter_sources, key=lambda counter_source: counter_source.last_seen):
        said = orjson.loads(counter_source.attribution)["container"] or {}
        by_id[said.get("id")].append(counter_source)
        words[said.get("id")] = said
    containers = [
        {
            **{key: words[name].get(key) for key in ("id", "name", "image", "image_id", "kind", "runtime")},
            **_counts(mine, declared_here(loss for counter_source in mine for loss in lost[counter_source.id]), now),
        }
        for name, mine in by_id.items()
    ]
    return sorted(containers, key=lambda one: (-one["processes"], -one["delivered"], str(one["id"])))
