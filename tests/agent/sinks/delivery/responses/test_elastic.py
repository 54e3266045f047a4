"""`protocol: elasticsearch`, item by item and as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sinks.delivery.responses import MAX_BODY_BYTES, Result
from agent.sinks.delivery.responses.elastic import interpret
from tests.agent.sinks.delivery.responses.response_bodies import call, content_types, holds, hostile_bodies

MAPPING, STRICT, CONFLICT, BUSY = (
    "document_parsing_exception",
    "strict_dynamic_mapping_exception",
    "version_conflict_engine_exception",
    "es_rejected_execution_exception",
)


def an_item(status, error=None, action="create"):
    return {action: {"status": status} | ({"error": {"type": error, "reason": "r"}} if error else {})}


def bulk(*items):
    return {"took": 3, "errors": any(next(iter(item.values()))["status"] >= 300 for item in items), "items": list(items)}


def given_to(*items, **headers):
    return call(interpret, 200, bulk(*items), len(items), **headers)


@pytest.mark.parametrize(
    ("status", "error", "group"),
    [
        (201, None, "accepted"),
        (200, None, "accepted"),
        (409, CONFLICT, "accepted"),
        (429, BUSY, "retried"),
        (408, "timeout", "retried"),
        (500, "internal", "retried"),
        (503, "unavailable_shards_exception", "retried"),
        (400, MAPPING, "rejected"),
        (400, STRICT, "rejected"),
        (403, "cluster_block_exception", "retried"),
        (404, "index_not_found_exception", "retried"),
        (401, "security_exception", "retried"),
        (400, "validation_exception", "retried"),
        (410, "gone", "rejected"),
    ],
)
def test_each_item_has_a_result_of_its_own(status, error, group):
    outcome = given_to(an_item(201), an_item(status, error))
    assert outcome.result is Result.ACCEPTED
    assert (outcome.rejected_items, outcome.retry_items) == ((1,) * (group == "rejected"), (1,) * (group == "retried"))
    assert group == "accepted" or error in outcome.text


@pytest.mark.parametrize("action", ["create", "index"])
def test_a_conflict_is_accepted(action):
    outcome = given_to(an_item(409, CONFLICT, action=action), an_item(409, CONFLICT, action=action))
    assert (outcome.result, outcome.rejected_items, outcome.retry_items) == (Result.ACCEPTED, (), ())


def test_a_mixed_response_is_separated_and_described_in_one_line():
    items = (an_item(201), an_item(400, MAPPING), an_item(429, BUSY), an_item(409, CONFLICT), an_item(400, MAPPING))
    outcome = given_to(*items)
    assert (outcome.rejected_items, outcome.retry_items) == ((1, 4), (2,))
    assert outcome.text == f"200 2 accepted, 2 rejected, 1 to be sent again: {MAPPING} (2), {BUSY} (1)"


def test_items_are_sent_again_after_a_pause():
    assert given_to(an_item(201), an_item(429, BUSY)).pause_s > 0
    assert given_to(an_item(201), an_item(429, BUSY), Retry_After="9").pause_s == 9
    assert given_to(an_item(201), an_item(400, MAPPING), Retry_After="9").pause_s is None
    assert given_to(an_item(201)).pause_s is None


def test_a_batch_without_an_accepted_item_is_retried_as_a_whole():
    assert given_to(an_item(429, BUSY), an_item(503, "x"))[:2] == (
        Result.RETRY,
        f"200 0 accepted, 0 rejected, 2 to be sent again: {BUSY} (1), x (1)",
    )
    assert given_to(an_item(429, BUSY), Retry_After="9").pause_s == 9


def test_a_missing_path_is_held_though_its_status_is_400():
    body = {"error": "no handler found for uri [/x/_elsewhere] and method [POST]"}
    assert call(interpret, 400, body).result is Result.HOLD
    assert call(interpret, 400, {"error": {"type": "x", "reason": "no handler found for uri"}}).result is Result.REJECTED


@pytest.mark.parametrize("error", ["index_closed_exception", "invalid_index_name_exception"])
def test_an_index_that_accepts_nothing_is_held(error):
    assert given_to(an_item(400, error), an_item(400, error)).result is Result.HOLD
    assert given_to(an_item(201), an_item(400, error)).retry_items == (1,)


@pytest.mark.parametrize(("status", "error"), [(403, "security_exception"), (404, "index_not_found_exception"), (401, "x")])
def test_an_error_of_the_index_or_the_key_in_all_items_is_held(status, error):
    outcome = given_to(an_item(status, error), an_item(status, error))
    assert (outcome.result, outcome.rejected_items) == (Result.HOLD, ())
    assert error in outcome.text


def test_a_batch_of_rejected_documents_does_not_block_the_queue():
    outcome = given_to(an_item(400, MAPPING), an_item(400, MAPPING))
    assert (outcome.result, outcome.rejected_items) == (Result.ACCEPTED, (0, 1))


@pytest.mark.parametrize(
    "item",
    [None, [], "x", {}, {"create": None}, {"create": {}}, {"create": {"status": "201"}}, {"create": {"status": True}},
     {"create": {"status": 201}, "index": {"status": 201}}],
)  # fmt: skip
def test_an_unreadable_item_is_sent_again(item):
    body = {"errors": False, "items": [{"create": {"status": 201}}, item]}
    assert call(interpret, 200, body, 2).retry_items == (1,)


@pytest.mark.parametrize(
    "body", [{"errors": False}, {"took": 1, "errors": False, "items": []}, {"errors": False, "items": None}]
)
def test_a_response_without_errors_and_items_accepts_all(body):
    assert call(interpret, 200, body, 3)[:2] == (Result.ACCEPTED, "200 3 accepted")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"<!doctype html><title>Kibana",
        b'{"errors":false,"items":[{"create":{"st',
        {},
        {"errors": True},
        {"errors": 0},
        {"errors": True, "items": []},
        {"errors": False, "items": [an_item(201)] * 2},
        {"errors": False, "items": [an_item(201)] * 4},
        {"errors": False, "items": {"0": an_item(201)}},
        [an_item(201)] * 3,
        {"acknowledged": True},
    ],
    ids=repr,
)
def test_a_response_to_another_request_is_held(body):
    outcome = call(interpret, 200, body, 3)
    assert outcome.result is Result.HOLD
    assert "url" in outcome.text


def test_a_response_that_is_too_long_splits_the_batch():
    assert call(interpret, 200, b"{" + b" " * MAX_BODY_BYTES).result is Result.SPLIT


@pytest.mark.parametrize(
    ("result", "statuses"),
    [
        (Result.RETRY, (408, 429, 500, 502, 503, 504)),
        (Result.HOLD, (301, 401, 403, 404, 405, 415)),
        (Result.SPLIT, (413,)),
        (Result.REJECTED, (400, 422)),
    ],
)
def test_each_status_of_the_whole_request_has_a_result(result, statuses):
    assert {status: call(interpret, status).result for status in statuses} == dict.fromkeys(statuses, result)


def test_a_rejected_request_is_described_by_elasticsearchs_text():
    body = {"error": {"root_cause": [], "type": "illegal_argument_exception", "reason": "no newline"}, "status": 400}
    assert call(interpret, 400, body).text == "400 illegal_argument_exception: no newline"
    assert call(interpret, 403, {"error": "no handler"}).text == "403 no handler"
    assert call(interpret, 503, b"proxy").text == "503 proxy"
    assert call(interpret, 429, {"error": {"type": "circuit_breaking_exception"}}, Retry_After="9").pause_s == 9


def test_hostile_error_types_stay_one_bounded_line():
    text = given_to(*(an_item(400, f"{n}\n\x1b{'x' * 1000}") for n in range(50)), an_item(201)).text
    assert text.isprintable()
    assert len(text) < 400


@pytest.mark.parametrize("error", [{"type": {"a": 1}}, {"type": 5}, {}, ["a"], 5])
def test_an_error_without_a_type_is_described_by_its_status(error):
    assert call(interpret, 200, {"items": [{"create": {"status": 400, "error": error}}]}, 1).text.endswith(": 400 (1)")


@given(st.integers(200, 599), hostile_bodies, st.integers(1, 8), content_types)
def test_no_body_raises_or_names_items_outside_of_the_batch(status, body, events, content_type):
    assert holds(interpret, status, body, events, content_type)


statuses = st.sampled_from([200, 201, 400, 401, 403, 404, 409, 429, 500, 503])


@given(st.lists(statuses, min_size=1, max_size=8))
def test_only_items_reported_as_accepted_count_as_accepted(several):
    outcome = given_to(*map(an_item, several))
    left = {*outcome.rejected_items, *outcome.retry_items} if outcome.result is Result.ACCEPTED else {*range(len(several))}
    assert {at for at, status in enumerate(several) if status not in (200, 201, 409)} <= left
