"""`protocol: splunk_hec`, code by code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sinks.delivery.responses import MOST_BYTES, Fate
from agent.sinks.delivery.responses.splunk import answer
from tests.agent.sinks.answering import asked, content_types, holds, hostile_bodies

# (status, code, Splunk's own text, fate)
CODES = [
    (200, 0, "Success", Fate.TAKEN),
    (200, 17, "HEC is healthy", Fate.TAKEN),
    (200, 24, "Queue is approaching capacity", Fate.TAKEN),
    (200, 25, "ACK is approaching capacity", Fate.TAKEN),
    (403, 1, "Token disabled", Fate.HOLD),
    (401, 2, "Token is required", Fate.HOLD),
    (401, 3, "Invalid authorization", Fate.HOLD),
    (403, 4, "Invalid token", Fate.HOLD),
    (400, 7, "Incorrect index", Fate.HOLD),
    (400, 10, "Data channel is missing", Fate.HOLD),
    (400, 11, "Invalid data channel", Fate.HOLD),
    (400, 14, "ACK is disabled", Fate.HOLD),
    (400, 16, "Query string authorization is not enabled", Fate.HOLD),
    (400, 21, "Invalid token", Fate.HOLD),
    (400, 22, "Token disabled", Fate.HOLD),
    (400, 5, "No data", Fate.SET_ASIDE),
    (400, 6, "Invalid data format", Fate.SET_ASIDE),
    (400, 12, "Event field is required", Fate.SET_ASIDE),
    (400, 13, "Event field cannot be blank", Fate.SET_ASIDE),
    (400, 15, "Error in handling indexed fields", Fate.SET_ASIDE),
    (500, 8, "Internal server error", Fate.RETRY),
    (503, 9, "Server is busy", Fate.RETRY),
    (503, 18, "HEC is unhealthy, queues are full", Fate.RETRY),
    (503, 19, "HEC is unhealthy, ack service unavailable", Fate.RETRY),
    (503, 20, "HEC is unhealthy, queues are full, ack service unavailable", Fate.RETRY),
    (503, 23, "Server is shutting down", Fate.RETRY),
    (429, 26, "Queue at capacity", Fate.RETRY),
    (429, 27, "ACK channel at capacity", Fate.RETRY),
]


@pytest.mark.parametrize(("status", "code", "text", "fate"), CODES, ids=[f"{row[0]}/{row[1]}" for row in CODES])
def test_each_code_has_its_fate_and_is_told(status, code, text, fate):
    given_answer = asked(answer, status, {"text": text, "code": code})
    assert given_answer.fate is fate
    assert given_answer.text.startswith(f"{status} code {code}, {text}")


@pytest.mark.parametrize(("status", "code", "text", "fate"), CODES, ids=[f"{row[0]}/{row[1]}" for row in CODES])
def test_what_is_held_says_what_to_do_about_it(status, code, text, fate):
    advice = asked(answer, status, {"text": text, "code": code}).text.removeprefix(f"{status} code {code}, {text}")
    assert bool(advice) is (fate is Fate.HOLD)


@pytest.mark.parametrize(
    ("fate", "statuses"),
    [
        (Fate.TAKEN, (200, 201, 204)),
        (Fate.RETRY, (408, 425, 429, 500, 502, 503, 504)),
        (Fate.HOLD, (302, 401, 403, 404, 405)),
        (Fate.SPLIT, (413,)),
        (Fate.SET_ASIDE, (400, 422)),
    ],
)
@pytest.mark.parametrize("body", [b"", b"busy", {"text": "?", "code": 99}, {"code": "6"}, {"code": True}, [6]])
def test_without_a_code_that_is_known_the_status_says_it(fate, statuses, body):
    assert {status: asked(answer, status, body).fate for status in statuses} == dict.fromkeys(statuses, fate)


@pytest.mark.parametrize("code", [5, 6, 12, 13, 15])
def test_a_status_that_means_the_path_is_believed_before_a_code_that_means_the_data(code):
    assert asked(answer, 404, {"text": "Invalid data format", "code": code, "invalid-event-number": 1}).fate is Fate.HOLD


@pytest.mark.parametrize("code", [24, 25])
def test_a_queue_that_is_nearly_full_has_taken_the_batch_and_asks_for_a_pause(code):
    given_answer = asked(answer, 200, {"text": "Queue is approaching capacity", "code": code})
    assert given_answer.fate is Fate.TAKEN
    assert given_answer.pause_s > 0
    assert (given_answer.refused, given_answer.again) == ((), ())
    assert asked(answer, 200, {"code": code}, Retry_After="9").pause_s == 9


@pytest.mark.parametrize(("status", "code"), [(429, 26), (429, 27), (503, 9)])
def test_a_full_queue_may_name_a_pause(status, code):
    assert asked(answer, status, {"code": code}, Retry_After="9").pause_s == 9
    assert asked(answer, status, {"code": code}).pause_s is None


@pytest.mark.parametrize("code", [6, 12, 13, 15])
def test_of_a_bad_event_that_is_named_only_that_one_is_refused_and_all_others_go_again(code):
    given_answer = asked(answer, 400, {"text": "x", "code": code, "invalid-event-number": 2})
    assert (given_answer.fate, given_answer.refused, given_answer.again) == (Fate.TAKEN, (2,), (0, 1, 3, 4))
    assert "event 2 of 5" in given_answer.text


def test_what_goes_again_for_a_bad_event_goes_after_a_pause():
    assert asked(answer, 400, {"code": 6, "invalid-event-number": 2}).pause_s > 0
    alone = asked(answer, 400, {"code": 6, "invalid-event-number": 0}, events=1)
    assert alone[2:] == (None, (0,), (), 0)


@pytest.mark.parametrize("number", [-1, 5, 2**63, True, "2", 2.0, None, [2]])
def test_a_bad_event_that_was_not_sent_names_none(number):
    assert asked(answer, 400, {"code": 6, "invalid-event-number": number}).fate is Fate.SET_ASIDE


def test_a_wrong_index_is_held_whichever_event_it_names():
    given_answer = asked(answer, 400, {"text": "Incorrect index", "code": 7, "invalid-event-number": 1})
    assert (given_answer.fate, given_answer.refused) == (Fate.HOLD, ())


@pytest.mark.parametrize(("code", "fate"), [(code, fate) for _, code, _, fate in CODES if fate is not Fate.TAKEN])
def test_the_code_of_an_error_has_taken_nothing_whatever_the_status(code, fate):
    assert {asked(answer, status, {"text": "x", "code": code}).fate for status in (200, 400, 503)} == {fate}


@pytest.mark.parametrize("text", [None, 5, {"a": 1}, ["a"]])
def test_words_that_are_none_are_not_repeated(text):
    assert asked(answer, 503, {"text": text, "code": 9}).text == "503 code 9, no text"


def test_what_is_too_large_is_split_whichever_code_it_has():
    assert asked(answer, 413, {"text": "too large", "code": 27}).fate is Fate.SPLIT


@pytest.mark.parametrize("body", [b"<!doctype html><title>Sign in", b"\n<html>"])
def test_a_web_page_has_taken_nothing(body):
    assert asked(answer, 200, body).fate is Fate.HOLD


def test_an_answer_that_was_cut_has_not_said_that_it_took_anything():
    cut = b'{"text":"' + b"a" * MOST_BYTES
    assert asked(answer, 200, cut[:MOST_BYTES]).fate is Fate.RETRY
    assert asked(answer, 200, cut[: MOST_BYTES - 1]).fate is Fate.TAKEN


@given(st.integers(200, 599), hostile_bodies, st.integers(1, 8), content_types)
def test_no_body_makes_it_raise_or_point_outside_the_batch(status, body, events, content_type):
    assert holds(answer, status, body, events, content_type)


@given(st.integers(0, 30), st.integers(0, 7), st.integers(1, 8))
def test_nothing_is_lost_between_refused_and_again(code, number, events):
    given_answer = asked(answer, 400, {"code": code, "invalid-event-number": number}, events)
    if given_answer.fate is Fate.TAKEN:
        assert sorted((*given_answer.refused, *given_answer.again)) == list(range(events))
