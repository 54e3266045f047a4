"""`protocol: http`, row by row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sinks.delivery.responses import Result
from agent.sinks.delivery.responses.http import interpret
from tests.agent.sinks.delivery.responses.response_bodies import call, content_types, holds, hostile_bodies


@pytest.mark.parametrize(
    ("result", "statuses"),
    [
        (Result.ACCEPTED, (200, 201, 202, 204, 299)),
        (Result.RETRY, (408, 425, 429, 500, 502, 503, 504, 507, 599)),
        (Result.HOLD, (301, 302, 307, 308, 401, 403, 404, 405, 407, 410, 415)),
        (Result.SPLIT, (413,)),
        (Result.REJECTED, (400, 409, 422, 431)),
    ],
)
def test_each_status_has_a_result(result, statuses):
    assert {status: call(interpret, status).result for status in statuses} == dict.fromkeys(statuses, result)


def test_only_a_retry_has_a_pause():
    assert call(interpret, 503, Retry_After="7").pause_s == 7
    assert call(interpret, 200, Retry_After="7").pause_s is None
    assert call(interpret, 401, Retry_After="7").pause_s is None


def test_a_receipt_names_the_rejected_lines():
    receipt = {"accepted": 1, "duplicate": 0, "rejected": [{"line": 2, "reason": "x"}, {"line": 0, "reason": "y"}]}
    assert call(interpret, 200, receipt, events=3).rejected_items == (0, 2)


def test_lines_that_were_not_sent_are_ignored():
    receipt = {"rejected": [{"line": line} for line in (-1, 0, 0, 3, 2**63, True, "1", 1.0)]}
    assert call(interpret, 200, receipt, events=3).rejected_items == (0,)


@pytest.mark.parametrize(
    "body", [b"", b"ok", b"<html>", {"rejected": "all"}, {"rejected": [{}]}, {"rejected": None}, [1], None]
)
def test_the_body_of_another_receiver_is_ignored(body):
    assert call(interpret, 200, body)[::3] == (Result.ACCEPTED, ())


@given(st.integers(200, 599), hostile_bodies, st.integers(1, 8), content_types)
def test_no_body_raises_or_names_items_outside_of_the_batch(status, body, events, content_type):
    assert holds(interpret, status, body, events, content_type)
