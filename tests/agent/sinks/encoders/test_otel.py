"""An item is equal to the official protobuf classes' encoding of the same event; left out attributes are nowhere."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Attribution, Container, Task
from agent.sinks.encoders.otel import OtelEncoder
from tests.agent.sinks.encoders.native_events import STREAM, agent_events
from tests.agent.sinks.encoders.plain_otel import (
    NAMES,
    attributes_of,
    expected,
    expected_body,
    expected_fork,
    nanoseconds,
    parse_item,
    same,
)
from tests.agent.sinks.model_strategies import a_fork, a_parent_context, a_pod, a_task, forks

EXAMPLES = json.loads((Path(__file__).parents[4] / "wire/examples.json").read_text())


@pytest.fixture
def encoder():
    return OtelEncoder("demo", "node1")


@given(forks())
def test_a_fork_is_equal_to_the_official_classes_encoding(fork):
    (item,) = OtelEncoder("demo", "node1").forks(STREAM, [fork])
    assert same(item, expected_fork(fork))


@given(st.lists(forks(), max_size=4))
def test_cached_fragments_do_not_leak_into_other_forks(several):
    encoder = OtelEncoder("demo", "node1")
    for _ in range(2):
        items = encoder.forks(STREAM, several)
        assert [same(item, expected_fork(fork)) for item, fork in zip(items, several, strict=True)] == [True] * len(several)


EDGES = [0, 1, 127, 128, 16383, 16384, 2097151, 2097152, 4194304, 2**28 - 1, 2**28, 2**32 - 2]


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("pid", EDGES)
def test_numbers_of_all_lengths_are_encoded(encoder, pid, thread, levels):
    for ns_pid in EDGES:
        child = Task(pid ^ 1 if thread else pid, ns_pid ^ 1 if thread else ns_pid, pid, ns_pid, 10**18, "00000000000000ff")
        leader = a_task(pid, 10**17) if thread else None
        chain = (child.tid, child.ns_tid)[:levels]
        fork = a_fork(child=child, chain=chain, levels=levels, thread=thread, parent_context=a_parent_context(leader=leader))
        assert same(encoder.forks(STREAM, [fork])[0], expected_fork(fork))


def test_tid_and_pid_share_an_encoding_only_when_they_are_equal(encoder):
    for tid, ns_tid in ((50, 6), (60, 5), (50, 5), (60, 6)):
        fork = a_fork(child=Task(tid, ns_tid, 50, 5, 10**18, "00000000000000ff"), chain=(tid, ns_tid))
        assert same(encoder.forks(STREAM, [fork])[0], expected_fork(fork))


@given(agent_events())
def test_an_agent_event_is_equal_to_the_official_classes_encoding(event):
    assert same(OtelEncoder("demo", "node1").event(event), expected(event, expected_body(event)))


@pytest.mark.parametrize("example", EXAMPLES, ids=[example["event"] for example in EXAMPLES])
def test_every_kind_of_event_has_its_name_its_severity_and_its_id(encoder, example):
    if example["event"] == "sched_process_fork":
        _, record = parse_item(encoder.forks(STREAM, [a_fork()])[0])
    else:
        _, record = parse_item(encoder.event(example))
        assert attributes_of(record)["log.record.uid"] == example["id"]
    assert (record.event_name, record.severity_number, record.severity_text) == NAMES[example["event"]]
    assert attributes_of(record)["forklore.event"] == example["event"]
    assert record.body.string_value


def test_an_agent_events_time_is_utc_in_every_time_zone(encoder, monkeypatch):
    summary = next(example for example in EXAMPLES if example["event"] == "fork_summary")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    assert parse_item(encoder.event(summary))[1].time_unix_nano == nanoseconds(summary["timestamp"])
    monkeypatch.undo()
    time.tzset()


def test_every_kind_of_event_is_among_the_examples():
    assert {example["event"] for example in EXAMPLES} == set(NAMES)


def test_a_summary_has_its_numbers_as_numbers(encoder):
    example = next(example for example in EXAMPLES if example["event"] == "fork_summary")
    named = attributes_of(parse_item(encoder.event(example))[1])
    assert {name: named[f"forklore.counts.{name}"] for name in example["counts"]} == example["counts"]
    assert {name: named[f"forklore.totals.{name}"] for name in example["totals"]} == example["totals"]


# Unusual values


def test_unknown_fields_are_absent_and_an_empty_list_is_there(encoder):
    unknown = a_fork(child=Task(50, 1, 50, 1, None, None), parent_context=a_parent_context(clone=None, comm=None, uid=None))
    (_, of_unknown), (_, of_known) = map(parse_item, encoder.forks(STREAM, [unknown, a_fork()]))
    names = {
        "process.creation.time",
        "forklore.process_entity_id",
        "forklore.clone",
        "process.executable.name",
        "process.user.id",
    }
    assert not names & set(attributes_of(of_unknown))
    assert {name: attributes_of(of_known)[name] for name in names} == {
        "process.creation.time": "2001-09-09T01:46:40.000000000Z",
        "forklore.process_entity_id": "0000000000000032",
        "forklore.clone": [],
        "process.executable.name": "sh",
        "process.user.id": 0,
    }


def test_a_thread_was_started_later_than_its_process_was_created(encoder):
    child = Task(51, 51, 50, 50, 2 * 10**18, "00000000000000ff")
    thread = a_fork(child=child, chain=(51, 51), thread=True, parent_context=a_parent_context(leader=a_task(50, 10**18)))
    named = attributes_of(parse_item(encoder.forks(STREAM, [thread])[0])[1])
    assert (named["process.pid"], named["forklore.child_tid"]) == (50, 51)
    assert (named["process.creation.time"][:4], named["forklore.start_time"][:4]) == ("2001", "2033")


def test_a_number_beyond_int64_is_a_string(encoder):
    forks = [a_fork(attribution=Attribution(cgroup, "/p", "host", None)) for cgroup in (2**63 - 1, 2**63, 2**64 - 1)]
    cgroups = [attributes_of(parse_item(item)[1])["forklore.cgroup.id"] for item in encoder.forks(STREAM, forks)]
    assert cgroups == [2**63 - 1, str(2**63), str(2**64 - 1)]


def test_a_time_out_of_range_is_the_nearest_valid_one(encoder):
    items = encoder.forks(STREAM, [a_fork(time=moment) for moment in (-1, 0, 2**63 - 1, 2**63, 2**70)])
    assert [parse_item(item)[1].time_unix_nano for item in items] == [0, 0, 2**63 - 1, 2**63 - 1, 2**63 - 1]
    (summary,) = (example for example in EXAMPLES if example["event"] == "node_summary")
    late = encoder.event({**summary, "timestamp": "9999-12-31T23:59:59.999999999Z"})
    assert parse_item(late)[1].time_unix_nano == 2**63 - 1


def test_a_comm_is_escaped_in_the_body_and_unchanged_in_the_attribute(encoder):
    comm = "x\n\x1b[2Jroot\u202e"
    record = parse_item(encoder.forks(STREAM, [a_fork(parent_context=a_parent_context(parent_comm=comm, comm=comm))])[0])[1]
    assert record.body.string_value == "x\\n\\x1b[2Jroot\\u202e (40) forked 50 on node1"
    assert attributes_of(record)["process.executable.name"] == attributes_of(record)["forklore.parent_comm"] == comm


@given(agent_events())
def test_every_body_is_printable(event):
    assert parse_item(OtelEncoder("demo", "node1").event(event))[1].body.string_value.isprintable()


def test_invalid_unicode_is_replaced_in_the_item(encoder):
    surrogate = "/p\udcff"
    (item,) = encoder.forks(STREAM, [a_fork(attribution=Attribution(7, surrogate, "host", None))])
    assert attributes_of(parse_item(item)[1])["forklore.cgroup.path"] == "/p?"


# Left out attributes


def test_left_out_attributes_are_nowhere_and_the_others_unchanged():
    left_out = {
        "body", "process.pid", "forklore.child_ns_pids", "process.executable.name", "forklore.parent_comm", "k8s.pod.label.app",
        "forklore.cgroup.path", "forklore.kind", "process.creation.time", "forklore.counts.lost",
    }  # fmt: skip
    attribution = Attribution(7, "/p", "resolved", "status", "u", a_pod(), Container("7b", "app"))
    unusual = a_fork(attribution=attribution, chain=(50, 60, 70), levels=3)
    threads = a_fork(attribution=attribution, thread=True, parent_context=a_parent_context(leader=a_task(49)))
    summary = next(example for example in EXAMPLES if example["event"] == "fork_summary")
    whole, partial = OtelEncoder("demo", "node1"), OtelEncoder("demo", "node1", left_out)
    for fork in (a_fork(attribution=attribution), a_fork(attribution=attribution, chain=(50,), levels=1), unusual, threads):
        (before,), (after,) = whole.forks(STREAM, [fork]), partial.forks(STREAM, [fork])
        for one, other in zip(parse_item(before), parse_item(after), strict=True):
            assert attributes_of(other) == {name: value for name, value in attributes_of(one).items() if name not in left_out}
        assert not parse_item(after)[1].HasField("body")
    before, after = whole.event(summary), partial.event(summary)
    assert attributes_of(parse_item(before)[1]).keys() - attributes_of(parse_item(after)[1]).keys() == {
        "forklore.cgroup.path",
        "forklore.counts.lost",
    }


def test_the_id_is_never_left_out():
    encoder = OtelEncoder("demo", "node1", ["log.record.uid"])
    summary = next(example for example in EXAMPLES if example["event"] == "fork_summary")
    for item in (encoder.forks(STREAM, [a_fork()])[0], encoder.event(summary)):
        assert "log.record.uid" in attributes_of(parse_item(item)[1])
