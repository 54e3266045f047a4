"""The cache that encoders keep what many forks share in: made once, bounded, and what is in use survives."""

import pytest

from agent.sinks.encoders.fragments import FragmentCache


@pytest.fixture
def made():
    return []


@pytest.fixture
def fragments(made):
    def make(noun):
        made.append(noun)
        return f"<{noun}>"

    return FragmentCache(make, 10)


def test_a_fragment_is_made_once(fragments, made):
    assert [fragments["a"], fragments["a"]] == ["<a>", "<a>"]
    assert made == ["a"]


def test_what_is_in_use_is_not_made_again_however_much_else_comes(fragments, made):
    for number in range(1000):
        assert fragments["used"] == "<used>"
        assert fragments[number] == f"<{number}>"
    assert made.count("used") == 1


def test_what_is_not_in_use_goes(fragments):
    for number in range(10_000):
        fragments[number]
    assert len(fragments._young) + len(fragments._old) <= 20


def test_what_went_is_made_anew(fragments, made):
    for number in [*range(100), 0]:
        assert fragments[number] == f"<{number}>"
    assert made.count(0) == 2


def test_nouns_that_are_equal_in_nothing_but_words_are_two(made):
    class Noun:
        pass

    fragments = FragmentCache(lambda noun: object(), 10)
    one, other = Noun(), Noun()
    assert fragments[one] is fragments[one] is not fragments[other]
