"""The kinds of events and their shapes.

Every key is always present; `null` means unknown. A fork's identity fields carry the names that Tracee documents for
`sched_process_fork`; times are RFC 3339 UTC with nanoseconds; `*_ns_*` is the number in the task's own innermost pid namespace.
`examples.json` beside this file holds one of each kind and is what the tests compare with.
"""

from __future__ import annotations

from typing import Final, Literal, TypedDict, get_args

__all__ = [
    "FORK",
    "FORK_STORM",
    "FORK_SUMMARY",
    "GAP",
    "KINDS",
    "NODE_SUMMARY",
    "NOT_OBSERVABLE",
    "STORM_REASONS",
    "TEST",
    "Cgroup",
    "Container",
    "Counts",
    "Enrichment",
    "Fork",
    "ForkStorm",
    "ForkSummary",
    "Gap",
    "Interval",
    "K8s",
    "Ledger",
    "NodeSummary",
    "SinkLedger",
    "StormReason",
    "Workload",
]

FORK: Final = "sched_process_fork"
FORK_SUMMARY: Final = "fork_summary"
NODE_SUMMARY: Final = "node_summary"
FORK_STORM: Final = "fork_storm"
GAP: Final = "gap"
NOT_OBSERVABLE: Final = "not_observable"
StormReason = Literal["limit", "ring", "uniqueness"]
STORM_REASONS: Final[tuple[StormReason, ...]] = get_args(StormReason)
TEST: Final = "test"  # the reason of a gap of 0 that only asks whether a receiver accepts events
KINDS: Final = (FORK, FORK_SUMMARY, NODE_SUMMARY, FORK_STORM, GAP)


class Interval(TypedDict):
    start: str
    end: str


class Cgroup(TypedDict):
    id: int
    path: str | None


class Container(TypedDict):
    """`kind` null: the container is in no status yet. `runtime` is read from the cgroup's path or the status."""

    id: str
    name: str | None
    image: str | None
    image_id: str | None
    kind: Literal["app", "init", "sidecar", "ephemeral", "sandbox"] | None
    runtime: str | None


class Workload(TypedDict):
    kind: str
    name: str


class _Annotated(TypedDict, total=False):
    """Present only where a sink's `annotations` name some that the pod has."""

    annotations: dict[str, str]


class K8s(_Annotated):
    """Always an object: `cluster` and `node` are known on a host process, too."""

    cluster: str
    node: str
    namespace: str | None
    pod: str | None
    pod_uid: str | None
    labels: dict[str, str] | None
    workload: Workload | None
    service_account: str | None
    qos: str | None


class Enrichment(TypedDict):
    """How the event was attributed: `late` is resolved after waiting; `unresolved` has the ids of the cgroup's path only."""

    state: Literal["resolved", "host", "late", "unresolved"]
    by: Literal["status", "cgroup", "attach", "birth", "spec", "order"] | None
    lag_ms: int


class Namespaces(TypedDict):
    """Inode numbers, as in /proc/PID/ns."""

    pid: int | None
    mnt: int | None
    net: int | None
    user: int | None
    uts: int | None
    ipc: int | None
    cgroup: int | None


class Fork(TypedDict):
    """`parent_*` called clone, `child_*` is the new task, `leader_*` its thread group's leader, `parent_process_*` the process
    above."""

    event: str
    id: str
    timestamp: str
    kind: Literal["process", "thread"]
    parent_tid: int | None
    parent_ns_tid: int | None
    parent_pid: int | None
    parent_ns_pid: int | None
    parent_start_time: str | None
    child_tid: int | None
    child_ns_tid: int | None
    child_pid: int | None
    child_ns_pid: int | None
    start_time: str | None
    parent_process_tid: int | None
    parent_process_ns_tid: int | None
    parent_process_pid: int | None
    parent_process_ns_pid: int | None
    parent_process_start_time: str | None
    leader_tid: int | None
    leader_ns_tid: int | None
    leader_pid: int | None
    leader_ns_pid: int | None
    leader_start_time: str | None
    comm: str | None
    parent_comm: str | None
    uid: int | None
    gid: int | None
    child_ns_pids: list[int | None]
    child_ns_pids_truncated: bool
    namespaces: Namespaces
    clone: list[str] | None
    process_entity_id: str | None
    parent_entity_id: str | None
    cgroup: Cgroup
    parent_cgroup: Cgroup | None
    container: Container | None
    k8s: K8s
    enrichment: Enrichment


class Counts(TypedDict):
    """Tasks. processes + threads = emitted + filtered + suppressed + lost; `entered`, beside these, were moved in
    after their fork."""

    processes: int
    threads: int
    emitted: int
    filtered: int
    suppressed: int
    lost: int
    entered: int


class ForkSummary(TypedDict):
    """Exact, from the kernel's cgroup counters, also where events were lost. `cgroup` null: the whole host outside pods.

    `totals` count since the program instance was loaded, so the next summary makes up for a lost one.
    """

    event: str
    id: str
    timestamp: str
    interval: Interval
    counts: Counts
    totals: Counts
    cgroup: Cgroup | None
    container: Container | None
    k8s: K8s
    enrichment: Enrichment


class SinkLedger(TypedDict):
    """captured = delivered + sum(queued) + sum(lost) + suppressed + sum(filtered). `queued`: ring, waiting, journal."""

    delivered: int
    queued: dict[str, int]
    lost: dict[str, int]
    filtered: dict[str, int]


class Ledger(TypedDict):
    """Of one program instance, in forks. `lost` here is before any sink: ring and orphaned, and what is not in `captured`:
    recursion and unseen."""

    captured: int
    suppressed: int
    kernel_workers: int
    lost: dict[str, int]
    sinks: dict[str, SinkLedger]


class NodeSummary(TypedDict):
    """An agent's heartbeat. `heads`: how many numbers each CPU has given out, so that forks missing at the end show too."""

    event: str
    id: str
    timestamp: str
    interval: Interval
    agent: dict[str, str]
    lag_ms: int
    counts: Counts
    totals: Counts
    heads: dict[str, int]
    ledger: Ledger
    k8s: K8s


class ForkStorm(TypedDict):
    """A pod or a container was above a limit, so from `interval.start` on its forks were only counted: `suppressed`.

    `reason`: limit, a pod, or outside pods a cgroup of level 2, forked more than `limit` times a second; ring, it took more
    than its share of a ring that was over half full (both `capture.storm_limit`); uniqueness, a container brought more than
    `limit` new parent tasks and cgroups a second (`capture.uniqueness_limit`). 0.1 sent no reason: it was limit. `phase` start:
    sent once, when it is noticed; `interval.end` is that moment. stop: it was below the limit for `hold_s`; then `counts` are
    the whole storm's, exact, from the counters of the cgroup, the container or all the pod's containers. `storm`: the same
    number in start and stop. `cgroup`: the pod's own directory, and then `container` is null, or the container's, or one
    outside pods.
    """

    event: str
    id: str
    timestamp: str
    phase: Literal["start", "stop"]
    reason: StormReason
    storm: int
    limit: int
    hold_s: int
    interval: Interval
    counts: Counts
    totals: Counts
    cgroup: Cgroup | None
    container: Container | None
    k8s: K8s
    enrichment: Enrichment


class Gap(TypedDict):
    """Events that are missing, and why. `sink` null: they are missing in all sinks. `count` null: unknown, because `reason` is
    not_observable: the pod, whose own directory `cgroup` is, has a kernel of its own. Then n is 0.

    `id` ends in `.gap.<sink or ->.<reason>.<cgroup>.<n>`, n being how many are missing for that reason so far, this `count`
    included: a gap that is sent again has the same id.
    """

    event: str
    id: str
    timestamp: str
    interval: Interval
    missing: str
    count: int | None
    reason: str
    sink: str | None
    cgroup: Cgroup | None
    container: Container | None
    k8s: K8s
    enrichment: Enrichment
