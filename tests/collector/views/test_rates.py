"""Rates: no fork counts twice and none is left out, however the intervals of agents overlap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.model import CounterSourceRow, PointRow, TaskCounts
from collector.views.timeline.rates import POINTS, rate_line, rate_now

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
NOTHING = TaskCounts(0, 0, 0, 0, 0, 0, 0)


def counter_source(one, *, stream=1, cgroup=1, end=NOW, seconds=10, now=0, received=NOW):
    start = None if end is None else end - seconds * SECOND
    counts = NOTHING._replace(processes=now)
    return CounterSourceRow(one, stream, cgroup, 1, "demo", "node1", b"{}", 0, 0, NOW, start, end, received, counts, NOTHING)


def test_a_rate_is_the_sum_over_the_cgroups():
    assert rate_now([counter_source(1, now=23), counter_source(2, cgroup=2, now=10, seconds=5)], NOW) == 2.3 + 2.0


def test_the_last_interval_of_a_replaced_agent_adds_no_rate_to_the_new_agents():
    old = counter_source(1, stream=1, now=100, end=NOW - 10 * SECOND)
    assert rate_now([old, counter_source(2, stream=2, now=100)], NOW) == 10
    assert rate_now([counter_source(2, stream=2, now=100), old], NOW) == 10
    assert rate_now([old, counter_source(2, stream=2, end=None)], NOW) == 10  # the new one has not summed up yet


@pytest.mark.parametrize(
    ("end", "received", "rate"),
    [
        (NOW - 30 * SECOND, NOW, 2.3),
        (NOW - 31 * SECOND, NOW, None),  # a journal that brings old summaries now
        (NOW + 900 * SECOND, NOW - 31 * SECOND, None),  # a clock that runs ahead, and an agent that is gone
        (None, None, None),
    ],
)
def test_a_rate_is_unknown_after_three_intervals_without_a_summary(end, received, rate):
    assert rate_now([counter_source(1, now=23, end=end, received=received)], NOW) == rate


def test_an_idle_pod_has_the_rate_zero_and_not_unknown():
    assert rate_now([counter_source(1, now=0)], NOW) == 0


def point(start, end, processes, one=1):
    """`start`, `end`: seconds before now."""
    return PointRow(one, NOW - start * SECOND, NOW - end * SECOND, processes)


def known(points):
    rates, start, end = rate_line(points, NOW)
    assert len(rates) == POINTS and end - start == POINTS * 10 * SECOND
    return {place: rate for place, rate in enumerate(rates) if rate is not None}


def test_a_line_has_one_rate_for_each_interval_and_none_without_a_summary():
    points = [point((back + 1) * 10, back * 10, 10 * back) for back in (0, 1, 3, 29, 30)]
    assert known(points) == {29: 0.0, 28: 1.0, 26: 3.0, 0: 29.0}
    assert rate_line([], NOW) is None


def test_containers_that_are_summed_up_at_the_same_time_are_added():
    assert known([point(10, 0, 30), point(10, 0, 20, one=2), point(20, 10, 5, one=2)]) == {29: 5.0, 28: 0.5}


def test_intervals_that_overlap_where_one_agent_follows_another_count_once():
    old, new = (
        [point(40, 30, 100), point(30, 23, 70)],
        [point(23, 20, 30, one=2), point(20, 10, 100, one=2), point(10, 0, 100, one=2)],
    )
    assert known(old + new) == {29: 10.0, 28: 10.0, 27: 10.0, 26: 10.0}


def test_a_summary_of_a_whole_minute_is_spread_over_the_minute():
    points = [point(10, 0, 10), point(70, 10, 120), point(80, 70, 10), point(90, 80, 10)]
    assert known(points) == {29: 1.0, **dict.fromkeys(range(23, 29), 2.0), 22: 1.0, 21: 1.0}


def test_a_line_continues_without_new_summaries():
    assert known([PointRow(1, NOW - 60 * SECOND, NOW - 50 * SECOND, 10)]) == {25: 1.0}


@given(st.lists(st.tuples(st.integers(-5, 400), st.integers(0, 90), st.integers(0, 1000)), max_size=20))
def test_a_line_contains_no_more_forks_than_were_counted(summaries):
    points = [point(end + length, end, count, one) for one, (end, length, count) in enumerate(summaries)]
    rates, start, end = rate_line([*points, point(10, 0, 0)], NOW)
    length = (end - start) // POINTS
    drawn = sum(rate or 0 for rate in rates) * length / SECOND
    assert drawn <= sum(count for _, _, count in summaries) * 1.001 + 0.01 * POINTS
