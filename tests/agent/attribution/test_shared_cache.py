"""The cache that containers share: each keeps what it uses, whatever the others do, and there is a bound to all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.attribution.shared_cache import SharedCache

QUIET, HOSTILE, MANY = 1, 2, 100


@pytest.fixture
def cache():
    return SharedCache(lambda key: f"<{key}>", 64)


def test_a_value_is_made_once_for_a_container(cache):
    assert cache.get(QUIET, "a") is cache.get(QUIET, "a")
    assert cache.made == {QUIET: 1}


def test_a_container_with_new_keys_only_takes_nothing_from_another(cache):
    for number in range(10_000):
        cache.get(QUIET, number % 20)
        cache.get(HOSTILE, number)
    assert cache.made[QUIET] == 20


def test_what_another_rarely_uses_stays_too(cache):
    for number in range(10):
        cache.get(QUIET, number)
    for number in range(10_000):
        cache.get(HOSTILE, number)
    for number in range(10):
        cache.get(QUIET, number)
    assert cache.made[QUIET] == 10


def test_what_a_container_uses_survives_what_it_uses_once(cache):
    for number in range(10_000):
        cache.get(HOSTILE, "used")
        cache.get(HOSTILE, number)
    assert cache.made[HOSTILE] < 10_000 + 10_000 / 40  # made again a few times, and not each time


def test_many_hostile_containers_leave_a_quiet_one_its_share(cache):
    for number in range(10_000):
        cache.get(QUIET, number % 3)
        cache.get(MANY + number % 7, number)
    assert cache.made[QUIET] == 3


def test_the_share_of_a_removed_container_is_free_again(cache):
    for number in range(40):
        cache.get(HOSTILE, number)
    cache.forget(HOSTILE)
    cache.forget(HOSTILE)
    assert len(cache) == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99), st.booleans()), max_size=400))
def test_the_bound_holds_whatever_comes(steps):
    cache = SharedCache(lambda key: (key,), 16)
    for container, key, forget in steps:
        if forget and key < 5:
            cache.forget(container)
        assert cache.get(container, key) == (key,)
        assert len(cache) == sum(map(len, cache._shares.values())) <= 16
