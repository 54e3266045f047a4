"""`protocol: splunk_hec`, code by code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sinks.delivery.responses import MAX_BODY_BYTES, Result
from agent.sinks.delivery.responses.splunk import interpret
from tests.agent.sinks.delivery.responses.response_bodies import call, content_types, holds, hostile_bodies

# (status, code, Splunk's own text, result)
CODES = [
    (200, 0, "Success", Result.ACCEPTED),
    (200, 17, "HEC is healthy", Result.ACCEPTED),
    (200, 24, "Queue is approaching capacity", Result.ACCEPTED),
    (200, 25, "ACK is approaching capacity", Result.ACCEPTED),
    (403, 1, "Token disabled", Result.HOLD),
    (401, 2, "Token is required", Result.HOLD),
    (401, 3, "Invalid authorization", Result.HOLD),
    (403, 4, "Invalid token", Result.HOLD),
    (400, 7, "Incorrect index", Result.HOLD),
    (400, 10, "Data channel is missing", Result.HOLD),
    (400, 11, "Invalid data channel", Result.HOLD),
    (400, 14, "ACK is disabled", Result.HOLD),
    (400, 16, "Query string authorization is not enabled", Result.HOLD),
    (400, 21, "Invalid token", Result.HOLD),
    (400, 22, "Token disabled", Result.HOLD),
    (400, 5, "No data", Result.REJECTED),
    (400, 6, "Invalid data format", Result.REJECTED),
    (400, 12, "Event field is required", Result.REJECTED),
    (400, 13, "Event field cannot be blank", Result.REJECTED),
    (400, 15, "Error in handling indexed fields", Result.REJECTED),
    (500, 8, "Internal server error", Result.RETRY),
    (503, 9, "Server is busy", Result.RETRY),
    (503, 18, "HEC is unhealthy, queues are full", Result.RETRY),
    (503, 19, "HEC is unhealthy, ack service unavailable", Result.RETRY),
    (503, 20, "HEC is unhealthy, queues are full, ack service unavailable", Result.RETRY),
    (503, 23, "Server is shutting down", Result.RETRY),
    (429, 26, "Queue at capacity", Result.RETRY),
    (429, 27, "ACK channel at capacity", Result.RETRY),
]


@pytest.mark.parametrize(("status", "code", "text", "result"), CODES, ids=[f"{row[0]}/{row[1]}" for row in CODES])
def test_each_code_has_a_result_and_is_described(status, code, text, result):
    outcome = call(interpret, status, {"text": text, "code": code})
    assert outcome.result is result
    assert outcome.text.startswith(f"{status} code {code}, {text}")


@pytest.mark.parametrize(("status", "code", "text", "result"), CODES, ids=[f"{row[0]}/{row[1]}" for row in CODES])
def test_a_held_code_is_described_with_what_to_do(status, code, text, result):
    advice = call(interpret, status, {"text": text, "code": code}).text.removeprefix(f"{status} code {code}, {text}")
    assert bool(advice) is (result is Result.HOLD)


@pytest.mark.parametrize(
    ("result", "statuses"),
    [
        (Result.ACCEPTED, (200, 201, 204)),
        (Result.RETRY, (408, 425, 429, 500, 502, 503, 504)),
        (Result.HOLD, (302, 401, 403, 404, 405)),
        (Result.SPLIT, (413,)),
        (Result.REJECTED, (400, 422)),
    ],
)
@pytest.mark.parametrize("body", [b"", b"busy", {"text": "?", "code": 99}, {"code": "6"}, {"code": True}, [6]])
def test_without_a_known_code_the_status_decides(result, statuses, body):
    assert {status: call(interpret, status, body).result for status in statuses} == dict.fromkeys(statuses, result)


@pytest.mark.parametrize("code", [5, 6, 12, 13, 15])
def test_a_status_for_the_path_takes_precedence_over_a_code_for_the_data(code):
    assert call(interpret, 404, {"text": "Invalid data format", "code": code, "invalid-event-number": 1}).result is Result.HOLD


@pytest.mark.parametrize("code", [24, 25])
def test_a_nearly_full_queue_accepts_the_batch_with_a_pause(code):
    outcome = call(interpret, 200, {"text": "Queue is approaching capacity", "code": code})
    assert outcome.result is Result.ACCEPTED
    assert outcome.pause_s > 0
    assert (outcome.rejected_items, outcome.retry_items) == ((), ())
    assert call(interpret, 200, {"code": code}, Retry_After="9").pause_s == 9


@pytest.mark.parametrize(("status", "code"), [(429, 26), (429, 27), (503, 9)])
def test_a_full_queue_may_have_a_pause(status, code):
    assert call(interpret, status, {"code": code}, Retry_After="9").pause_s == 9
    assert call(interpret, status, {"code": code}).pause_s is None


@pytest.mark.parametrize("code", [6, 12, 13, 15])
def test_only_the_named_bad_event_is_rejected_and_the_others_are_sent_again(code):
    outcome = call(interpret, 400, {"text": "x", "code": code, "invalid-event-number": 2})
    assert (outcome.result, outcome.rejected_items, outcome.retry_items) == (Result.ACCEPTED, (2,), (0, 1, 3, 4))
    assert "event 2 of 5" in outcome.text


def test_the_events_beside_a_bad_one_are_sent_again_after_a_pause():
    assert call(interpret, 400, {"code": 6, "invalid-event-number": 2}).pause_s > 0
    alone = call(interpret, 400, {"code": 6, "invalid-event-number": 0}, events=1)
    assert alone[2:] == (None, (0,), (), 0)


@pytest.mark.parametrize("number", [-1, 5, 2**63, True, "2", 2.0, None, [2]])
def test_a_bad_event_outside_of_the_batch_rejects_the_batch(number):
    assert call(interpret, 400, {"code": 6, "invalid-event-number": number}).result is Result.REJECTED


def test_a_wrong_index_is_held_whichever_event_is_named():
    outcome = call(interpret, 400, {"text": "Incorrect index", "code": 7, "invalid-event-number": 1})
    assert (outcome.result, outcome.rejected_items) == (Result.HOLD, ())


@pytest.mark.parametrize(("code", "result"), [(code, result) for _, code, _, result in CODES if result is not Result.ACCEPTED])
def test_an_error_code_accepts_nothing_whatever_the_status(code, result):
    assert {call(interpret, status, {"text": "x", "code": code}).result for status in (200, 400, 503)} == {result}


@pytest.mark.parametrize("text", [None, 5, {"a": 1}, ["a"]])
def test_a_text_that_is_not_a_string_is_not_repeated(text):
    assert call(interpret, 503, {"text": text, "code": 9}).text == "503 code 9, no text"


def test_a_too_large_batch_is_split_whatever_the_code():
    assert call(interpret, 413, {"text": "too large", "code": 27}).result is Result.SPLIT


@pytest.mark.parametrize("body", [b"<!doctype html><title>Sign in", b"\n<html>"])
def test_a_web_page_accepts_nothing(body):
    assert call(interpret, 200, body).result is Result.HOLD


def test_a_cut_response_accepts_nothing():
    cut = b'{"text":"' + b"a" * MAX_BODY_BYTES
    assert call(interpret, 200, cut[:MAX_BODY_BYTES]).result is Result.RETRY
    assert call(interpret, 200, cut[: MAX_BODY_BYTES - 1]).result is Result.ACCEPTED


@given(st.integers(200, 599), hostile_bodies, st.integers(1, 8), content_types)
def test_no_body_raises_or_names_items_outside_of_the_batch(status, body, events, content_type):
    assert holds(interpret, status, body, events, content_type)


@given(st.integers(0, 30), st.integers(0, 7), st.integers(1, 8))
def test_rejected_and_retried_items_are_the_whole_batch(code, number, events):
    outcome = call(interpret, 400, {"code": code, "invalid-event-number": number}, events)
    if outcome.result is Result.ACCEPTED:
        assert sorted((*outcome.rejected_items, *outcome.retry_items)) == list(range(events))
