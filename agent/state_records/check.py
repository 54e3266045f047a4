"""Whether this agent can read what the one before left: all of it, before any of it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from agent.state_records import tables
from agent.state_records.attribution import CgroupRecord, ClockRecord, KubeletRootRecord, PodRecord
from agent.state_records.forks import OpenBatchRecord, PositionRecord, SinkFormatRecord, WaitingForkRecord
from agent.state_records.reported import GapsRecord, ReportedRecord
from agent.state_records.versions import RecordError

__all__ = ["unreadable_record"]

_DECODERS: Final[Mapping[str, Callable[[bytes], object]]] = {
    tables.POSITIONS: PositionRecord.decode,
    tables.REPORTED: ReportedRecord.decode,
    tables.CGROUPS: CgroupRecord.decode,
    tables.KUBELET_ROOT: KubeletRootRecord.decode,
    tables.PODS: PodRecord.decode,
    tables.CLOCK: ClockRecord.decode,
    tables.SINK_FORMATS: SinkFormatRecord.decode,
    tables.OPEN_BATCHES: OpenBatchRecord.decode,
    tables.GAPS: GapsRecord.decode,
}


def unreadable_record(state_tables: Mapping[str, Mapping[int | str, bytes]]) -> str | None:
    """The first record that raises RecordError: its table and key, and why. A table that is not known is a later version's, and
    is not used."""
    for name, records in state_tables.items():
        decode = WaitingForkRecord.decode if name.startswith(tables.WAITING) else _DECODERS.get(name)
        if decode is None:
            continue
        for key, raw in records.items():
            try:
                decode(raw)
            except RecordError as error:
                return f"{name}, {key}: {error}"
    return None
