"""Runs of sequence numbers behave like sets of numbers."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from collector.model.number_ranges import holes, runs_of, united, without

numbers = st.sets(st.integers(0, 60))


def flat(runs):
    return [number for first, last in runs for number in range(first, last + 1)]


@given(numbers)
def test_runs_hold_exactly_the_numbers_and_never_touch_each_other(some):
    runs = runs_of(some)
    assert flat(runs) == sorted(some)
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(runs))


@given(numbers, st.integers(0, 60), st.integers(0, 20))
def test_the_new_parts_of_a_run_are_those_that_were_not_known(known, first, more):
    run = (first, first + more)
    assert flat(without(run, runs_of(known))) == sorted(set(range(first, first + more + 1)) - known)


@given(numbers, st.integers(0, 70))
def test_holes_are_what_is_missing_below_the_head(known, head):
    assert flat(holes(runs_of(known), head)) == sorted(set(range(head)) - known)


def test_runs_that_touch_become_one():
    assert united((5, 6), [(1, 4), (7, 9)]) == (1, 9)
