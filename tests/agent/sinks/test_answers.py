"""What a receiver's answer means, and that no answer can do harm."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sinks.answers import Answer, Fate, http_answer, retry_after

NOW = datetime(2026, 11, 22, 20, 0, 0, tzinfo=UTC)


def answer(status, body=b"", **headers):
    return http_answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, NOW)


@pytest.mark.parametrize(
    ("statuses", "fate"),
    [
        ((200, 201, 202, 204, 299), Fate.TAKEN),
        ((408, 425, 429, 500, 502, 503, 504, 507, 599), Fate.RETRY),
        ((401, 403, 404, 405, 407, 301, 302, 307, 308), Fate.HOLD),
        ((413,), Fate.SPLIT),
        ((400, 409, 410, 422, 431), Fate.SET_ASIDE),
    ],
)
def test_each_status_has_its_fate(statuses, fate):
    assert {answer(status).fate for status in statuses} == {fate}


@given(st.integers(200, 599), st.binary(max_size=300))
def test_every_answer_has_a_fate_and_words(status, body):
    given_answer = answer(status, body)
    assert isinstance(given_answer, Answer)
    assert given_answer.text.startswith(str(status))
    assert len(given_answer.text) <= 204


def test_only_the_receivers_own_trouble_may_name_a_pause():
    assert answer(503, Retry_After="7").pause_s == 7
    assert answer(200, Retry_After="7").pause_s is None
    assert answer(401, Retry_After="7").pause_s is None


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
def test_nobody_can_ask_for_a_pause_of_more_than_a_day(text):
    assert retry_after(text, NOW) <= 86_400


def test_a_receipt_says_which_lines_were_not_taken():
    body = orjson.dumps({"accepted": 1, "duplicate": 0, "rejected": [{"line": 0, "reason": "x"}, {"line": 2, "reason": "y"}]})
    assert answer(200, body).refused == (0, 2)


json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)


@given(
    st.binary()
    | json.map(orjson.dumps)
    | json.map(lambda value: orjson.dumps({"rejected": value}))
    | st.just(b'{"rejected":[{}]}')
)
def test_another_receivers_words_say_nothing_and_take_the_batch(body):
    assert answer(200, body)[::3] == (Fate.TAKEN, ())


def test_a_body_that_is_no_text_is_shown_as_far_as_it_goes():
    assert answer(500, b"\xff\xfe" * 1000).text == "500 " + "\ufffd" * 200
