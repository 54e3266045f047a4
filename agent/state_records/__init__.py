"""The records that an agent leaves to the next one in the journal's state tables: each with one encoder and one decoder.

VERSION 1 is what release 0.1 wrote. It wrote no version number: a record without one has version 1. JSON objects have it as
`version`, binary records in bits that release 0.1 left 0 (version less 1). A decoder raises RecordError for anything else;
the journal with such a record is moved aside at the start, as a corrupt one is.
"""

from __future__ import annotations

from agent.state_records.attribution import CgroupRecord, ClockRecord, KubeletRootRecord, PodRecord
from agent.state_records.check import unreadable_record
from agent.state_records.forks import OpenBatchRecord, PositionRecord, SinkFormatRecord, WaitingForkRecord
from agent.state_records.reported import (
    CountedRecord,
    GapsRecord,
    ReportedRecord,
    StormRecord,
    StormsRecord,
    SummariesRecord,
)
from agent.state_records.tables import (
    CGROUPS,
    CLOCK,
    GAPS,
    KUBELET_ROOT,
    OPEN_BATCHES,
    PODS,
    POSITIONS,
    REPORTED,
    SINK_FORMATS,
    waiting_table,
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
    "unreadable_record",
    "waiting_table",
]
