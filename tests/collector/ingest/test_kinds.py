"""What a line may hold: the contract passes unchanged, everything else gets a reason and harms no one."""

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.ingest.lines import TooManyLines, check_lines
from collector.model.fork_columns import unpack
from wire.events import KINDS, Fork

MAX_LINE, MAX_LINES = 256 * 1024, 1000
awkward = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    st.sampled_from(["\0", "x" * 10_000, "\u202e", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00.5Z", "\U000e0001"]),
)
trees = st.recursive(
    awkward, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def checked(*lines):
    return check_lines(b"\n".join(lines), MAX_LINE, MAX_LINES)


def reason(line):
    """Why a line is refused; the lines beside it must not be."""
    found = checked(line if isinstance(line, bytes) else orjson.dumps(line))
    assert len(found.refused) == 1 and len(found) == 1
    assert len(found.refused[0][1]) < 400
    return found.refused[0][1]


def paths(value, at=()):
    """Every place in a JSON value."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*at, key)
        yield from paths(inner, (*at, key))


def put(event, path, value):
    for key in path[:-1]:
        event = event[key]
    event[path[-1]] = value


def test_every_kind_of_the_contract_is_accepted(make):
    found = checked(*(orjson.dumps(make.example(kind)) for kind in KINDS))
    assert found.refused == []
    kinds = (found.forks, found.summaries, found.nodes, found.gaps, found.storms)
    assert [len(kind) for kind in kinds] == [1, 1, 1, 1, 1]


def test_a_batch_has_the_size_of_its_unpacked_body(make):
    body = orjson.dumps(make.fork(1)) + b"\nno event\n"
    assert check_lines(body, 10**6, 10).size == len(body)


def as_sent(fork):
    body = orjson.loads(fork.attribution.body)
    return unpack(fork.stream, fork.cpu, fork.sequence, fork.time, fork.columns, body)


def test_a_fork_is_kept_as_it_was_sent_with_every_key_of_the_contract(make):
    sent = make.example("sched_process_fork")
    (fork,) = checked(orjson.dumps(sent)).forks
    kept = as_sent(fork)
    assert kept == sent
    assert set(kept) == set(Fork.__annotations__)


def test_annotations_are_kept_where_an_operator_asked_for_some(make):
    sent = make.example("sched_process_fork")
    sent["k8s"]["annotations"] = {"team.example/owner": "shop\u202e"}
    (fork,) = checked(orjson.dumps(sent)).forks
    assert orjson.loads(fork.attribution.body)["k8s"] == sent["k8s"]
    for wrong in ([], {"a": 1}, {"a": "x" * 2049}, {str(n): "" for n in range(65)}):
        sent["k8s"]["annotations"] = wrong
        assert "k8s.annotations" in reason(sent)


def test_events_with_equal_attributions_share_one_object(make):
    one, two, other = checked(*(orjson.dumps(event) for event in (make.fork(1), make.fork(2), make.fork(3, pod="web")))).forks
    assert one.attribution is two.attribution is not other.attribution


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_any_place_is_accepted_or_refused_with_a_reason(make, kind, data):
    event = make.example(kind)
    put(event, data.draw(st.sampled_from(list(paths(event)))), data.draw(trees))
    good = orjson.dumps(make.fork(7))
    found = checked(good, orjson.dumps(event), good)
    assert len(found) == 3
    assert [number for number, _ in found.refused] in ([], [1])
    assert all(why and why.isascii() and len(why) < 400 for _, why in found.refused)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_lines_that_are_counted(noise):
    assert len(check_lines(noise, MAX_LINE, MAX_LINES)) == (0 if not noise else noise.removesuffix(b"\n").count(b"\n") + 1)


@pytest.mark.parametrize(
    ("path", "value", "says_why"),
    [
        (("child_pid",), "7", "child_pid: '7' is not a whole number of 32 bits"),
        (("child_pid",), True, "child_pid: True"),
        (("child_pid",), 1.0, "child_pid: 1.0"),
        (("uid",), -1, "uid: -1"),
        (("child_ns_pids",), list(range(33)), "child_ns_pids: 33 items, at most 32"),
        (("child_ns_pids",), 7, "child_ns_pids: 7 is not an array"),
        (("k8s", "pod"), "x" * 10_000, "k8s.pod: 10000 characters, at most 253"),
        (("k8s", "pod"), "a\0b", r"k8s.pod: 'a\x00b' holds a NUL"),
        (("k8s", "cluster"), None, "k8s.cluster: None is not text"),
        (("k8s", "labels"), {"a": 1}, "k8s.labels: 1 is not text"),
        (("k8s",), None, "k8s: None is not an object"),
        (("comm",), "x" * 65, "comm: 65 characters"),
        (("cgroup", "id"), 2**63, "cgroup.id: 9223372036854775808"),
        (("timestamp",), "2026-02-29T00:00:00Z", "timestamp: '2026-02-29T00:00:00Z' is on no calendar"),
        (("timestamp",), "yesterday", "timestamp: 'yesterday' is not a time"),
        (("start_time",), "2026-11-22 19:48:30", "start_time"),
        (("kind",), "fibre", "kind: 'fibre' is none of process, thread"),
        (("process_entity_id",), "44745A63F5162050", "process_entity_id"),
        (("enrichment", "state"), "guessed", "enrichment.state: 'guessed' is none of"),
        (("event",), "fork_flood", "'fork_flood' is a kind that this collector does not know; it knows sched_process_fork"),
        (("event",), ["sched_process_fork"], "a kind that this collector does not know"),
        (("id",), "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68.0.9999999999999999999", "over 63 bits"),
        (("id",), "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68.8192.1", "8192 is not the number of a CPU"),
        (("id",), "GGc846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68.0.1", "not a fork"),
        (("id",), "17", "not a fork"),
    ],
)
def test_a_refusal_names_the_wrong_field(make, path, value, says_why):
    event = make.example("sched_process_fork")
    put(event, path, value)
    assert says_why in reason(event)


@pytest.mark.parametrize(
    ("kind", "path", "value", "says_why"),
    [
        ("fork_storm", ("phase",), "paused", "phase: 'paused' is none of start, stop"),
        ("fork_storm", ("storm",), True, "storm: True is not a whole number"),
        ("fork_storm", ("limit",), -1, "limit: -1"),
        ("fork_storm", ("hold_s",), 0.5, "hold_s: 0.5"),
        ("fork_storm", ("cgroup",), None, "cgroup: a storm is of a pod"),
        ("fork_storm", ("interval", "end"), "1999-01-01T00:00:00Z", "interval: ends before it starts"),
        ("fork_storm", ("counts", "suppressed"), 2**53, "counts.suppressed: 9007199254740992"),
        ("fork_storm", ("totals",), [], "totals: 'list' is not an object"),
        ("gap", ("count",), 2**53, "count: 9007199254740992"),
        ("gap", ("sink",), "", "sink: is empty"),
        ("node_summary", ("heads", "007"), 1, "heads: '007' is not the number of a CPU"),
        ("node_summary", ("heads", "8192"), 1, "heads: '8192' is not the number of a CPU"),
        ("node_summary", ("heads", "0"), 2**53, "heads.0: 9007199254740992"),
    ],
)
def test_a_refusal_names_the_wrong_field_of_other_kinds(make, kind, path, value, says_why):
    event = make.example(kind)
    put(event, path, value)
    assert says_why in reason(event)


@pytest.mark.parametrize(
    ("line", "says_why"),
    [
        (b"[]", "a line is one JSON object, not 'list'"),
        (b"nonsense", "not JSON"),
        (b"", "an empty line"),
        (b'{"event": NaN}', "not JSON"),
        (b'{"event": "\\ud800"}', "not JSON"),
        (b'{"event": "\xff"}', "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b" " * (MAX_LINE + 1), "bytes, at most"),
    ],
)
def test_a_line_that_is_no_event_is_refused(line, says_why):
    assert says_why in reason(line + b"\n")


def test_a_label_nested_too_deeply_is_refused(make):
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    assert "nested too deeply" in reason(
        orjson.dumps(make.fork(1)).replace(b'"labels":{', b'"labels":{"deep":' + deep + b",", 1)
    )


def test_unknown_fields_are_dropped_and_missing_ones_are_unknown(make):
    newer, older = make.fork(1), make.fork(2)
    newer["exit_code"] = {"deep": [1, 2, 3]}
    del older["parent_cgroup"], older["leader_start_time"], older["clone"]
    found = checked(orjson.dumps(newer), orjson.dumps(older))
    assert found.refused == []
    assert "exit_code" not in as_sent(found.forks[0])
    assert as_sent(found.forks[1])["leader_start_time"] is None


def test_times_keep_their_nanoseconds(make):
    event = make.fork(1)
    for text, nanoseconds in (
        ("2026-11-22T19:48:30.118291004Z", 118291004),
        ("2026-11-22T19:48:30.5Z", 500000000),
        ("2026-11-22T19:48:30Z", 0),
    ):
        event["timestamp"] = text
        (fork,) = checked(orjson.dumps(event)).forks
        assert fork.time == 1795376910 * 10**9 + nanoseconds


def test_a_batch_of_too_many_lines_is_refused_before_it_is_read():
    with pytest.raises(TooManyLines):
        check_lines(b"\n" * (MAX_LINES + 1), MAX_LINE, MAX_LINES)
    assert len(check_lines(b"\n" * MAX_LINES, MAX_LINE, MAX_LINES)) == MAX_LINES
