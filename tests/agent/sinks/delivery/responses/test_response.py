"""What all protocols share: the length of a pause, and safe texts."""

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


def test_a_retry_after_date_is_the_time_until_that_date():
    assert retry_after(format_datetime(NOW + timedelta(seconds=90), usegmt=True), NOW) == 90
    assert retry_after("Sun, 22 Nov 2026 20:01:00 GMT", NOW) == 60
    assert retry_after("Sun, 22 Nov 2026 21:01:00 +0100", NOW) == 60


def test_a_date_without_a_zone_is_utc_in_every_time_zone(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    assert retry_after("Sun, 22 Nov 2026 20:01:00 -0000", NOW) == 60
    monkeypatch.undo()
    time.tzset()


def test_a_date_in_the_past_is_no_pause():
    assert retry_after("Sun, 22 Nov 2026 19:00:00 GMT", NOW) == 0


@pytest.mark.parametrize("text", [None, "", " ", "soon", "-5", "1.5", "1e3", "٣", "+1", "0x10", "22 Nov", ",", "Sun, 99 Foo"])
def test_an_invalid_retry_after_is_no_pause(text):
    assert retry_after(text, NOW) is None


@given(st.text(st.characters(codec="latin-1"), max_size=40))
def test_no_retry_after_raises(text):
    pause = retry_after(text, NOW)
    assert pause is None or pause >= 0


@pytest.mark.parametrize("text", ["1 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"])
def test_a_date_out_of_range_does_not_raise(text):
    assert retry_after(text, NOW) is None


@pytest.mark.parametrize("text", ["999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_the_longest_pause_is_an_hour(text):
    assert retry_after(text, NOW) == 3600


@given(st.binary(max_size=2000) | st.text(max_size=2000))
def test_any_message_is_one_bounded_line(message):
    line = status_text(503, message)
    assert line.isprintable()
    assert line.startswith("503")
    assert len(line) <= 204


def test_a_body_that_is_not_utf8_is_shown_with_replacements():
    assert status_text(500, b"\xff\xfe" * 1000) == "500 " + "\ufffd" * 200
    assert status_text(500, b" busy\n") == "500 busy"
    assert status_text(500, b"") == "500"


def test_control_characters_are_escaped():
    assert printable("a\n\x1b[2J\u202eb", 100) == "a\\n\\x1b[2J\\u202eb"
    assert printable("naïve \U0001f525", 100) == "naïve \U0001f525"
    assert printable("\udcff", 100) == "\\udcff"


@given(st.text(st.characters()), st.integers(0, 20))
def test_escapes_do_not_exceed_the_limit(text, most):
    assert len(printable(text, most)) <= most


def test_a_web_page_is_recognised_by_its_beginning():
    assert [is_web_page(body) for body in (b"<!doctype html>", b"\n <html>", b"{}", b"", b"a<b")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_misdirected_request_is_recognised_by_the_first_words_of_a_400_only():
    """Later words may come from a container, and would delay all other batches."""
    words = [b"no handler found for uri [/x]", b"error: invalid HTTP endpoint", b"error: invalid 'Content-Type'"]
    assert [is_misdirected(status_text(400, one)) for one in words] == [True] * 3
    assert [is_misdirected(status_text(400, b"failed to parse: " + one)) for one in words] == [False] * 3
    assert [is_misdirected(status_text(503, one)) for one in words] == [False] * 3
