"""What each pod, container and host forked, summed up out of holders.

Totals count since a probe's epoch, so a pod's are the sum over its streams and containers. Pure. Must not live here: the
ledger of what was sent (`ledger`), words for people (`display`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from collector.rows import NOTHING, GapRow, HolderRow, ParentRow, PodRow, PointRow, Snapshot
from collector.views.times import SECOND, stamp
from wire.events import FORK

__all__ = ["POINTS", "STALE", "host_entries", "pod_entries", "pod_json"]

STALE: Final = 3  # intervals without a word after which a rate is no longer said
POINTS: Final = 30  # intervals in a rate's line
TOP: Final = 10  # comms


class _Index:
    """A snapshot's rows by holder and by pod, so that no list is walked once a pod."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.holders: dict[int | tuple[str, str], list[HolderRow]] = defaultdict(list)
        self.parents: dict[int, list[ParentRow]] = defaultdict(list)
        self.points: dict[int, list[PointRow]] = defaultdict(list)
        self.gaps: dict[int | tuple[str, str], list[GapRow]] = defaultdict(list)
        for holder in snapshot.holders:
            self.holders[(holder.cluster, holder.node) if holder.pod is None else holder.pod].append(holder)
        for parent in snapshot.parents:
            self.parents[parent.holder].append(parent)
        for point in snapshot.points:
            self.points[point.holder].append(point)
        for gap in snapshot.gaps:
            self.gaps[(gap.cluster, gap.node) if gap.pod is None else gap.pod].append(gap)


def pod_entries(snapshot: Snapshot, now: int) -> list[dict[str, Any]]:
    """The pods of a snapshot, the most recently seen first. `now` in ns."""
    index = _Index(snapshot)
    return [_pod(pod, index, now) for pod in snapshot.pods]


def pod_json(
    snapshot: Snapshot, others: Sequence[PodRow], latest: list[dict[str, Any]], gaps: Sequence[GapRow], now: int
) -> dict[str, Any]:
    """One pod with its latest forks as they were sent, its gaps, and the pods that bore its name with another uid."""
    (pod,) = pod_entries(snapshot, now)
    return {
        **pod,
        "latest": latest,
        "gaps": [_gap(gap) for gap in gaps],
        "others": [
            {
                "cluster": other.cluster,
                "node": other.node,
                "pod_uid": other.uid,
                "first_seen": stamp(other.first_seen),
                "last_seen": stamp(other.last_seen),
            }
            for other in others
        ],
    }


def host_entries(snapshot: Snapshot, now: int) -> list[dict[str, Any]]:
    """The same numbers for each node's forks outside pods."""
    index = _Index(snapshot)
    nodes = sorted({(holder.cluster, holder.node) for holder in snapshot.holders if holder.pod is None})
    return [
        {
            "cluster": cluster,
            "node": node,
            **_numbers(index.holders[cluster, node], index, now),
            "missing": _missing(index.holders[cluster, node], index.gaps[cluster, node]),
        }
        for cluster, node in nodes
    ]


def _pod(pod: PodRow, index: _Index, now: int) -> dict[str, Any]:
    holders = index.holders[pod.id]
    newest = max(holders, key=lambda holder: holder.last_seen, default=None)
    subject = orjson.loads(newest.subject) if newest else {"k8s": {}, "cgroup": None}
    k8s = subject["k8s"]
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
        **_numbers(holders, index, now),
        "first_seen": stamp(pod.first_seen),
        "last_seen": stamp(pod.last_seen),
        "containers": _containers(holders, now),
        "missing": _missing(holders, index.gaps[pod.id]),
    }


def _numbers(holders: Sequence[HolderRow], index: _Index, now: int) -> dict[str, Any]:
    parents: Counter[str | None] = Counter()
    for holder in holders:
        for parent in index.parents[holder.id]:
            parents[parent.comm] += parent.forks
    return {
        **_counts(holders, now),
        "top": [{"comm": comm, "forks": forks} for comm, forks in parents.most_common(TOP)],
        "history": _history([point for holder in holders for point in index.points[holder.id]], now),
    }


def _counts(holders: Sequence[HolderRow], now: int) -> dict[str, Any]:
    """`awaited`: handed to the ring and not filed here: on the way, or lost on it.

    A sum over all of them, because a fork may bear a deeper cgroup than the one its container's summary goes by.
    """
    totals = NOTHING
    for holder in holders:
        totals = totals.plus(holder.totals)
    summed = [holder for holder in holders if holder.end is not None]
    rates = [rate for holder in summed if (rate := _rate(holder, now)) is not None]
    delivered = sum(holder.filed for holder in holders)
    return {
        **totals._asdict(),
        "delivered": delivered,
        "awaited": max(0, totals.emitted - delivered),
        "rate": round(sum(rates), 3) if rates else None,
        "summed": bool(summed),
    }


def _rate(holder: HolderRow, now: int) -> float | None:
    """Processes a second in the newest interval, or None when it is too old.

    Old by the sender's clock, because a journal may bring last hour's summaries now; and by ours, because a node's clock may
    run ahead.
    """
    if holder.end is None or holder.start is None or holder.received is None or holder.end <= holder.start:
        return None
    length = holder.end - holder.start
    if now - min(holder.end, holder.received) > STALE * length:
        return None
    return holder.counts.processes * SECOND / length


def _containers(holders: Iterable[HolderRow], now: int) -> list[dict[str, Any]]:
    """By container id; one that lived through several streams is summed up. Those that fork most come first."""
    by_id: dict[str | None, list[HolderRow]] = defaultdict(list)
    words: dict[str | None, dict[str, Any]] = {}
    for holder in sorted(holders, key=lambda holder: holder.last_seen):
        said = orjson.loads(holder.subject)["container"] or {}
        by_id[said.get("id")].append(holder)
        words[said.get("id")] = said
    containers = [
        {**{key: words[name].get(key) for key in ("id", "name", "image", "image_id", "kind", "runtime")}, **_counts(mine, now)}
        for name, mine in by_id.items()
    ]
    return sorted(containers, key=lambda one: (-one["processes"], -one["delivered"], str(one["id"])))


def _missing(holders: Iterable[HolderRow], gaps: Iterable[GapRow]) -> dict[str, int]:
    """Why and how many. The kernel's own count fills in where a gap's event is missing, too."""
    missing: Counter[str] = Counter()
    told = 0
    for gap in gaps:
        name = gap.reason if gap.sink is None else f"{gap.reason} ({gap.sink})"
        missing[name if gap.missing == FORK else f"{gap.missing}: {name}"] += gap.amount
        told += gap.amount if gap.missing == FORK and gap.sink is None and gap.reason.startswith("ring") else 0
    lost = suppressed = 0
    for holder in holders:
        lost += holder.totals.lost
        suppressed += holder.totals.suppressed
    if lost > told:
        missing["ring"] += lost - told
    if suppressed:
        missing["suppressed"] += suppressed
    return {reason: count for reason, count in sorted(missing.items()) if count}


def _history(points: Sequence[PointRow], now: int) -> list[float | None]:
    """Processes a second in each of the last `POINTS` intervals, the newest last; null where nothing was said."""
    if not points:
        return []
    newest = max(points, key=lambda point: point.end)
    length = max(1, newest.end - newest.start)
    behind = (now - newest.end) // length
    # Ends on a grid of intervals that hangs on the newest: containers of a node are summed up at the same moment.
    shift = max(0, behind - 1)
    line: list[float | None] = [None] * POINTS
    for point in points:
        place = POINTS - 1 - shift - round((newest.end - point.end) / length)
        if 0 <= place < POINTS:
            line[place] = round((line[place] or 0.0) + point.processes * SECOND / max(1, point.end - point.start), 3)
    return line


def _gap(gap: GapRow) -> dict[str, Any]:
    return {
        "id": gap.id,
        "missing": gap.missing,
        "reason": gap.reason,
        "sink": gap.sink,
        "count": gap.amount,
        "interval": {"start": stamp(gap.start), "end": stamp(gap.end)},
    }
