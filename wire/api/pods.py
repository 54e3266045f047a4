"""Pods, their containers, storms and gaps, and the hosts' forks outside pods."""

from __future__ import annotations

from typing import Literal, TypedDict

from wire.events import Cgroup, Counts, Fork, Interval, StormReason, Workload

__all__ = [
    "CommCount",
    "ContainerEntry",
    "EntryCounts",
    "EntryNumbers",
    "GapEntry",
    "HostEntry",
    "OtherPod",
    "PodDetail",
    "PodEntry",
    "StormEntry",
    "StormInterval",
    "StormState",
]

StormState = Literal["now", "over", "end not told"]


class EntryCounts(TypedDict):
    """Tasks since the kernel first counted them; null where the pod has a kernel of its own, which its node cannot see.

    `delivered`: events that are stored here. `awaited`: handed out by the kernel, not stored here and not declared missing.
    `since`: stored here and in no summary yet. `summed`: there has been a summary.
    """

    processes: int | None
    threads: int | None
    emitted: int | None
    filtered: int | None
    suppressed: int | None
    lost: int | None
    entered: int | None
    delivered: int | None
    awaited: int | None
    since: int | None
    rate: float | None
    summed: bool


class CommCount(TypedDict):
    """`forks`: of parents with this `comm`."""

    comm: str | None
    forks: int


class EntryNumbers(EntryCounts):
    """`top`: the names that forked most. `history`: the rates of the intervals of `history_interval`, which are equally long.

    `missing`: forks that are missing here, by reason. `missing_elsewhere`: by sink and reason, of the agent's other sinks.
    """

    top: list[CommCount]
    history: list[float | None]
    history_interval: Interval | None
    missing: dict[str, int]
    missing_elsewhere: dict[str, dict[str, int]]


class HostEntry(EntryNumbers):
    """The forks of one node outside pods."""

    cluster: str
    node: str


class ContainerEntry(EntryCounts):
    """One container of a pod. `id` null: the pod's cgroups that are no container's."""

    id: str | None
    name: str | None
    image: str | None
    image_id: str | None
    kind: str | None
    runtime: str | None


class StormInterval(TypedDict):
    """`end` null: the storm goes on, or its end was never reported."""

    start: str
    end: str | None


class StormEntry(TypedDict):
    """A time in which a pod's forks were only counted. `as_of`: the time that the counts are of. `limit`: forks a second.
    `reason`: the pod was above its limit, took more than its share of a ring that was over half full, or brought too much that
    was new (then `limit` counts that)."""

    storm: int
    state: StormState
    reason: StormReason
    interval: StormInterval
    as_of: str
    limit: int
    hold_s: int
    counts: Counts
    totals: Counts


class GapEntry(TypedDict):
    """What is missing, and why. `here`: it is missing in this collector. `sink` null: it is missing in all sinks.

    `numbered`: it explains numbers that did not arrive; otherwise the forks are in no count. `count` null: it cannot be known.
    """

    id: str
    missing: str
    reason: str
    sink: str | None
    here: bool
    numbered: bool
    count: int | None
    interval: Interval


class PodEntry(EntryNumbers):
    """One pod. `key`: its number in this collector. `unknown_share`: forks that the node lost without knowing their pod, by
    reason, while this pod may have lived. `storm`: the one that goes on. `observable` false: it has a kernel of its own.
    """

    cluster: str
    node: str
    namespace: str | None
    pod: str | None
    pod_uid: str | None
    key: int
    workload: Workload | None
    labels: dict[str, str] | None
    cgroup: Cgroup | None
    qos: str | None
    service_account: str | None
    unknown_share: dict[str, int]
    storm: StormEntry | None
    storms_in_all: int
    observable: bool
    first_seen: str
    last_seen: str
    containers: list[ContainerEntry]


class OtherPod(TypedDict):
    """Another pod of the same namespace and name."""

    key: int
    cluster: str
    node: str
    pod_uid: str | None
    first_seen: str
    last_seen: str


class PodDetail(PodEntry):
    """One pod with its latest forks as they were sent, and its newest storms and gaps. `node_gaps`: gaps of the whole node."""

    latest: list[Fork]
    storms: list[StormEntry]
    gaps: list[GapEntry]
    node_gaps: list[GapEntry]
    others: list[OtherPod]
