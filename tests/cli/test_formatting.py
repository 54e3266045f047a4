"""Sparklines, rates, JSON lines, times and padding."""

import json

import pytest

from cli.client.json_view import JsonView
from cli.text.formatting import json_line, padded, sparkline
from wire.names import UNKNOWN
from wire.numbers import per_second
from wire.times import clock

from .answers import HOSTILE


def test_a_sparkline_distinguishes_unknown_from_zero_and_small_from_zero():
    assert sparkline([None, 0.0, 0.01, 4.0], 6) == "  ·▁▂█"
    assert sparkline([0.0, 0.0], 2) == "▁▁"
    assert sparkline([9.0, 1.0, 1.0], 2) == "██"
    assert sparkline([], 3) == "   "


@pytest.mark.parametrize(
    ("rate", "text"), [(None, UNKNOWN), (0.0, "0"), (0.001, "<0.01"), (0.05, "0.05"), (7.25, "7.2"), (12345.0, "12,345")]
)
def test_a_rate_has_its_significant_digits(rate, text):
    assert per_second(rate) == text


@pytest.mark.parametrize("name", HOSTILE)
def test_json_is_one_printable_line_with_the_same_value(name):
    line = json_line({"comm": name, name: ["é", "名"]})
    assert line.isprintable()
    assert json.loads(line) == {"comm": name, name: ["é", "名"]}
    assert "é" in line and "名" in line


def test_a_text_that_is_no_time_is_unknown():
    assert clock("2026-11-22T19:48:30.118291004Z") == "19:48:30.118"
    assert clock("2026-11-22T19:48:30Z") == "19:48:30"
    assert [clock(text) for text in (None, "", "soon", "2026-11-22T19\x1b[2J:30.118Z")] == [UNKNOWN] * 4


def test_wide_characters_take_two_columns():
    assert padded("名", 4) + "|" == "名  |"
    assert padded("7", 3, right=True) == "  7"


def test_json_of_any_shape_can_be_read():
    for value in (None, 1, "x", [], {}, {"a": None}, {"a": {"b": []}}, [[1]], {"a": float("inf")}, True):
        view = JsonView(value)
        assert view["a"]["b"]["c"].text is None
        assert view["a"].integer is None
        assert view["a"].number is None
        assert isinstance(list(view), list) and isinstance(view.items, list)
