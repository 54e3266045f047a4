"""What a line of a batch becomes once it is checked. Must not live here: how it is checked (`collector.ingest.kinds`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from collector.model.counts import TaskCounts

__all__ = ["Attribution", "CheckedFork", "CheckedGap", "CheckedLines", "CheckedNode", "CheckedStorm", "CheckedSummary"]


@dataclass(frozen=True, eq=False, slots=True)
class Attribution:
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
    counter_source: int
    attribution: Attribution
    rank: int
    time: int
    is_process: bool
    parent_comm: str | None
    said: dict[str, Any]
    made_by: Attribution | None


class CheckedSummary(NamedTuple):
    """`number`: the id's last part, which orders summaries that end at the same time."""

    id: str
    stream: str
    counter_source: int
    attribution: Attribution
    rank: int
    time: int
    start: int
    end: int
    number: int
    counts: TaskCounts
    totals: TaskCounts


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
    counter_source: int | None
    attribution: Attribution
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
    attribution: Attribution
    rank: int
    start: int
    end: int
    is_over: bool
    limit: int
    hold: int
    counts: TaskCounts
    totals: TaskCounts


@dataclass(slots=True)
class CheckedLines:
    """A batch sorted by kind, filled while its lines are read. `refused`: line number counted from 0, and why. `size`: bytes of
    its body, unpacked."""

    forks: list[CheckedFork] = field(default_factory=list)
    summaries: list[CheckedSummary] = field(default_factory=list)
    nodes: list[CheckedNode] = field(default_factory=list)
    gaps: list[CheckedGap] = field(default_factory=list)
    storms: list[CheckedStorm] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    size: int = 0

    def __len__(self) -> int:
        taken = len(self.forks) + len(self.summaries) + len(self.nodes) + len(self.gaps) + len(self.storms)
        return taken + len(self.refused)
