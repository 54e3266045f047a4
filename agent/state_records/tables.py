"""The state tables, by the names that they have in the file."""

from __future__ import annotations

from typing import Final

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
    "WAITING",
    "waiting_table",
]

POSITIONS: Final = "positions"  # stream -> PositionRecord
REPORTED: Final = "said"  # stream -> ReportedRecord
CGROUPS: Final = "cgroups"  # cgroup id -> CgroupRecord
KUBELET_ROOT: Final = "kubelet root"  # "path" -> KubeletRootRecord
PODS: Final = "pods"  # uid -> PodRecord
CLOCK: Final = "clock"  # boot id -> ClockRecord
SINK_FORMATS: Final = "forms"  # sink -> SinkFormatRecord
OPEN_BATCHES: Final = "open"  # sink -> OpenBatchRecord
GAPS: Final = "gaps"  # sink -> GapsRecord
WAITING: Final = "waiting "  # and a stream: number of a fork, rising -> WaitingForkRecord


def waiting_table(stream: str) -> str:
    """A stream's own: number of a fork, rising -> WaitingForkRecord."""
    return f"{WAITING}{stream}"
