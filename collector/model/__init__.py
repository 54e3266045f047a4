"""The nouns of the collector: what a line of a batch becomes once it is checked, and what the store gives back.

Frozen and plain, so that `views` can be pure. Times are nanoseconds since 1970 UTC unless a name says otherwise; counts are
tasks. Must not live here: I/O, SQL, checks, formatting.
"""

from collector.model.counts import HOST, NOTHING, UNNUMBERED, TaskCounts
from collector.model.ingested import (
    Attribution,
    CheckedFork,
    CheckedGap,
    CheckedLines,
    CheckedNode,
    CheckedStorm,
    CheckedSummary,
)
from collector.model.query import Filter, ForkQuery, Place, Span
from collector.model.stored import (
    CounterSourceRow,
    CpuRow,
    FoundFork,
    GapRow,
    HoleRow,
    LedgerRows,
    LossRow,
    NodeRow,
    PairRow,
    ParentRow,
    PodPage,
    PodRow,
    PointRow,
    Snapshot,
    StormRow,
    StreamRow,
    TaskRow,
    TimelineRow,
)

__all__ = [
    "HOST",
    "NOTHING",
    "UNNUMBERED",
    "Attribution",
    "CheckedFork",
    "CheckedGap",
    "CheckedLines",
    "CheckedNode",
    "CheckedStorm",
    "CheckedSummary",
    "CounterSourceRow",
    "CpuRow",
    "Filter",
    "ForkQuery",
    "FoundFork",
    "GapRow",
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
    "Span",
    "StormRow",
    "StreamRow",
    "TaskCounts",
    "TaskRow",
    "TimelineRow",
]
