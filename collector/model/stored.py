"""The rows that `collector.query` reads and `collector.views` makes responses of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from collector.model.counts import TaskCounts
from collector.model.deleted import DeletedEarly
from collector.model.query import Place
from wire.events import Fork, StormReason

__all__ = [
    "ConflictRow",
    "CounterSourceRow",
    "CpuRow",
    "FoundFork",
    "GapRow",
    "HoleRow",
    "LedgerRows",
    "LossRow",
    "NodeRow",
    "PairRow",
    "ParentRow",
    "PodRow",
    "PodRows",
    "PointRow",
    "Snapshot",
    "StormRow",
    "StreamConflicts",
    "StreamRow",
    "TaskRow",
    "TimelineRow",
]


class PodRow(NamedTuple):
    id: int
    cluster: str
    node: str
    namespace: str | None
    name: str | None
    uid: str | None
    first_seen: int
    last_seen: int


class CounterSourceRow(NamedTuple):
    """One cgroup of one stream, or a stream's host. `attribution`: JSON of cgroup, container and k8s. `stored`: its forks in
    the store. `end` None: no summary yet; `received`: when that came."""

    id: int
    stream: int
    cgroup: int
    pod: int | None
    cluster: str
    node: str
    attribution: bytes
    stored: int
    first_seen: int
    last_seen: int
    start: int | None
    end: int | None
    received: int | None
    counts: TaskCounts
    totals: TaskCounts


class ParentRow(NamedTuple):
    """`comm` None: unknown."""

    counter_source_id: int
    comm: str | None
    forks: int


class PointRow(NamedTuple):
    """What one counter source counted in one interval."""

    counter_source_id: int
    start: int
    end: int
    processes: int


class GapRow(NamedTuple):
    """One gap as it was sent. `sink` None: missing in all sinks. `ours`: in all, or in the one that this collector is.

    Neither `pod` nor `counter_source_id`: of a node as a whole; of which pods, is unknown.
    """

    id: str
    stream: int
    cluster: str
    node: str
    pod: int | None
    counter_source_id: int | None
    missing: str
    reason: str
    sink: str | None
    ours: bool
    amount: int
    start: int
    end: int


class LossRow(NamedTuple):
    """All gaps of one counter source (or pod, or node) for one reason in one sink, since the program instance began.
    Otherwise as `GapRow`."""

    stream: int
    pod: int | None
    counter_source_id: int | None
    missing: str
    reason: str
    sink: str | None
    ours: bool
    amount: int


class StormRow(NamedTuple):
    """A storm by its newest event. `limit`: forks a second. `hold`: seconds. `end`: its own, or that of the newest event.
    `reason`: one of STORM_REASONS."""

    stream: int
    number: int
    pod: int
    cluster: str
    node: str
    is_over: bool
    limit: int
    hold: int
    start: int
    end: int
    counts: TaskCounts
    totals: TaskCounts
    reason: StormReason


class NodeRow(NamedTuple):
    """The newest `node_summary` of one stream; `received` by the collector's clock."""

    stream: int
    cluster: str
    node: str
    start: int
    end: int
    received: int
    body: bytes


class StreamRow(NamedTuple):
    """What was received of one stream. Numbers: those that each CPU gives to its forks, from 0 on.

    `sink`: what its agent calls this collector, None where unknown. `before`: forks that this sink had received before the
    first heartbeat here: they are in another store. `given`: numbers given out by the newest heartbeat, None without one.
    `received`: forks with these numbers. `stored`: forks in all, those with later numbers included.
    """

    id: int
    name: str
    cluster: str
    node: str
    sink: str | None
    before: int
    given: int | None
    received: int
    stored: int


class CpuRow(NamedTuple):
    """One CPU's part of a stream. `given` 0: no heartbeat yet."""

    stream: int
    cpu: int
    given: int
    received: int


class HoleRow(NamedTuple):
    """A run of numbers that were given out and are not received, both ends included."""

    stream: int
    cpu: int
    first: int
    last: int


class ConflictRow(NamedTuple):
    """A fork's number that came again with other content, `times`: how often. `first`, `last`: when, ns; the others: who sent
    it the last time. `credential` None: none was required."""

    cpu: int
    sequence: int
    times: int
    first: int
    last: int
    credential: str | None
    cluster: str
    node: str


class StreamConflicts(NamedTuple):
    """`ids`: numbers of the stream in conflict; `unlisted`: how often others came, of which only the count is kept. `rows`: the
    first ones."""

    stream: int
    ids: int
    times: int
    unlisted: int
    rows: list[ConflictRow]


class LedgerRows(NamedTuple):
    """`losses`: of forks, by stream and reason. `gaps`: the newest of whole nodes. `holes`: the first of each stream.
    `deleted_early`: of the store as a whole."""

    nodes: list[NodeRow]
    streams: list[StreamRow]
    losses: list[LossRow]
    gaps: list[GapRow]
    holes: list[HoleRow]
    cpus: list[CpuRow]
    conflicts: Sequence[StreamConflicts] = ()
    deleted_early: Sequence[DeletedEarly] = ()


class Snapshot(NamedTuple):
    """What the list of pods shows. `pods_in_all`: how many there are, of which `pods` are the most recently seen.

    `storms`: the newest of each pod. `storms_in_all`: how many each pod has had.
    """

    pods: list[PodRow]
    pods_in_all: int
    counter_sources: list[CounterSourceRow]
    parents: list[ParentRow]
    points: list[PointRow]
    losses: list[LossRow]
    storms: list[StormRow]
    storms_in_all: dict[int, int]
    ledger: LedgerRows


class PodRows(NamedTuple):
    """One pod. `snapshot.pods`: it alone. `others`: of its name, any cluster, any uid. `latest`: forks as they were sent.

    `gaps`, `storms`: the newest.
    """

    snapshot: Snapshot
    others: list[PodRow]
    latest: list[Fork]
    gaps: list[GapRow]
    storms: list[StormRow]


class FoundFork(NamedTuple):
    """`body`: the event as it was sent."""

    place: Place
    body: Fork


class TimelineRow(NamedTuple):
    """What one container did in one step, which begins at `start`. `container` None: the pod's other cgroups."""

    container: str | None
    name: str | None
    start: int
    processes: int
    threads: int
    suppressed: int
    lost: int


class PairRow(NamedTuple):
    """Who forked whom, by comm. At its fork a child still has its parent's comm, so `child` is its comm when it first forked
    itself; None: it never did. `first`, `last`: the times of such forks."""

    parent: str | None
    child: str | None
    forks: int
    first: int
    last: int


class TaskRow(NamedTuple):
    """One forked process. `entity`, `parent`: 16 hex digits. `ns_pid`: in its pod."""

    entity: str
    parent: str | None
    comm: str | None
    parent_comm: str | None
    pid: int
    ns_pid: int | None
    parent_pid: int | None
    parent_ns_pid: int | None
    time: int
    container: str | None
