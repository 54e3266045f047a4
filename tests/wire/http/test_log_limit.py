"""A few lines of each kind in a period, and the number of the others once."""

import pytest

from wire.http.log_limit import LeftOut, LogLimit


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_of_each_kind_the_first_line_of_a_period_is_written(clock):
    limit = LogLimit(period_s=10.0, clock=clock)
    assert [limit.suffix("a"), limit.suffix("a"), limit.suffix("b")] == ["", None, ""]
    clock.now += 9.9
    assert limit.suffix("a") is None
    clock.now += 0.1
    assert limit.suffix("a") == ", and 2 more since the last such line"
    assert limit.suffix("b") == ""


def test_as_many_lines_as_are_set_are_written_in_a_period(clock):
    limit = LogLimit(3, 60.0, clock)
    assert [limit.suffix() for _ in range(5)] == ["", "", "", None, None]
    clock.now += 60
    assert [limit.suffix() for _ in range(4)] == [", and 2 more since the last such line", "", "", None]


def test_the_number_of_lines_that_were_left_out_is_given_once_when_their_period_is_over(clock):
    limit = LogLimit(3, 60.0, clock)
    for _ in range(7):
        limit.suffix("rejected")
    limit.suffix("failures")
    clock.now += 59
    assert [*limit.ended()] == []
    clock.now += 2
    assert [*limit.ended()] == [LeftOut("rejected", 4, 61.0)]
    assert [*limit.ended()] == []
    assert limit.suffix("rejected") == "", "the count was given before"
