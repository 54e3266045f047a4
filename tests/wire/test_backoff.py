"""Backoff: the pause grows with each failure in a row, and is spread by chance."""

from wire.backoff import Backoff

BACKOFF = Backoff(first_s=0.5, longest_s=30.0)


def test_the_bound_doubles_up_to_the_longest():
    assert [BACKOFF.bound(failures) for failures in range(1, 9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert BACKOFF.bound(1_000_000) == 30.0


def test_full_jitter_is_anything_up_to_the_bound_and_half_jitter_at_least_half_of_it():
    asked = []

    def uniform(low, high):
        asked.append((low, high))
        return high

    assert (BACKOFF.full_jitter(3, uniform), BACKOFF.half_jitter(3, uniform)) == (2.0, 2.0)
    assert asked == [(0, 2.0), (1.0, 2.0)]
