"""The nouns of the collector: what a line of a batch becomes once it is checked, and what the store gives back.

Frozen and plain, so that `views` can be pure. Times are nanoseconds since 1970 UTC unless a name says otherwise; counts are
tasks. Must not live here: I/O, SQL, checks, formatting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

__all__ = [
    "HOST",
    "NOTHING",
    "CheckedFork",
    "CheckedGap",
    "CheckedLines",
    "CheckedNode",
    "CheckedSummary",
    "CpuRow",
    "GapRow",
    "HolderRow",
    "NodeRow",
    "ParentRow",
    "PodRow",
    "PointRow",
    "Snapshot",
    "Subject",
    "Tally",
]

HOST: Final = -1  # stands in a holder's key for a cgroup's id: everything of a node that is outside pods


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
    """`body`: JSON of the event without its subject. `rank`: how well it was identified (see `kinds`), higher is better.

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
    body: bytes
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
    """`body`: JSON of agent, lag_ms, counts, totals, heads and ledger."""

    id: str
    stream: str
    cluster: str
    node: str
    time: int
    start: int
    end: int
    number: int
    body: bytes


class CheckedGap(NamedTuple):
    """`holder` None: it is told of a pod or a node as a whole."""

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


@dataclass(slots=True)
class CheckedLines:
    """A batch sorted by kind, filled while its lines are read. `refused`: line number counted from 0, and why."""

    forks: list[CheckedFork] = field(default_factory=list)
    summaries: list[CheckedSummary] = field(default_factory=list)
    nodes: list[CheckedNode] = field(default_factory=list)
    gaps: list[CheckedGap] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.forks) + len(self.summaries) + len(self.nodes) + len(self.gaps) + len(self.refused)


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
    """`id` None: the sum of many. `sink` None: it is missing in all of them."""

    id: str | None
    cluster: str
    node: str
    pod: int | None
    holder: int | None
    missing: str
    reason: str
    sink: str | None
    amount: int
    start: int
    end: int


class NodeRow(NamedTuple):
    """The newest `node_summary` of one stream; `received` by our clock; `filed`: forks of the stream that came."""

    stream: int
    stream_name: str
    cluster: str
    node: str
    start: int
    end: int
    received: int
    body: bytes
    filed: int


class CpuRow(NamedTuple):
    """A run of sequence numbers, both ends included, that came from one CPU of one stream."""

    stream: int
    cpu: int
    first: int
    last: int


class Snapshot(NamedTuple):
    """What the store knew at one moment. `pods_in_all`: how many there are, of which `pods` are the most recently seen."""

    pods: list[PodRow]
    pods_in_all: int
    holders: list[HolderRow]
    parents: list[ParentRow]
    points: list[PointRow]
    gaps: list[GapRow]
    nodes: list[NodeRow]
