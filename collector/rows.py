"""The nouns of the collector: what a line of a batch becomes once it is checked, and what the store gives back.

Frozen and plain, so that `views` can be pure. Times are nanoseconds since 1970 UTC unless a name says otherwise; counts are
tasks. Must not live here: I/O, SQL, checks, formatting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

__all__ = [
    "HOST",
    "NOTHING",
    "UNNUMBERED",
    "CheckedFork",
    "CheckedGap",
    "CheckedLines",
    "CheckedNode",
    "CheckedStorm",
    "CheckedSummary",
    "CpuRow",
    "Filter",
    "FoundFork",
    "GapRow",
    "HolderRow",
    "HoleRow",
    "LedgerRows",
    "LossRow",
    "NodeRow",
    "PairRow",
    "ParentRow",
    "Place",
    "PodPage",
    "PodRow",
    "PointRow",
    "Snapshot",
    "Sought",
    "Span",
    "StormRow",
    "StreamRow",
    "Subject",
    "Tally",
    "TaskRow",
    "TimelineRow",
]

HOST: Final = -1  # stands in a holder's key for a cgroup's id: everything of a node that is outside pods
# Why a gap's forks never had a number and are in no tally: capture was away, it only counted, the probe was skipped, the kernel
# did not call it.
UNNUMBERED: Final = ("restart", "orphaned", "recursion", "unseen")


class Tally(NamedTuple):
    """Tasks, as in `wire.events.Counts`, in that order."""

    processes: int
    threads: int
    emitted: int
    filtered: int
    suppressed: int
    lost: int
    entered: int

    def plus(self, other: Tally) -> Tally:
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))


NOTHING: Final = Tally(0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, eq=False, slots=True)
class Subject:
    """Whose an event is. `body`: canonical JSON of cgroup, container and k8s, told once and pointed at by many events.

    Compared by identity: the checks hand out the same object for the same words, which makes grouping a batch cheap.
    """

    body: bytes
    cluster: str
    node: str
    namespace: str | None
    pod: str | None
    pod_uid: str | None
    cgroup: int | None
    named: bool  # the container's name is known


class CheckedFork(NamedTuple):
    """`said`: the event without its subject. `rank`: how well it was identified (see `kinds`), higher is better.

    `made_by`: the host, of a process that entered its container after the fork. The kernel counted it there, and so do we.
    """

    stream: str
    cpu: int
    sequence: int
    holder: int
    subject: Subject
    rank: int
    time: int
    is_process: bool
    parent_comm: str | None
    said: dict[str, Any]
    made_by: Subject | None


class CheckedSummary(NamedTuple):
    """`number`: the id's last part, which orders summaries that end at the same time."""

    id: str
    stream: str
    holder: int
    subject: Subject
    rank: int
    time: int
    start: int
    end: int
    number: int
    counts: Tally
    totals: Tally


class CheckedNode(NamedTuple):
    """`body`: JSON of agent, lag_ms, counts, totals, heads and ledger, of which `captured`, `heads` (by CPU) and `delivered`
    (by sink) are needed one by one."""

    id: str
    stream: str
    cluster: str
    node: str
    time: int
    start: int
    end: int
    number: int
    body: bytes
    captured: int
    heads: dict[int, int]
    delivered: dict[str, int]


class CheckedGap(NamedTuple):
    """`holder` None: it is told of a pod or a node as a whole. `by_now`: the id's last part, which is how many are missing for
    this reason since the epoch, so that a gap that got lost heals, too."""

    id: str
    stream: str
    holder: int | None
    subject: Subject
    rank: int
    time: int
    start: int
    end: int
    missing: str
    amount: int
    reason: str
    sink: str | None
    by_now: int


class CheckedStorm(NamedTuple):
    """`number`: the same in start and stop. `limit`: forks a second. `hold`: seconds below it that end a storm."""

    id: str
    stream: str
    cgroup: int
    number: int
    subject: Subject
    rank: int
    start: int
    end: int
    is_over: bool
    limit: int
    hold: int
    counts: Tally
    totals: Tally


@dataclass(slots=True)
class CheckedLines:
    """A batch sorted by kind, filled while its lines are read. `refused`: line number counted from 0, and why."""

    forks: list[CheckedFork] = field(default_factory=list)
    summaries: list[CheckedSummary] = field(default_factory=list)
    nodes: list[CheckedNode] = field(default_factory=list)
    gaps: list[CheckedGap] = field(default_factory=list)
    storms: list[CheckedStorm] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)

    def __len__(self) -> int:
        taken = len(self.forks) + len(self.summaries) + len(self.nodes) + len(self.gaps) + len(self.storms)
        return taken + len(self.refused)


class PodRow(NamedTuple):
    id: int
    cluster: str
    node: str
    namespace: str | None
    name: str | None
    uid: str | None
    first_seen: int
    last_seen: int


class HolderRow(NamedTuple):
    """One cgroup of one stream, or a stream's host. `end` None: no summary of it yet. `received`: when that came."""

    id: int
    stream: int
    cgroup: int
    pod: int | None
    cluster: str
    node: str
    subject: bytes
    filed: int
    first_seen: int
    last_seen: int
    start: int | None
    end: int | None
    received: int | None
    counts: Tally
    totals: Tally


class ParentRow(NamedTuple):
    """`comm` None: unknown."""

    holder: int
    comm: str | None
    forks: int


class PointRow(NamedTuple):
    """What one holder did in one interval."""

    holder: int
    start: int
    end: int
    processes: int


class GapRow(NamedTuple):
    """One gap as it was told. `sink` None: it is missing in all of them. `ours`: in all, or in the one that we are.

    Neither `pod` nor `holder`: of a node as a whole, and nobody knows of which pods.
    """

    id: str
    stream: int
    cluster: str
    node: str
    pod: int | None
    holder: int | None
    missing: str
    reason: str
    sink: str | None
    ours: bool
    amount: int
    start: int
    end: int


class LossRow(NamedTuple):
    """All gaps of one holder (or pod, or node) for one reason in one sink, since the epoch. Otherwise as `GapRow`."""

    stream: int
    pod: int | None
    holder: int | None
    missing: str
    reason: str
    sink: str | None
    ours: bool
    amount: int


class StormRow(NamedTuple):
    """A storm as far as it was told. `limit`: forks a second. `hold`: seconds. `end`: its own, or the newest word's."""

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
    counts: Tally
    totals: Tally


class NodeRow(NamedTuple):
    """The newest `node_summary` of one stream; `received` by our clock."""

    stream: int
    cluster: str
    node: str
    start: int
    end: int
    received: int
    body: bytes


class StreamRow(NamedTuple):
    """What came of one stream. Numbers: those that each CPU gives to its forks, from 0 on.

    `sink`: what its agent calls us, None where it has not said. `before`: forks that this sink had taken when we first heard of
    the stream: another store's. `given`: numbers given out by the newest heartbeat, None without one. `received`: of these.
    `filed`: forks in all, those with later numbers included.
    """

    id: int
    name: str
    cluster: str
    node: str
    sink: str | None
    before: int
    given: int | None
    received: int
    filed: int


class CpuRow(NamedTuple):
    """One CPU's part of a stream. `given` 0: no heartbeat has spoken of it yet."""

    stream: int
    cpu: int
    given: int
    received: int


class HoleRow(NamedTuple):
    """A run of numbers that were given out and did not come, both ends included."""

    stream: int
    cpu: int
    first: int
    last: int


class LedgerRows(NamedTuple):
    """`losses`: of forks, by stream and reason. `gaps`: the newest of whole nodes. `holes`: the first of each stream."""

    nodes: list[NodeRow]
    streams: list[StreamRow]
    losses: list[LossRow]
    gaps: list[GapRow]
    holes: list[HoleRow]
    cpus: list[CpuRow]


class Snapshot(NamedTuple):
    """What the store knew at one moment. `pods_in_all`: how many there are, of which `pods` are the most recently seen.

    `storms`: the newest of each pod. `storms_in_all`: how many each pod has had.
    """

    pods: list[PodRow]
    pods_in_all: int
    holders: list[HolderRow]
    parents: list[ParentRow]
    points: list[PointRow]
    losses: list[LossRow]
    storms: list[StormRow]
    storms_in_all: dict[int, int]
    ledger: LedgerRows


class PodPage(NamedTuple):
    """One pod. `snapshot.pods`: it alone. `others`: of its name, any cluster, any uid. `latest`: forks as they were sent.

    `gaps`, `storms`: the newest.
    """

    snapshot: Snapshot
    others: list[PodRow]
    latest: list[dict[str, Any]]
    gaps: list[GapRow]
    storms: list[StormRow]


class Span(NamedTuple):
    """Start included, end not."""

    start: int
    end: int


class Filter(NamedTuple):
    """Which pods: all that is given must hold, "" is any. `workload`: `Deployment/cart`, or `cart` of whatever kind.

    `labels`: key and value, each of which the pod must bear. `text`: somewhere in cluster, node, namespace, pod, uid, workload
    or a container's name, whatever its case.
    """

    cluster: str = ""
    namespace: str = ""
    node: str = ""
    pod: str = ""
    pod_uid: str = ""
    workload: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    text: str = ""


class Sought(NamedTuple):
    """Which forks. `kind`: process or thread. `pid`: the host's or the pod's, of child or parent. `entity`: 16 hex digits, a
    process_entity_id or a parent_entity_id."""

    filter: Filter
    span: Span
    comm: str = ""
    parent_comm: str = ""
    kind: str = ""
    pid: int | None = None
    entity: str = ""


class Place(NamedTuple):
    """A fork's place in the order of time, which is where a next page begins. `stream`: its name."""

    time: int
    stream: str
    cpu: int
    sequence: int


class FoundFork(NamedTuple):
    """`body`: the event as it was sent."""

    place: Place
    body: dict[str, Any]


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
    """Who forked whom, by comm. At its fork a child still bears its parent's comm, so `child` is what it was called when it
    first forked itself; None: it never did. `first`, `last`: the times of such forks."""

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
