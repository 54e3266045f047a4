"""The values that the collector's packages pass to each other: checked events, queries, and the rows that views read.

Frozen and pure. Times are ns since 1970 UTC unless a name says otherwise; counts are tasks. A row that a view reads is defined
here, in `stored`; a row that stays within one query is defined beside its statement in `collector.query`. This package must not
do I/O and must not hold SQL.
"""

from collector.model.counts import HOST, NOTHING, UNNUMBERED, TaskCounts
from collector.model.credential import Credential
from collector.model.deleted import DeletedEarly
from collector.model.fork_columns import ForkColumns
from collector.model.ingested import (
    Attribution,
    CheckedBatch,
    CheckedFork,
    CheckedGap,
    CheckedNode,
    CheckedStorm,
    CheckedSummary,
    InsertCounts,
)
from collector.model.query import Filter, ForkQuery, Place, Span
from collector.model.stored import (
    ConflictRow,
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
    PodRow,
    PodRows,
    PointRow,
    Snapshot,
    StormRow,
    StreamConflicts,
    StreamRow,
    TaskRow,
    TimelineRow,
)

__all__ = [
    "HOST",
    "NOTHING",
    "UNNUMBERED",
    "Attribution",
    "CheckedBatch",
    "CheckedFork",
    "CheckedGap",
    "CheckedNode",
    "CheckedStorm",
    "CheckedSummary",
    "ConflictRow",
    "CounterSourceRow",
    "CpuRow",
    "Credential",
    "DeletedEarly",
    "Filter",
    "ForkColumns",
    "ForkQuery",
    "FoundFork",
    "GapRow",
    "HoleRow",
    "InsertCounts",
    "LedgerRows",
    "LossRow",
    "NodeRow",
    "PairRow",
    "ParentRow",
    "Place",
    "PodRow",
    "PodRows",
    "PointRow",
    "Snapshot",
    "Span",
    "StormRow",
    "StreamConflicts",
    "StreamRow",
    "TaskCounts",
    "TaskRow",
    "TimelineRow",
]
