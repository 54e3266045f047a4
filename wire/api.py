"""The answers of the collector's API: what it returns as JSON, and what the terminal commands read.

`null` means unknown. Times are RFC 3339 UTC with nanoseconds, counts are tasks, rates are forks a second.
`docs/openapi.json` is generated from these shapes and their docstrings.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from wire.events import Cgroup, Counts, Fork, Interval, Workload

__all__ = [
    "Account",
    "AccountState",
    "CommCount",
    "ContainerEntry",
    "CpuNumbers",
    "Cut",
    "EntryCounts",
    "Error",
    "ForkPage",
    "ForkTree",
    "GapEntry",
    "HostEntry",
    "LedgerPage",
    "LedgerStream",
    "LostForks",
    "MissingNumbers",
    "NamePair",
    "NodeEntry",
    "NodeLedger",
    "OtherPod",
    "PodDetail",
    "PodEntry",
    "PodList",
    "PodsTick",
    "ReportedLedger",
    "ReportedSink",
    "SinkSums",
    "StormEntry",
    "StormInterval",
    "StormState",
    "Timeline",
    "TimelineContainer",
    "TimelineCounts",
    "TreeNode",
]

AccountState = Literal["complete", "not summed up yet", "on its way", "missing, explained", "missing, unexplained"]
StormState = Literal["now", "over", "end not told"]


class Error(TypedDict):
    """Why there is no answer: one sentence that names what was wrong and says what would be right."""

    error: str


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
    """A time in which a pod's forks were only counted. `as_of`: the time that the counts are of. `limit`: forks a second."""

    storm: int
    state: StormState
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


class Account(TypedDict):
    """Forks: `given` (numbers handed out) = `received` + sum of `explained` + `on_its_way` + `unexplained`.

    `declared`: by reason, what was reported missing, which may be more than what is missing. `never_numbered`: by reason.
    """

    state: AccountState
    given: int
    received: int
    missing: int
    explained: dict[str, int]
    on_its_way: int
    unexplained: int
    declared: dict[str, int]
    never_numbered: dict[str, int]


class SinkSums(TypedDict):
    """What became of the captured forks on the way to one sink."""

    delivered: int
    queued: int
    lost: int
    suppressed: int
    filtered: int


class ReportedSink(TypedDict):
    """An agent's ledger for one sink. `balanced`: `total`, the sum of `sums`, equals what was captured."""

    delivered: int
    queued: dict[str, int]
    lost: dict[str, int]
    filtered: dict[str, int]
    sums: SinkSums
    total: int
    balanced: bool


class ReportedLedger(TypedDict):
    """The ledger as the agent reported it last, with the sums of each sink."""

    captured: int
    suppressed: int
    kernel_workers: int
    lost: dict[str, int]
    sinks: dict[str, ReportedSink]
    balanced: bool


class NodeEntry(TypedDict):
    """One node by its newest stream. `received`: when its last heartbeat arrived. `received_forks`: stored from that stream.

    `account`: of all its streams. `silent`: no heartbeat for three intervals.
    """

    cluster: str
    node: str
    agent: dict[str, str]
    last_seen: str
    received: str
    silent: bool
    interval_s: float
    lag_ms: int
    counts: Counts
    totals: Counts
    heads: dict[str, int]
    ledger: ReportedLedger
    stream: str
    received_forks: int
    account: Account
    gaps: list[GapEntry]


class PodList(TypedDict):
    """The pods that were found, the most recently seen first; all hosts and nodes. `pods_in_all`: found, shown or not."""

    pods: list[PodEntry]
    pods_in_all: int
    host: list[HostEntry]
    nodes: list[NodeEntry]


class PodIdentity(TypedDict):
    """Which pod the answer is of, and how many others have its name."""

    cluster: str
    pod_uid: str | None
    others: int
    observable: bool


TimeRange = TypedDict("TimeRange", {"from": str, "to": str})


class TreeNode(TypedDict):
    """One process. `comm`: at its last fork; else its parent's at its fork. `seen`: its own fork is in the range.

    `forks`: direct children. `depth`: 0 at a root. `hidden`: descendants that are too deep to be listed.
    """

    entity: str
    comm: str | None
    pid: int | None
    ns_pid: int | None
    container: str | None
    time: str | None
    seen: bool
    forks: int
    descendants: int
    depth: int
    hidden: int
    children: list[TreeNode]


class NamePair(TypedDict):
    """How often a parent of one name forked a child of another. `child` null: it has no children, so its name is unknown."""

    parent: str | None
    child: str | None
    forks: int
    first: str
    last: str


class ForkTree(PodIdentity, TimeRange):
    """Who forked whom in one pod. `cut`: there are older processes than those listed."""

    roots: list[TreeNode]
    pairs: list[NamePair]
    processes: int
    depth: int
    fan_out: int
    cut: bool


class TimelineCounts(TypedDict):
    """One number for each step; null where nothing was summed up."""

    processes: list[int | None]
    threads: list[int | None]
    suppressed: list[int | None]
    lost: list[int | None]


class TimelineContainer(TimelineCounts):
    """`container` null: the pod's cgroups that are no container's."""

    container: str | None
    name: str | None


class Timeline(PodIdentity, TimeRange):
    """What each container of a pod did, step by step, with the storms and gaps of the range. `totals`: of all containers."""

    step_s: float
    containers: list[TimelineContainer]
    totals: TimelineCounts
    storms: list[StormEntry]
    gaps: list[GapEntry]
    node_gaps: list[GapEntry]


class CpuNumbers(TypedDict):
    """The numbers that one CPU handed out."""

    given: int
    received: int
    missing: int


class MissingNumbers(TypedDict):
    """A run of numbers that did not arrive, both ends included. `reason` null: several are possible."""

    cpu: int
    first: int
    last: int
    count: int
    reason: str | None


class LedgerStream(Account):
    """One stream of a node; null where it has had no heartbeat. `since`: forks that came after the newest heartbeat.

    `reported`: the agent's own ledger. `cpus`: by the CPU's number. `unlisted`: missing numbers beyond `holes`.
    """

    stream: str
    sink: str | None
    as_of: str | None
    silent: bool | None
    agent: dict[str, str] | None
    reported: ReportedLedger | None
    since: int
    cpus: dict[str, CpuNumbers]
    holes: list[MissingNumbers]
    unlisted: int
    gaps: list[GapEntry]


class NodeLedger(Account):
    """The sum of a node's streams, and each of them, the newest first."""

    cluster: str
    node: str
    streams: list[LedgerStream]


class LedgerPage(TypedDict):
    """Of the forks that the kernels captured: how many arrived, and what became of the others."""

    nodes: list[NodeLedger]


class ForkPage(TypedDict):
    """Forks as they were sent, the newest first. `next`: the cursor of the next page, null at the end."""

    forks: list[Fork]
    next: str | None


class Cut(TypedDict):
    """The last line of an NDJSON export that does not contain everything. `next`: the cursor to continue from."""

    event: Literal["cut"]
    forks: int
    next: str


class PodsTick(TypedDict):
    """The stream's event `pods`: something new was stored."""

    now: str


class LostForks(TypedDict):
    """The stream's event `lost`: so many forks were skipped, as the reader was too slow. `more`: and others, not counted."""

    forks: int
    more: bool
