"""A fork comes out of its columns as it was sent, whatever rule it breaks."""

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collector.model.fork_columns import unpack
from tests.collector.conftest import lines_of

SMALL = st.none() | st.integers(0, 3) | st.just(2**32 - 1)
TIMES = st.none() | st.sampled_from(
    ["2026-11-22T19:48:30.118291004Z", "2026-11-22T19:48:30Z", "2026-11-22T19:48:30.1Z", "1970-01-01T00:00:00.000000000Z",
     "2261-12-31T23:59:59.999999999Z"]
)  # fmt: skip
WORDS = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
PARTS = {
    **{f"{task}_{part}": SMALL
       for task in ("parent", "child", "parent_process", "leader") for part in ("tid", "ns_tid", "pid", "ns_pid")},
    **dict.fromkeys(("parent_start_time", "start_time", "parent_process_start_time", "leader_start_time"), TIMES),
    "timestamp": TIMES.filter(lambda time: time and time > "2020"),
    "kind": st.sampled_from(["process", "thread"]),
    "comm": WORDS,
    "parent_comm": WORDS,
    "uid": SMALL,
    "child_ns_pids": st.lists(SMALL, max_size=4),
    "process_entity_id": st.none() | st.sampled_from(["0" * 16, "f" * 16]),
    "parent_entity_id": st.none() | st.sampled_from(["0" * 16, "f" * 16]),
}  # fmt: skip


def through(event):
    (fork,) = lines_of(event).forks
    body = orjson.loads(fork.attribution.body)
    return unpack(fork.stream, fork.cpu, fork.sequence, fork.time, fork.columns, body), fork.columns


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(changed=st.dictionaries(st.sampled_from(sorted(PARTS)), st.none(), max_size=12), data=st.data())
@example(changed={}, data=None)
def test_every_fork_comes_out_as_it_was_sent(make, changed, data):
    event = make.fork(1) | {name: data.draw(PARTS[name], name) for name in changed}
    assert through(event)[0] == event


def ordinary(make):
    """A fork that breaks no rule."""
    event = make.fork(1)
    event |= dict.fromkeys(("child_tid", "leader_tid", "leader_pid"), event["child_pid"])
    event |= dict.fromkeys(("child_ns_tid", "leader_ns_tid", "leader_ns_pid"), event["child_ns_pid"])
    event["child_ns_pids"] = [event["child_pid"], event["child_ns_pid"]]
    return event


@pytest.mark.parametrize("host", [False, True])
def test_an_ordinary_fork_needs_no_exception(make, host):
    event = ordinary(make)
    if host:
        event = make.host(event) | {
            key: event["child_pid"] for key in event if key.startswith(("child_ns_", "leader_ns_")) and key.endswith("id")
        }
        event["child_ns_pids"] = [event["child_pid"]]
    back, row = through(event)
    assert back == event
    assert row.rest == b""


TIME_NAMES = ("timestamp", "parent_start_time", "start_time", "parent_process_start_time", "leader_start_time")
ODD = {
    **dict.fromkeys(PARTS, (None, 0, 3)),
    **dict.fromkeys(TIME_NAMES, (None, "2026-11-22T19:48:30Z", "2026-11-22T19:48:30.1Z", "1970-01-01T00:00:00.000000000Z")),
    "timestamp": ("2026-11-22T19:48:30Z", "2026-11-22T19:48:30.1Z"),
    **dict.fromkeys(("comm", "parent_comm"), (None, "", "odd")),
    **dict.fromkeys(("process_entity_id", "parent_entity_id"), (None, "0" * 16)),
    "kind": ("process", "thread"),
    "child_ns_pids": ([], [1], [1, 2, 3]),
}


@pytest.mark.parametrize("name", sorted(ODD))
def test_a_fork_that_breaks_one_rule_comes_out_as_it_was_sent(make, name):
    twins = {"start_time": "leader_start_time", "parent_start_time": "parent_process_start_time"}
    for value in ODD[name]:
        if name == "timestamp" and value is None:
            continue
        for together in (False, True):
            event = ordinary(make) | {name: value} | ({twins[name]: value} if together and name in twins else {})
            assert through(event)[0] == event
