"""What each pod, container and host forked, summed up out of holders.

Totals count since a probe's epoch, so a pod's are the sum over its streams and containers. Pure. Must not live here: the
ledger of what was sent (`ledger`), words for people (`display`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from collector.rows import NOTHING, GapRow, HolderRow, LossRow, ParentRow, PodPage, PodRow, PointRow, Snapshot
from collector.views.ledger import gap_json, newest_nodes
from collector.views.missing import declared_here, missing_elsewhere, missing_here, shared_gaps
from collector.views.rates import line_of, rate_now
from collector.views.sandboxes import is_observable
from collector.views.storms import storm_now, storms_json
from collector.views.times import stamp

__all__ = ["host_entries", "host_json", "pod_entries", "pod_json"]

TOP: Final = 10  # comms


class _Index:
    """A snapshot's rows by holder and by pod, so that no list is walked once a pod."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.holders: dict[int | tuple[str, str], list[HolderRow]] = defaultdict(list)
        self.parents: dict[int, list[ParentRow]] = defaultdict(list)
        self.points: dict[int, list[PointRow]] = defaultdict(list)
        self.losses: dict[int | tuple[str, str], list[LossRow]] = defaultdict(list)
        self.gaps: dict[tuple[str, str], list[GapRow]] = defaultdict(list)
        self.storms = {storm.pod: storm for storm in snapshot.storms}
        self.storms_in_all = snapshot.storms_in_all
        self.nodes = newest_nodes(snapshot.ledger.nodes)
        hosts: dict[int | None, tuple[str, str]] = {}
        for holder in snapshot.holders:
            host = holder.cluster, holder.node
            self.holders[host if holder.pod is None else holder.pod].append(holder)
            hosts[holder.id] = host
        for parent in snapshot.parents:
            self.parents[parent.holder].append(parent)
        for point in snapshot.points:
            self.points[point.holder].append(point)
        for loss in snapshot.losses:
            if loss.pod is not None:
                self.losses[loss.pod].append(loss)
            elif loss.holder in hosts:  # otherwise it is of a whole node, and in the ledger's gaps
                self.losses[hosts[loss.holder]].append(loss)
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
    nodes = sorted({(holder.cluster, holder.node) for holder in snapshot.holders if holder.pod is None})
    return [
        {"cluster": cluster, "node": node, **_numbers(index.holders[cluster, node], index.losses[cluster, node], index, now)}
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
    holders = index.holders[pod.id]
    newest = max(holders, key=lambda holder: holder.last_seen, default=None)
    subject = orjson.loads(newest.subject) if newest else {"k8s": {}, "cgroup": None}
    k8s = subject["k8s"]
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
        "cgroup": subject["cgroup"],
        "qos": k8s.get("qos"),
        "service_account": k8s.get("service_account"),
        **_numbers(holders, index.losses[pod.id], index, now),
        "unknown_share": dict(shared),
        "storm": storm_now(index.storms.get(pod.id), index.nodes, now),
        "storms_in_all": index.storms_in_all.get(pod.id, 0),
        "observable": is_observable(index.losses[pod.id]),
        "first_seen": stamp(pod.first_seen),
        "last_seen": stamp(pod.last_seen),
        "containers": _containers(holders, index.losses[pod.id], now),
    }


def _numbers(holders: Sequence[HolderRow], losses: Sequence[LossRow], index: _Index, now: int) -> dict[str, Any]:
    """`history`: forks a second in each interval of `history_interval`."""
    parents: Counter[str | None] = Counter()
    for holder in holders:
        for parent in index.parents[holder.id]:
            parents[parent.comm] += parent.forks
    line = line_of([point for holder in holders for point in index.points[holder.id]], now)
    return {
        **_counts(holders, declared_here(losses), now),
        "top": [{"comm": comm, "forks": forks} for comm, forks in parents.most_common(TOP)],
        "history": line[0] if line else [],
        "history_interval": {"start": stamp(line[1]), "end": stamp(line[2])} if line else None,
        "missing": missing_here(holders, losses),
        "missing_elsewhere": missing_elsewhere(losses),
    }


def _counts(holders: Sequence[HolderRow], declared: int, now: int) -> dict[str, Any]:
    """`awaited`: handed to the ring, not filed here, and not `declared` to be missing: on the way, or lost on it.
    `since`: filed here, and in no summary yet; of a stream that ended without one, it never will be.

    Sums over each stream, because a fork may bear a deeper cgroup than the one its container's summary goes by.
    """
    totals = NOTHING
    early: dict[int, int] = {}
    for holder in holders:
        totals = holder.totals if totals is NOTHING else totals.plus(holder.totals)
        early[holder.stream] = early.get(holder.stream, 0) + holder.filed - holder.totals.emitted
    late = -sum(some for some in early.values() if some < 0)
    return {
        **totals._asdict(),
        "delivered": sum(holder.filed for holder in holders),
        "awaited": max(0, late - declared),
        "since": sum(early.values()) + late,
        "rate": rate_now(holders, now),
        "summed": any(holder.end is not None for holder in holders),
    }


def _containers(holders: Iterable[HolderRow], losses: Iterable[LossRow], now: int) -> list[dict[str, Any]]:
    """By container id; one that lived through several streams is summed up. Those that fork most come first."""
    lost: dict[int | None, list[LossRow]] = defaultdict(list)
    for loss in losses:
        lost[loss.holder].append(loss)
    by_id: dict[str | None, list[HolderRow]] = defaultdict(list)
    words: dict[str | None, dict[str, Any]] = {}
    for holder in sorted(holders, key=lambda holder: holder.last_seen):
        said = orjson.loads(holder.subject)["container"] or {}
        by_id[said.get("id")].append(holder)
        words[said.get("id")] = said
    containers = [
        {
            **{key: words[name].get(key) for key in ("id", "name", "image", "image_id", "kind", "runtime")},
            **_counts(mine, declared_here(loss for holder in mine for loss in lost[holder.id]), now),
        }
        for name, mine in by_id.items()
    ]
    return sorted(containers, key=lambda one: (-one["processes"], -one["delivered"], str(one["id"])))
