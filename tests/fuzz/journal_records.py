"""Records that an agent of any version, or a damaged disk, left in the journal. The first byte chooses the kind."""

from typing import Any

from agent import state_records
from agent.state_records import RecordError
from tests.agent import test_state_records

COVERS = ["agent.state_records.*"]
KINDS: list[Any] = [
    state_records.CgroupRecord, state_records.ClockRecord, state_records.GapsRecord, state_records.OpenBatchRecord,
    state_records.PodRecord, state_records.PositionRecord, state_records.ReportedRecord, state_records.SinkFormatRecord,
    state_records.WaitingForkRecord,
]  # fmt: skip
WRITTEN: Any = test_state_records.WRITTEN_BY_0_1
SEEDS = [bytes([KINDS.index(type(record))]) + raw for written, record in WRITTEN for raw in (written, record.encode())]


def check(data):
    kind = KINDS[data[0] % len(KINDS)] if data else KINDS[0]
    try:
        record = kind.decode(bytes(data[1:]))
    except RecordError as error:
        assert str(error).isprintable() and len(str(error)) < 500
    else:
        assert kind.decode(record.encode()).encode() == record.encode()
