"""`protocol: http`, row by row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sinks.delivery.responses import Fate
from agent.sinks.delivery.responses.http import answer
from tests.agent.sinks.answering import asked, content_types, holds, hostile_bodies


@pytest.mark.parametrize(
    ("fate", "statuses"),
    [
        (Fate.TAKEN, (200, 201, 202, 204, 299)),
        (Fate.RETRY, (408, 425, 429, 500, 502, 503, 504, 507, 599)),
        (Fate.HOLD, (301, 302, 307, 308, 401, 403, 404, 405, 407, 410, 415)),
        (Fate.SPLIT, (413,)),
        (Fate.SET_ASIDE, (400, 409, 422, 431)),
    ],
)
def test_each_status_has_its_fate(fate, statuses):
    assert {status: asked(answer, status).fate for status in statuses} == dict.fromkeys(statuses, fate)


def test_only_the_receivers_own_trouble_may_name_a_pause():
    assert asked(answer, 503, Retry_After="7").pause_s == 7
    assert asked(answer, 200, Retry_After="7").pause_s is None
    assert asked(answer, 401, Retry_After="7").pause_s is None


def test_a_receipt_says_which_lines_were_not_taken():
    receipt = {"accepted": 1, "duplicate": 0, "rejected": [{"line": 2, "reason": "x"}, {"line": 0, "reason": "y"}]}
    assert asked(answer, 200, receipt, events=3).refused == (0, 2)


def test_lines_that_were_not_sent_were_not_refused():
    receipt = {"rejected": [{"line": line} for line in (-1, 0, 0, 3, 2**63, True, "1", 1.0)]}
    assert asked(answer, 200, receipt, events=3).refused == (0,)


@pytest.mark.parametrize(
    "body", [b"", b"ok", b"<html>", {"rejected": "all"}, {"rejected": [{}]}, {"rejected": None}, [1], None]
)
def test_another_receivers_words_say_nothing_and_take_the_batch(body):
    assert asked(answer, 200, body)[::3] == (Fate.TAKEN, ())


@given(st.integers(200, 599), hostile_bodies, st.integers(1, 8), content_types)
def test_no_body_makes_it_raise_or_point_outside_the_batch(status, body, events, content_type):
    assert holds(answer, status, body, events, content_type)
