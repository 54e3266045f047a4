"""The conversion of boot time to wall time: a step of wall time changes no earlier moment."""

import time

from hypothesis import given
from hypothesis import strategies as st

from agent.kernel.clock import WallClock, separation

HOUR, MS = 3600 * 10**9, 10**6


def test_a_moment_is_boot_time_plus_the_separation():
    assert WallClock(1_000).wall(5) == 1_005


def test_a_step_changes_moments_after_it_and_none_before():
    clock = WallClock(HOUR)
    before = clock.wall(99)
    assert clock.remeasure(100, 3 * HOUR)
    assert clock.wall(99) == before
    assert clock.wall(100) == 100 + 3 * HOUR
    assert clock.wall(101) == 101 + 3 * HOUR


def test_a_step_backwards_is_a_step():
    clock = WallClock(HOUR)
    assert clock.remeasure(100, -HOUR)
    assert clock.wall(100) == 100 - HOUR
    assert clock.steps == 1


def test_a_difference_within_the_noise_of_measuring_is_no_step():
    clock = WallClock(HOUR)
    assert not clock.remeasure(100, HOUR + MS - 1)
    assert not clock.remeasure(200, HOUR - MS + 1)
    assert clock.steps == 0
    assert clock.wall(300) == 300 + HOUR


def test_small_differences_in_one_direction_become_a_step():
    """A measurement is compared with the separation in force, not with the last measurement."""
    clock = WallClock(0)
    stepped = [clock.remeasure(at, at * MS // 2) for at in range(1, 5)]
    assert stepped == [False, True, False, True]


def test_separation_is_the_difference_of_the_two_clocks():
    before = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert abs(separation() - before) < 10**9


@given(st.lists(st.tuples(st.integers(1, HOUR), st.integers(-HOUR, HOUR)), max_size=20), st.lists(st.integers(0, 30 * HOUR)))
def test_no_later_step_changes_the_wall_time_of_an_earlier_moment(steps, moments):
    clock = WallClock(HOUR)
    now, earlier = 0, {}
    for wait, measured in steps:
        now += wait
        earlier |= {moment: clock.wall(moment) for moment in moments if moment < now}
        clock.remeasure(now, measured)
        assert abs(clock.wall(now) - (now + measured)) < MS
    assert {moment: clock.wall(moment) for moment in earlier} == earlier
