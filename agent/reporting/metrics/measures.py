"""The numbers of a scrape beyond those of the ledger, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from agent.histogram import Durations
from agent.reporting.snapshots import AgentSnapshot

__all__ = ["Measures", "PodCounts", "Reports", "SinkMeasures"]


class SinkMeasures(NamedTuple):
    """`lag_s`: how long the oldest item has been waiting. `durations`: of each try, from its first byte to its answer."""

    tries: int
    retries: int
    reconnects: int
    sent_bytes: int
    batches: int
    lag_s: float
    durations: Durations


@dataclass(frozen=True)
class Measures:
    """`ring_fill`: 0 to 1. `journal_bytes`: on the disk. `pinned`: capture outlives the agent. `commits`: each with its time.
    `synced`: the pods have been listed once; None: the API is not asked. `table_fills`: of the kernel's maps, 0 to 1, by name;
    `folded`: cgroups made inside running containers without a record of their own; `folded_tasks`: attached without a record;
    `ring_shared`: a ring that fills is shared between those who fork; `unread`: directories that the last walk left out;
    `unknown_pods`: pods with containers here, when the API has none of them; `root_known`: where the kubelet's cgroups are is
    set or learned."""

    ring_fill: float
    ring_backlog: int
    ring_bytes: int
    journal_bytes: int
    journal_corruptions: int
    journal_works: bool
    commits: Durations
    pinned: bool
    clock_steps: int
    walks: int
    synced: bool | None
    table_fills: Mapping[str, float]
    folded: int
    folded_tasks: int
    ring_shared: bool
    unread: int
    unknown_pods: int
    root_known: bool
    sinks: Mapping[str, SinkMeasures]


class PodCounts(NamedTuple):
    """The counters of one cgroup that belongs to a pod. `alive`: the pod is there."""

    uid: str
    namespace: str
    pod: str
    cgroup: int
    alive: bool
    processes: int
    threads: int
    suppressed: int
    lost: int


class Reports(Protocol):
    """The agent's state at the moment of a scrape."""

    def snapshot(self) -> AgentSnapshot: ...

    def measures(self) -> Measures: ...

    def pod_counts(self) -> Iterable[PodCounts]: ...
