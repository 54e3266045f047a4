"""The answers of the collector's API: what it returns as JSON, and what the terminal commands read.

`null` means unknown. Times are RFC 3339 UTC with nanoseconds, counts are tasks, rates are forks a second.
`docs/openapi.json` is generated from these shapes and their docstrings.
"""

from __future__ import annotations

from wire.api.answers import Cut, Error, ForkPage, LedgerPage, LostForks, PodList, PodsTick
from wire.api.history import ForkTree, NamePair, PodIdentity, Timeline, TimelineContainer, TimelineCounts, TreeNode
from wire.api.nodes import (
    Account,
    AccountState,
    Conflict,
    Conflicts,
    CpuNumbers,
    DeletedRows,
    LedgerStream,
    MissingNumbers,
    NodeEntry,
    NodeLedger,
    ReportedLedger,
    ReportedSink,
    SinkSums,
)
from wire.api.pods import (
    CommCount,
    ContainerEntry,
    EntryCounts,
    EntryNumbers,
    GapEntry,
    HostEntry,
    OtherPod,
    PodDetail,
    PodEntry,
    StormEntry,
    StormInterval,
    StormState,
)

__all__ = [
    "Account",
    "AccountState",
    "CommCount",
    "Conflict",
    "Conflicts",
    "ContainerEntry",
    "CpuNumbers",
    "Cut",
    "DeletedRows",
    "EntryCounts",
    "EntryNumbers",
    "Error",
    "ForkPage",
    "ForkTree",
    "GapEntry",
    "HostEntry",
    "LedgerPage",
    "LedgerStream",
    "LostForks",
    "MissingNumbers",
    "NamePair",
    "NodeEntry",
    "NodeLedger",
    "OtherPod",
    "PodDetail",
    "PodEntry",
    "PodIdentity",
    "PodList",
    "PodsTick",
    "ReportedLedger",
    "ReportedSink",
    "SinkSums",
    "StormEntry",
    "StormInterval",
    "StormState",
    "Timeline",
    "TimelineContainer",
    "TimelineCounts",
    "TreeNode",
]
