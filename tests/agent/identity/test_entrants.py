"""Processes that came into a container after their fork are remembered just long enough to be named."""

from agent.identity.entrants import Entrants

SECOND = 10**9


def test_a_task_is_where_it_was_moved_to():
    entrants = Entrants()
    entrants.entered(50, 90, 7, 100)
    assert entrants.cgroup_of(50, 90) == 7


def test_a_number_that_was_given_again_is_another_task():
    entrants = Entrants()
    entrants.entered(50, 90, 7, 100)
    assert entrants.cgroup_of(50, 91) is None
    assert entrants.cgroup_of(51, 90) is None


def test_the_last_move_counts():
    entrants = Entrants()
    entrants.entered(50, 90, 7, 100)
    entrants.entered(50, 90, 8, 200)
    assert entrants.cgroup_of(50, 90) == 8


def test_old_moves_are_forgotten():
    entrants = Entrants()
    entrants.entered(50, 90, 7, 0)
    entrants.entered(51, 91, 7, 20 * SECOND)
    assert (entrants.cgroup_of(50, 90), len(entrants)) == (None, 1)


def test_they_are_bounded_in_number():
    entrants = Entrants()
    for tid in range(50_000):
        entrants.entered(tid, 90, 7, 100)
    assert len(entrants) <= 10_000
    assert entrants.cgroup_of(49_999, 90) == 7
