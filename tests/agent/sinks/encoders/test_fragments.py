"""The encoders' cache: a fragment is made once, their number is bounded, and those in use survive."""

import pytest

from agent.sinks.encoders.fragments import FragmentCache, NumberCache


@pytest.fixture
def made():
    return []


@pytest.fixture
def fragments(made):
    def make(key):
        made.append(key)
        return f"<{key}>"

    return NumberCache(make, 10)


def test_a_fragment_is_made_once(fragments, made):
    assert [fragments["a"], fragments["a"]] == ["<a>", "<a>"]
    assert made == ["a"]


def test_a_fragment_in_use_is_not_made_again(fragments, made):
    for number in range(1000):
        assert fragments["used"] == "<used>"
        assert fragments[number] == f"<{number}>"
    assert made.count("used") == 1


def test_a_fragment_that_is_not_in_use_is_dropped(fragments):
    for number in range(10_000):
        fragments[number]
    assert len(fragments._young) + len(fragments._old) <= 20


def test_a_dropped_fragment_is_made_again(fragments, made):
    for number in [*range(100), 0]:
        assert fragments[number] == f"<{number}>"
    assert made.count(0) == 2


def test_equal_values_are_different_keys(made):
    class Value:
        def __init__(self):
            self.fragments = {}

    fragments = FragmentCache(lambda key: object())
    one, other = Value(), Value()
    assert fragments[one] is fragments[one] is not fragments[other]
