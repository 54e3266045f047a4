"""Numbers, lines and JSON, as short as they are true."""

import json

import pytest

from cli.client.json_view import Said
from cli.text.words import json_line, padded, spark
from wire.names import UNKNOWN
from wire.numbers import per_second
from wire.times import clock

from .answers import HOSTILE


def test_a_line_tells_silence_from_nothing_and_little_from_none():
    assert spark([None, 0.0, 0.01, 4.0], 6) == "  ·▁▂█"
    assert spark([0.0, 0.0], 2) == "▁▁"
    assert spark([9.0, 1.0, 1.0], 2) == "██"
    assert spark([], 3) == "   "


@pytest.mark.parametrize(
    ("rate", "text"), [(None, UNKNOWN), (0.0, "0"), (0.001, "<0.01"), (0.05, "0.05"), (7.25, "7.2"), (12345.0, "12,345")]
)
def test_a_rate_has_as_many_digits_as_tell_something(rate, text):
    assert per_second(rate) == text


@pytest.mark.parametrize("name", HOSTILE)
def test_json_is_one_line_that_a_terminal_can_bear_and_says_the_same(name):
    line = json_line({"comm": name, name: ["é", "名"]})
    assert line.isprintable()
    assert json.loads(line) == {"comm": name, name: ["é", "名"]}
    assert "é" in line and "名" in line


def test_a_time_that_is_none_is_unknown():
    assert clock("2026-11-22T19:48:30.118291004Z") == "19:48:30.118"
    assert clock("2026-11-22T19:48:30Z") == "19:48:30"
    assert [clock(text) for text in (None, "", "soon", "2026-11-22T19\x1b[2J:30.118Z")] == [UNKNOWN] * 4


def test_wide_letters_take_two_places():
    assert padded("名", 4) + "|" == "名  |"
    assert padded("7", 3, right=True) == "  7"


def test_answers_of_any_shape_can_be_read():
    for value in (None, 1, "x", [], {}, {"a": None}, {"a": {"b": []}}, [[1]], {"a": float("inf")}, True):
        said = Said(value)
        assert said["a"]["b"]["c"].text is None
        assert said["a"].whole is None
        assert said["a"].real is None
        assert isinstance(list(said), list) and isinstance(said.items, list)
