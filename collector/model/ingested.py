"""The checked events of a batch, as `collector.ingest` makes them and `collector.store` inserts them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from collector.model.counts import TaskCounts
from collector.model.fork_columns import ForkColumns
from wire.events import TEST

__all__ = [
    "Attribution",
    "AttributionWords",
    "CheckedBatch",
    "CheckedFork",
    "CheckedGap",
    "CheckedNode",
    "CheckedStorm",
    "CheckedSummary",
    "InsertCounts",
]


class AttributionWords(NamedTuple):
    """What pods can be found by. Empty: unknown."""

    workload_kind: str
    workload: str
    labels: dict[str, str]
    container: str


@dataclass(frozen=True, eq=False, slots=True)
class Attribution:
    """The cgroup, container and pod of an event. `body`: canonical JSON of cgroup, container and k8s, stored once for many
    events.

    Compared by identity: ingest gives the same object for equal bodies, which makes grouping a batch cheap.
    """

    body: bytes
    cluster: str
    node: str
    namespace: str | None
    pod: str | None
    pod_uid: str | None
    cgroup: int | None
    has_container_name: bool

    def words(self) -> AttributionWords:
        """Parsed anew each time: they are needed once an hour, and kept they would double an attribution's memory."""
        body = orjson.loads(self.body)
        workload = body["k8s"].get("workload") or {}
        return AttributionWords(
            workload.get("kind") or "",
            workload.get("name") or "",
            body["k8s"].get("labels") or {},
            (body["container"] or {}).get("name") or "",
        )


class CheckedFork(NamedTuple):
    """`rank`: how well its cgroup was identified (see `collector.ingest.kinds`), higher is better.

    `counted_by`: the host, for a process that was attached to its container after the fork: the kernel counted it there. None:
    its own counter source counted it.
    """

    stream: str
    cpu: int
    sequence: int
    cgroup: int
    attribution: Attribution
    rank: int
    time: int
    columns: ForkColumns
    counted_by: Attribution | None


class CheckedSummary(NamedTuple):
    """`number`: the id's last part, which orders summaries that end at the same time."""

    id: str
    stream: str
    cgroup: int
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
    """`cgroup` None: the gap is of a pod or a node as a whole. `by_now`: the id's last part, which is how many are
    missing for this reason since the program instance began, so that a later gap makes up for a lost one."""

    id: str
    stream: str
    cgroup: int | None
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

    @property
    def is_test(self) -> bool:
        """It asks whether events are accepted, and is not stored: it may be of any node."""
        return self.reason == TEST and self.amount == 0


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
    reason: str


class InsertCounts(NamedTuple):
    """What became of a batch's events: new ones, and ones that had been received before.

    `conflicts`: of forks that had been received with other content, the places among the batch's forks. `unchecked`: of those
    received before, how many had no row any more to compare with.
    """

    accepted: int
    duplicate: int
    conflicts: tuple[int, ...] = ()
    unchecked: int = 0


@dataclass(slots=True)
class CheckedBatch:
    """A batch sorted by kind, filled while its lines are read. `refused`: line numbers from 0, each with the reason;
    `refused_by`: how many for what kind of reason. `fork_lines`: the line of each fork. `size`: bytes of its body, unpacked."""

    forks: list[CheckedFork] = field(default_factory=list)
    summaries: list[CheckedSummary] = field(default_factory=list)
    nodes: list[CheckedNode] = field(default_factory=list)
    gaps: list[CheckedGap] = field(default_factory=list)
    storms: list[CheckedStorm] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    refused_by: Counter[str] = field(default_factory=Counter)
    fork_lines: list[int] = field(default_factory=list)
    size: int = 0

    def streams(self) -> set[str]:
        """The streams of its events."""
        kinds = (self.forks, self.summaries, self.nodes, self.gaps, self.storms)
        return {event.stream for kind in kinds for event in kind}

    def nodes_by_stream(self) -> dict[str, set[tuple[str, str]]]:
        """The clusters and nodes that the events of each stream name, but for tests."""
        found: dict[str, set[tuple[str, str]]] = {}
        attributed: set[tuple[str, Attribution]] = {(fork.stream, fork.attribution) for fork in self.forks}
        attributed |= {(event.stream, event.attribution) for event in self.summaries}
        attributed |= {(event.stream, event.attribution) for event in self.gaps if not event.is_test}
        attributed |= {(event.stream, event.attribution) for event in self.storms}
        for stream, attribution in attributed:
            found.setdefault(stream, set()).add((attribution.cluster, attribution.node))
        for node in self.nodes:
            found.setdefault(node.stream, set()).add((node.cluster, node.node))
        return found

    def __len__(self) -> int:
        """Lines."""
        checked = len(self.forks) + len(self.summaries) + len(self.nodes) + len(self.gaps) + len(self.storms)
        return checked + len(self.refused)
