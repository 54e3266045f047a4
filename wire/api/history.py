"""One pod over time: its tree of processes, its pairs of names and its timeline."""

from __future__ import annotations

from typing import TypedDict

from wire.api.pods import GapEntry, StormEntry

__all__ = [
    "ForkTree",
    "NamePair",
    "PodIdentity",
    "TimeRange",
    "Timeline",
    "TimelineContainer",
    "TimelineCounts",
    "TreeNode",
]


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
