"""The records that an agent leaves to the next one in the journal's state tables: each with one encoder and one decoder.

VERSION 1 is what release 0.1 wrote. It wrote no version number: a record without one has version 1. JSON objects have it as
`version`, binary records in bits that release 0.1 left 0 (version less 1). A decoder raises RecordError for anything else.
"""

from __future__ import annotations

from typing import Final

from agent.state_records.attribution import CgroupRecord, ClockRecord, KubeletRootRecord, PodRecord
from agent.state_records.forks import OpenBatchRecord, PositionRecord, SinkFormatRecord, WaitingForkRecord
from agent.state_records.reported import (
    CountedRecord,
    GapsRecord,
    ReportedRecord,
    StormRecord,
    StormsRecord,
    SummariesRecord,
)
from agent.state_records.versions import VERSION, RecordError

__all__ = [
    "CGROUPS",
    "CLOCK",
    "GAPS",
    "KUBELET_ROOT",
    "OPEN_BATCHES",
    "PODS",
    "POSITIONS",
    "REPORTED",
    "SINK_FORMATS",
    "VERSION",
    "CgroupRecord",
    "ClockRecord",
    "CountedRecord",
    "GapsRecord",
    "KubeletRootRecord",
    "OpenBatchRecord",
    "PodRecord",
    "PositionRecord",
    "RecordError",
    "ReportedRecord",
    "SinkFormatRecord",
    "StormRecord",
    "StormsRecord",
    "SummariesRecord",
    "WaitingForkRecord",
    "waiting_table",
]

# The state tables, by the names that they have in the file.
POSITIONS: Final = "positions"  # stream -> PositionRecord
REPORTED: Final = "said"  # stream -> ReportedRecord
CGROUPS: Final = "cgroups"  # cgroup id -> CgroupRecord
KUBELET_ROOT: Final = "kubelet root"  # "path" -> KubeletRootRecord
PODS: Final = "pods"  # uid -> PodRecord
CLOCK: Final = "clock"  # boot id -> ClockRecord
SINK_FORMATS: Final = "forms"  # sink -> SinkFormatRecord
OPEN_BATCHES: Final = "open"  # sink -> OpenBatchRecord
GAPS: Final = "gaps"  # sink -> GapsRecord


def waiting_table(stream: str) -> str:
    """A stream's own: number of a fork, rising -> WaitingForkRecord."""
    return f"waiting {stream}"
