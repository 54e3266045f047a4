"""The values that packages pass to each other: a fork, its parent, its attribution, a batch. Frozen."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

__all__ = [
    "ATTACHED",
    "CONTAINER",
    "CREATED",
    "KUBELET_ROOT",
    "NO_CGROUP",
    "POD",
    "QOS_CLASS",
    "REMOVED",
    "Attribution",
    "Batch",
    "CgroupEvent",
    "Container",
    "Counters",
    "Fork",
    "ParentContext",
    "PlannedContainer",
    "Pod",
    "Task",
    "state_of",
]

CREATED: Final = 1  # a CgroupEvent's kinds, as bpf/fork.c numbers them
REMOVED: Final = 2
ATTACHED: Final = 3
KUBELET_ROOT: Final = 1  # the kinds of tracked cgroups, as bpf/records.h numbers them
QOS_CLASS: Final = 2
POD: Final = 3
CONTAINER: Final = 4
NO_CGROUP: Final = 0xFFFFFFFFFFFFFFFF  # where a fork is counted whose cgroup is not known, and of items that are no forks
ContainerKind = Literal["app", "init", "sidecar", "ephemeral", "sandbox"]


class Task(NamedTuple):
    """A task as one fork saw it. None: unknown. `start`: ns since 1970; `entity`: 16 hex digits, stable for the process."""

    tid: int | None
    ns_tid: int | None
    pid: int | None
    ns_pid: int | None
    start: int | None
    entity: str | None


@dataclass(frozen=True, slots=True, eq=False)
class ParentContext:
    """What all the forks of one task share: decoded once, encoded once per schema. Compared by identity.

    `leader` is None for a process, which is its own. `clone`: flag names. `namespaces`: pid, mnt, net, user, uts, ipc, cgroup.
    `fragments`: of agent.sinks.encoders.fragments, which end with it.
    """

    parent: Task
    parent_process: Task
    leader: Task | None
    clone: tuple[str, ...] | None
    comm: str | None
    parent_comm: str | None
    uid: int | None
    gid: int | None
    namespaces: tuple[int | None, ...]
    fragments: dict[object, Any] = field(default_factory=dict, init=False, repr=False)


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod. `kind` and names are None while no status has named it."""

    id: str
    name: str | None = None
    image: str | None = None
    image_id: str | None = None
    kind: ContainerKind | None = None
    runtime: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedContainer:
    """A container of a pod's spec. `succeeded`: its last run has ended with exit code 0, as far as a status reports it."""

    name: str
    image: str | None
    kind: ContainerKind
    succeeded: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the API last reported it. `aliases`: every uid that a cgroup path may have for it (a static pod has two).
    `annotations`: those that settings ask for. `runtime_class`: None is the node's default runtime. `planned`: the containers
    of the spec, init containers first, in its order; not saved, for a spec that is old could name a wrong one."""

    uid: str
    namespace: str
    name: str
    aliases: frozenset[str]
    labels: Mapping[str, str]
    workload: tuple[str, str] | None
    service_account: str | None
    qos: str | None
    containers: Mapping[str, Container] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    runtime_class: str | None = None
    planned: tuple[PlannedContainer, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """The cgroup of a fork, and its pod and container as far as they are known. Compared by identity: a new finding is a new
    Attribution.

    `pod_uid` is the API's when `pod` is known, else the one in the cgroup's path. `by`: the method, as on the wire.
    `fragments`: as in ParentContext.
    """

    cgroup: int
    path: str | None
    state: Literal["resolved", "host", "unresolved"]
    by: Literal["status", "cgroup", "attach", "birth", "spec", "order"] | None
    pod_uid: str | None = None
    pod: Pod | None = None
    container: Container | None = None
    fragments: dict[object, Any] = field(default_factory=dict, init=False, repr=False)


class Fork(NamedTuple):
    """One fork, enriched. Times in ns since 1970. `chain`: the child's number in each pid namespace, the host's first, as far
    as it was carried; `levels`: how many it has in truth.

    `lag_ms` None: resolved at once; else how long it waited for its pod. `counted`: the cgroup that the kernel counted it in;
    another than the attribution's when the process was attached to that one later.
    """

    sequence: int
    time: int
    cpu: int
    thread: bool
    child: Task
    chain: tuple[int | None, ...]
    levels: int
    parent_context: ParentContext
    attribution: Attribution
    parent_attribution: Attribution | None
    lag_ms: int | None
    counted: int


def state_of(attribution: Attribution, lag_ms: int | None) -> str:
    """wire.events.Enrichment's: `late` is resolved after waiting."""
    return "late" if lag_ms is not None and attribution.state == "resolved" else attribution.state


class Batch(NamedTuple):
    """A body that is ready to POST and is only ever repeated byte for byte.

    `stream`: the boot id and program instance of its forks; a batch has those of one only. `cgroups`: for each item, in the
    body's order, the cgroup that its fork was counted in, or NO_CGROUP (the agent's own events). `since`: when its first item
    came, seconds of the wall clock. `uncompressed`: bytes.
    """

    id: str
    stream: str
    body: bytes
    cgroups: array[int]
    since: float
    uncompressed: int

    @property
    def events(self) -> int:
        return len(self.cgroups)

    @property
    def forks(self) -> Counter[int]:
        """How many forks of each cgroup are in it."""
        forks = Counter(self.cgroups)
        forks.pop(NO_CGROUP, None)
        return forks


Event = dict[str, Any]
Counters = tuple[int, ...]  # what the kernel counts in a cgroup, in the order of ledger.COUNTS


class CgroupEvent(NamedTuple):
    """A cgroup of the chosen hierarchy was created or removed, or a task was attached to it. `path` from the hierarchy's root,
    bytes that a container may have chosen; `time` in ns of CLOCK_BOOTTIME; `whole` is False when the path was cut off. `tid`,
    `start`: of the task that was attached."""

    cgroup: int
    parent: int
    time: int
    kind: int
    path: bytes
    whole: bool
    tid: int
    start: int
