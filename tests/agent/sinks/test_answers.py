"""What all protocols share: how long a pause is, and words that can do no harm."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sinks.delivery.responses import retry_after
from agent.sinks.delivery.responses.response import is_misdirected, is_web_page, status_text
from agent.sinks.printable import printable

NOW = datetime(2026, 11, 22, 20, 0, 0, tzinfo=UTC)


def test_a_retry_after_in_seconds_is_seconds():
    assert [retry_after(text, NOW) for text in ("0", "1", "120")] == [0, 1, 120]


def test_a_retry_after_that_is_a_date_is_the_time_until_then():
    assert retry_after(format_datetime(NOW + timedelta(seconds=90), usegmt=True), NOW) == 90
    assert retry_after("Sun, 22 Nov 2026 20:01:00 GMT", NOW) == 60
    assert retry_after("Sun, 22 Nov 2026 21:01:00 +0100", NOW) == 60


def test_a_date_without_a_zone_is_utc_wherever_the_node_is(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    assert retry_after("Sun, 22 Nov 2026 20:01:00 -0000", NOW) == 60
    monkeypatch.undo()
    time.tzset()


def test_a_date_that_has_passed_asks_for_no_pause():
    assert retry_after("Sun, 22 Nov 2026 19:00:00 GMT", NOW) == 0


@pytest.mark.parametrize("text", [None, "", " ", "soon", "-5", "1.5", "1e3", "٣", "+1", "0x10", "22 Nov", ",", "Sun, 99 Foo"])
def test_what_can_not_be_understood_asks_for_no_pause(text):
    assert retry_after(text, NOW) is None


@given(st.text(st.characters(codec="latin-1"), max_size=40))
def test_no_words_make_it_raise(text):
    pause = retry_after(text, NOW)
    assert pause is None or pause >= 0


@pytest.mark.parametrize("text", ["1 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"])
def test_a_date_beyond_all_numbers_does_not_make_it_raise(text):
    assert retry_after(text, NOW) is None


@pytest.mark.parametrize("text", ["999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_nobody_can_ask_for_a_pause_of_more_than_an_hour(text):
    assert retry_after(text, NOW) == 3600


@given(st.binary(max_size=2000) | st.text(max_size=2000))
def test_whatever_was_said_is_one_bounded_line(said):
    line = status_text(503, said)
    assert line.isprintable()
    assert line.startswith("503")
    assert len(line) <= 204


def test_a_body_that_is_no_text_is_shown_as_far_as_it_goes():
    assert status_text(500, b"\xff\xfe" * 1000) == "500 " + "\ufffd" * 200
    assert status_text(500, b" busy\n") == "500 busy"
    assert status_text(500, b"") == "500"


def test_what_would_act_on_a_terminal_is_written_out():
    assert printable("a\n\x1b[2J\u202eb", 100) == "a\\n\\x1b[2J\\u202eb"
    assert printable("naïve \U0001f525", 100) == "naïve \U0001f525"
    assert printable("\udcff", 100) == "\\udcff"


@given(st.text(st.characters()), st.integers(0, 20))
def test_an_escape_makes_no_line_longer_than_was_asked_for(text, most):
    assert len(printable(text, most)) <= most


def test_a_page_is_known_by_how_it_begins():
    assert [is_web_page(body) for body in (b"<!doctype html>", b"\n <html>", b"{}", b"", b"a<b")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_400_that_means_the_path_or_the_type_is_known_by_its_first_words_only():
    """Further on may be what a container chose, and one that is believed would hold up all others."""
    words = [b"no handler found for uri [/x]", b"error: invalid HTTP endpoint", b"error: invalid 'Content-Type'"]
    assert [is_misdirected(status_text(400, one)) for one in words] == [True] * 3
    assert [is_misdirected(status_text(400, b"failed to parse: " + one)) for one in words] == [False] * 3
    assert [is_misdirected(status_text(503, one)) for one in words] == [False] * 3
