"""The nouns of the collector: what a line of a batch becomes once it is checked, and what the store gives back.

Frozen and plain, so that `views` can be pure. Times are nanoseconds since 1970 UTC unless a name says otherwise; counts are
tasks. Must not live here: I/O, SQL, checks, formatting.
"""

from collector.rows.checked import CheckedFork, CheckedGap, CheckedLines, CheckedNode, CheckedStorm, CheckedSummary, Subject
from collector.rows.filed import (
    CpuRow,
    FoundFork,
    GapRow,
    HolderRow,
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
from collector.rows.tallies import HOST, NOTHING, UNNUMBERED, Tally
from collector.rows.wishes import Filter, Place, Sought, Span

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
