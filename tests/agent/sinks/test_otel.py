"""An item is what the official protobuf classes make of the same event, however hostile; and what is left out is nowhere."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Attribution, Container, Task
from agent.sinks.encoders.otel import OtelEncoder
from tests.agent.sinks.natives import STREAM, own_events
from tests.agent.sinks.nouns import a_fork, a_parent_context, a_pod, a_task, forks
from tests.agent.sinks.plain_otel import NAMES, body_of, expected, expected_of, nanoseconds, parsed, same, told

EXAMPLES = json.loads((Path(__file__).parents[3] / "wire/examples.json").read_text())


@pytest.fixture
def encoder():
    return OtelEncoder("demo", "node1")


@given(forks())
def test_a_fork_is_what_the_official_classes_make_of_it(fork):
    (item,) = OtelEncoder("demo", "node1").forks(STREAM, [fork])
    assert same(item, expected_of(fork))


@given(st.lists(forks(), max_size=4))
def test_what_is_kept_for_one_fork_is_not_told_of_another(several):
    encoder = OtelEncoder("demo", "node1")
    for _ in range(2):
        items = encoder.forks(STREAM, several)
        assert [same(item, expected_of(fork)) for item, fork in zip(items, several, strict=True)] == [True] * len(several)


EDGES = [0, 1, 127, 128, 16383, 16384, 2097151, 2097152, 4194304, 2**28 - 1, 2**28, 2**32 - 2]


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("pid", EDGES)
def test_a_number_is_right_however_many_bytes_it_takes(encoder, pid, thread, levels):
    for ns_pid in EDGES:
        child = Task(pid ^ 1 if thread else pid, ns_pid ^ 1 if thread else ns_pid, pid, ns_pid, 10**18, "00000000000000ff")
        leader = a_task(pid, 10**17) if thread else None
        chain = (child.tid, child.ns_tid)[:levels]
        fork = a_fork(child=child, chain=chain, levels=levels, thread=thread, parent_context=a_parent_context(leader=leader))
        assert same(encoder.forks(STREAM, [fork])[0], expected_of(fork))


def test_a_number_is_taken_for_another_only_where_it_is_the_same(encoder):
    for tid, ns_tid in ((50, 6), (60, 5), (50, 5), (60, 6)):
        fork = a_fork(child=Task(tid, ns_tid, 50, 5, 10**18, "00000000000000ff"), chain=(tid, ns_tid))
        assert same(encoder.forks(STREAM, [fork])[0], expected_of(fork))


@given(own_events())
def test_an_event_of_the_agents_own_is_what_the_official_classes_make_of_it(event):
    assert same(OtelEncoder("demo", "node1").event(event), expected(event, body_of(event)))


@pytest.mark.parametrize("example", EXAMPLES, ids=[example["event"] for example in EXAMPLES])
def test_every_kind_of_event_has_its_name_its_severity_and_its_id(encoder, example):
    if example["event"] == "sched_process_fork":
        _, record = parsed(encoder.forks(STREAM, [a_fork()])[0])
    else:
        _, record = parsed(encoder.event(example))
        assert told(record)["log.record.uid"] == example["id"]
    assert (record.event_name, record.severity_number, record.severity_text) == NAMES[example["event"]]
    assert told(record)["forklore.event"] == example["event"]
    assert record.body.string_value


def test_the_agents_own_time_is_utc_wherever_the_node_is(encoder, monkeypatch):
    summary = next(example for example in EXAMPLES if example["event"] == "fork_summary")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    assert parsed(encoder.event(summary))[1].time_unix_nano == nanoseconds(summary["timestamp"])
    monkeypatch.undo()
    time.tzset()


def test_every_kind_of_event_is_among_the_examples():
    assert {example["event"] for example in EXAMPLES} == set(NAMES)


def test_a_summary_has_its_numbers_as_numbers(encoder):
    example = next(example for example in EXAMPLES if example["event"] == "fork_summary")
    named = told(parsed(encoder.event(example))[1])
    assert {name: named[f"forklore.counts.{name}"] for name in example["counts"]} == example["counts"]
    assert {name: named[f"forklore.totals.{name}"] for name in example["totals"]} == example["totals"]


# What is unusual


def test_what_is_unknown_is_absent_and_what_is_none_is_empty(encoder):
    unknown = a_fork(child=Task(50, 1, 50, 1, None, None), parent_context=a_parent_context(clone=None, comm=None, uid=None))
    (_, of_unknown), (_, of_known) = map(parsed, encoder.forks(STREAM, [unknown, a_fork()]))
    names = {
        "process.creation.time",
        "forklore.process_entity_id",
        "forklore.clone",
        "process.executable.name",
        "process.user.id",
    }
    assert not names & set(told(of_unknown))
    assert {name: told(of_known)[name] for name in names} == {
        "process.creation.time": "2001-09-09T01:46:40.000000000Z",
        "forklore.process_entity_id": "0000000000000032",
        "forklore.clone": [],
        "process.executable.name": "sh",
        "process.user.id": 0,
    }


def test_a_thread_was_started_later_than_its_process_was_created(encoder):
    child = Task(51, 51, 50, 50, 2 * 10**18, "00000000000000ff")
    thread = a_fork(child=child, chain=(51, 51), thread=True, parent_context=a_parent_context(leader=a_task(50, 10**18)))
    named = told(parsed(encoder.forks(STREAM, [thread])[0])[1])
    assert (named["process.pid"], named["forklore.child_tid"]) == (50, 51)
    assert (named["process.creation.time"][:4], named["forklore.start_time"][:4]) == ("2001", "2033")


def test_a_number_beyond_otlps_is_told_in_words_and_never_wrong(encoder):
    forks = [a_fork(attribution=Attribution(cgroup, "/p", "host", None)) for cgroup in (2**63 - 1, 2**63, 2**64 - 1)]
    cgroups = [told(parsed(item)[1])["forklore.cgroup.id"] for item in encoder.forks(STREAM, forks)]
    assert cgroups == [2**63 - 1, str(2**63), str(2**64 - 1)]


def test_a_clock_that_was_set_to_nonsense_gives_the_nearest_time_there_is(encoder):
    items = encoder.forks(STREAM, [a_fork(time=moment) for moment in (-1, 0, 2**63 - 1, 2**63, 2**70)])
    assert [parsed(item)[1].time_unix_nano for item in items] == [0, 0, 2**63 - 1, 2**63 - 1, 2**63 - 1]
    (summary,) = (example for example in EXAMPLES if example["event"] == "node_summary")
    late = encoder.event({**summary, "timestamp": "9999-12-31T23:59:59.999999999Z"})
    assert parsed(late)[1].time_unix_nano == 2**63 - 1


def test_a_comm_can_neither_end_the_line_nor_move_the_cursor_and_is_told_as_it_is_beside_it(encoder):
    comm = "x\n\x1b[2Jroot\u202e"
    record = parsed(encoder.forks(STREAM, [a_fork(parent_context=a_parent_context(parent_comm=comm, comm=comm))])[0])[1]
    assert record.body.string_value == "x\\n\\x1b[2Jroot\\u202e (40) forked 50 on node1"
    assert told(record)["process.executable.name"] == told(record)["forklore.parent_comm"] == comm


@given(own_events())
def test_no_body_can_end_the_line_or_move_the_cursor(event):
    assert parsed(OtelEncoder("demo", "node1").event(event))[1].body.string_value.isprintable()


def test_what_is_not_utf8_and_was_overlooked_does_not_spoil_the_body(encoder):
    surrogate = "/p\udcff"
    (item,) = encoder.forks(STREAM, [a_fork(attribution=Attribution(7, surrogate, "host", None))])
    assert told(parsed(item)[1])["forklore.cgroup.path"] == "/p?"


# What an operator leaves out


def test_what_is_left_out_is_nowhere_and_all_else_is_as_it_was():
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
        for one, other in zip(parsed(before), parsed(after), strict=True):
            assert told(other) == {name: value for name, value in told(one).items() if name not in left_out}
        assert not parsed(after)[1].HasField("body")
    before, after = whole.event(summary), partial.event(summary)
    assert told(parsed(before)[1]).keys() - told(parsed(after)[1]).keys() == {
        "forklore.cgroup.path",
        "forklore.counts.lost",
    }


def test_an_id_can_not_be_left_out():
    encoder = OtelEncoder("demo", "node1", ["log.record.uid"])
    summary = next(example for example in EXAMPLES if example["event"] == "fork_summary")
    for item in (encoder.forks(STREAM, [a_fork()])[0], encoder.event(summary)):
        assert "log.record.uid" in told(parsed(item)[1])
