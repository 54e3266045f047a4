"""What is accepted at the bounds of times and counts, and what is refused one beyond them."""

import pytest

from tests.collector.conftest import SECOND, lines_of, stamp

Y2020 = 1_577_836_800 * SECOND
A_MINUTE, TWO_MINUTES = 600_000_000, 1_200_000_000  # forks, at ten million a second


def reasons(event):
    return [reason for _, reason in lines_of(event).refused]


def each_kind(make):
    """Events with nothing counted, since nothing can have been at the earliest time."""
    at = make.now
    node = make.node(1, heads={0: 0})
    node["ledger"]["kernel_workers"] = 0
    return {
        "fork": make.fork(0),
        "summary": make.summary(1, 0),
        "node": node,
        "gap": make.gap(0, 0),
        "storm": make.storm(1, "stop", start=at, end=at, processes=0),
    }


@pytest.mark.parametrize("kind", ["fork", "summary", "node", "gap", "storm"])
def test_a_timestamp_is_refused_until_2020_began(make, kind):
    event = each_kind(make)[kind]
    (reason,) = reasons(event | {"timestamp": stamp(Y2020 - 1)})
    assert reason.startswith("timestamp: ") and "is before 2020" in reason
    assert reasons(event | {"timestamp": stamp(Y2020)}) == []


@pytest.mark.parametrize("kind", ["summary", "node", "gap", "storm"])
def test_an_interval_is_refused_until_2020_began(make, kind):
    event = each_kind(make)[kind]
    (reason,) = reasons(event | {"interval": {"start": stamp(Y2020 - 1), "end": stamp(Y2020)}})
    assert reason.startswith("interval.start: ") and "is before 2020" in reason
    assert reasons(event | {"interval": {"start": stamp(Y2020), "end": stamp(Y2020)}}) == []


@pytest.mark.parametrize(("seconds", "most"), [(1, A_MINUTE), (60, A_MINUTE), (120, TWO_MINUTES)])
@pytest.mark.parametrize("kind", ["summary", "node", "storm"])
def test_ten_million_forks_a_second_are_the_most_of_an_interval(make, kind, seconds, most):
    interval = {"start": stamp(make.now - seconds * SECOND), "end": stamp(make.now)}
    event = each_kind(make)[kind] | {"interval": interval}
    assert reasons(event | {"counts": event["counts"] | {"processes": most}}) == []
    (reason,) = reasons(event | {"counts": event["counts"] | {"processes": most + 1}})
    assert reason == f"counts.processes: {most + 1} is more than any kernel reaches: at most {most} by then"


@pytest.mark.parametrize("kind", ["summary", "node", "storm"])
def test_ten_million_forks_a_second_since_2020_are_the_most_of_a_total(make, kind):
    event, most = each_kind(make)[kind], (make.now - Y2020) // 100
    assert reasons(event | {"totals": event["totals"] | {"processes": most}}) == []
    (reason,) = reasons(event | {"totals": event["totals"] | {"processes": most + 1}})
    assert reason == f"totals.processes: {most + 1} is more than any kernel reaches: at most {most} by then"


def test_a_forks_number_is_bounded_by_its_own_time(make):
    most = (make.now - Y2020) // 100
    assert reasons(make.fork(most, at=make.now, pid=1) | {"child_ns_pid": 1}) == []
    (reason,) = reasons(make.fork(most + 1, at=make.now, pid=1) | {"child_ns_pid": 1})
    assert reason == f"id: sequence: {most + 1} is more than any kernel reaches: at most {most} by then"


@pytest.mark.parametrize("kind", ["summary", "node", "storm"])
@pytest.mark.parametrize("name", ["counts", "totals"])
def test_counts_that_are_absent_are_named_as_such(make, kind, name):
    event = each_kind(make)[kind]
    del event[name]
    assert reasons(event) == [f"{name}: None is not an object"]
