"""The records that one agent leaves to the next. The bytes in this file are what release 0.1 wrote."""

from array import array

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Container, Pod
from agent.state_records import (
    CgroupRecord,
    ClockRecord,
    CountedRecord,
    OpenBatchRecord,
    PodRecord,
    PositionRecord,
    RecordError,
    ReportedRecord,
    SinkFormatRecord,
    StormRecord,
    StormsRecord,
    SummariesRecord,
    WaitingForkRecord,
)

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
COUNTERS = (5, 1, 4, 1, 0, 1, 2)
SUMMARIES = SummariesRecord(
    reported={-1: COUNTERS, 11: (1, 0, 1, 0, 0, 0, 0)},
    keys={1: -1, 11: 11},
    removed=(3, 0, 3, 0, 0, 0, 0),
    removed_of_host=(2, 0, 2, 0, 0, 0, 0),
    retired={12: (1, 0, 1, 0, 0, 0, 0)},
    gaps={("-", "ring_full", 11): 1, ("siem", "journal_full", 0xFFFFFFFFFFFFFFFF): 7},
    number=1764000000,
)
SUMMARIES_0_1 = (
    b'{"said":[[-1,[5,1,4,1,0,1,2]],[11,[1,0,1,0,0,0,0]]],"keys":[[1,-1],[11,11]],'
    b'"forgotten":[[3,0,3,0,0,0,0],[2,0,2,0,0,0,0]],"retired":[[12,[1,0,1,0,0,0,0]]],'
    b'"told":[["-","ring_full",11,1],["siem","journal_full",18446744073709551615,7]],"number":1764000000}'
)
STORMS = StormsRecord(2, {4: StormRecord(2, 77, "t0", COUNTERS)}, {5: 66}, {4: ("t1", COUNTERS)})
STORMS_0_1 = (
    b'{"begun":2,"on":[[4,{"number":2,"since":77,"start":"t0","before":[5,1,4,1,0,1,2]}]],"ended":[[5,66]],'
    b'"looked":[[4,"t1",[5,1,4,1,0,1,2]]]}'
)
POD = Pod(
    "uid",
    "shop",
    "cart",
    frozenset(["uid", "other"]),
    {"app": "cart"},
    ("Deployment", "cart"),
    "default",
    "Burstable",
    {"7b": Container("7b", "app", "busybox", None, "app", "containerd")},
    {"team": "shop"},
    "kata",
)
POD_0_1 = (
    b'{"pod":{"uid":"uid","namespace":"shop","name":"cart","aliases":["other","uid"],"labels":{"app":"cart"},'
    b'"workload":["Deployment","cart"],"service_account":"default","qos":"Burstable","containers":{"7b":{"id":"7b",'
    b'"name":"app","image":"busybox","image_id":null,"kind":"app","runtime":"containerd"}},'
    b'"annotations":{"team":"shop"},"runtime_class":"kata"},"gone":true}'
)
WAITING_0_1 = b"\x64\0\0\0\0\0\0\0" + b"\x05\0\0\0\0\0\0\0" + b"\x01" + b"raw"
OPEN_BATCH_0_1 = (
    b"\0\0\0\0\0\0\xf8\x3f" + STREAM.encode() + bytes(11) + b"\x02\0\0\0" + b"\x07\0\0\0\0\0\0\0" + b"\xff" * 8 + b"{}\n{}\n"
)
WRITTEN_BY_0_1 = [
    (b'{"forks":4096,"changes":1024,"received":16}', PositionRecord(4096, 1024, 16)),
    (WAITING_0_1, WaitingForkRecord(100, 5, True, b"raw")),
    (
        b'{"interval_start":"t0","summaries":' + SUMMARIES_0_1 + b',"storms":' + STORMS_0_1 + b","
        b'"snapshot":{"proc_stat":100,"emitted":50,"unseen":3}}',
        ReportedRecord("t0", SUMMARIES, STORMS, CountedRecord(100, 50, 3)),
    ),
    (
        b'{"interval_start":"t0","summaries":' + SUMMARIES_0_1 + b',"storms":' + STORMS_0_1 + b","
        b'"snapshot":{"proc_stat":100,"emitted":0}}',
        ReportedRecord("t0", SUMMARIES, STORMS, CountedRecord(100, 0)),
    ),
    (
        b'{"interval_start":"t0","summaries":' + SUMMARIES_0_1 + b',"storms":null,"snapshot":null}',
        ReportedRecord("t0", SUMMARIES),
    ),
    (b'["/kubepods/pod1",100,null,3]', CgroupRecord("/kubepods/pod1", 100, None, 3)),
    (b'["/kubepods/pod1",0,200,3]', CgroupRecord("/kubepods/pod1", 0, 200, 3)),
    (POD_0_1, PodRecord(POD, True)),
    (b"[[0, 100], [1764000000000000000, 1764000001000000000]]", ClockRecord([0, 100], [1764 * 10**15, 1764000001 * 10**9])),
    (b"http native lines gzip", SinkFormatRecord("http native lines gzip")),
    (OPEN_BATCH_0_1, OpenBatchRecord(1.5, STREAM, array("Q", [7, 0xFFFFFFFFFFFFFFFF]), b"{}\n{}\n")),
]
NAMES = [type(record).__name__ for _, record in WRITTEN_BY_0_1]


@pytest.mark.parametrize(("written", "record"), WRITTEN_BY_0_1, ids=NAMES)
def test_what_release_0_1_wrote_is_read(written, record):
    assert type(record).decode(written) == record


@pytest.mark.parametrize(("_written", "record"), WRITTEN_BY_0_1, ids=NAMES)
def test_what_is_encoded_is_decoded_to_the_same_record(_written, record):
    assert type(record).decode(record.encode()) == record


@pytest.mark.parametrize(("written", "record"), WRITTEN_BY_0_1, ids=NAMES)
def test_release_0_1_can_read_what_is_written_now(written, record):
    """A rollback: the same fields, and at most a version beside them."""
    try:
        before, now = orjson.loads(written), orjson.loads(record.encode())
    except orjson.JSONDecodeError:
        assert record.encode() == written
        return
    if isinstance(now, dict):
        assert now.pop("version") == 1
        if isinstance(record, ReportedRecord) and record.counted:
            before["snapshot"].setdefault("unseen", 0)
    assert now == before


@pytest.mark.parametrize(
    ("record", "written"),
    [
        (PositionRecord, b'{"version":2,"forks":4096,"changes":1024,"received":16}'),
        (ReportedRecord, b'{"version":2}'),
        (PodRecord, b'{"version":2}'),
        (CgroupRecord, b'{"version":2,"path":"/"}'),
        (ClockRecord, b'{"version":2}'),
        (WaitingForkRecord, WAITING_0_1[:16] + b"\x03" + b"raw"),
        (OpenBatchRecord, OPEN_BATCH_0_1[:71] + b"\x01" + OPEN_BATCH_0_1[72:]),
        (PositionRecord, b"{"),
        (WaitingForkRecord, b"short"),
        (OpenBatchRecord, b"short"),
        (OpenBatchRecord, OPEN_BATCH_0_1[:-10]),
        (OpenBatchRecord, OPEN_BATCH_0_1[:8] + b"\xff" + OPEN_BATCH_0_1[9:]),
        (PositionRecord, b"{}"),
        (PodRecord, b'{"pod":{}}'),
        (PodRecord, b'{"pod":null,"gone":false}'),
        (ReportedRecord, b'{"interval_start":"t0","summaries":[],"storms":null,"snapshot":null}'),
    ],
)
def test_a_record_of_a_later_version_and_a_broken_one_are_refused(record, written):
    with pytest.raises(RecordError):
        record.decode(written)


u64 = st.integers(0, 2**64 - 1)


@given(u64, u64, st.booleans(), st.binary())
def test_any_waiting_fork_is_read_as_it_was_written(since, cgroup, attached, raw):
    record = WaitingForkRecord(since, cgroup, attached, raw)
    assert WaitingForkRecord.decode(record.encode()) == record


@given(st.floats(allow_nan=False), st.lists(u64), st.binary())
def test_any_open_batch_is_read_as_it_was_written(opened, cgroups, body):
    record = OpenBatchRecord(opened, STREAM, array("Q", cgroups), body)
    assert OpenBatchRecord.decode(record.encode()) == record
