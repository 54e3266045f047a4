"""`protocol: otlp`, row by row; bodies by the official classes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse

from agent.sinks.delivery.responses import Result
from agent.sinks.delivery.responses.otlp import interpret
from agent.sinks.protobuf import nested
from tests.agent.sinks.delivery.responses.response_bodies import call, content_types, holds, hostile_bodies

PROTOBUF, JSON = "application/x-protobuf", "application/json"


def protobuf(rejected, message=""):
    partial = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
    return ExportLogsServiceResponse(partial_success=partial).SerializeToString(), PROTOBUF


def json(rejected, message=""):
    return {"partialSuccess": {"rejectedLogRecords": rejected, "errorMessage": message}}, JSON


@pytest.mark.parametrize(
    ("result", "statuses"),
    [
        (Result.ACCEPTED, (200, 201, 202, 204)),
        (Result.RETRY, (429, 502, 503, 504)),
        (Result.HOLD, (301, 302, 308, 401, 403, 404, 405, 407, 410, 415)),
        (Result.SPLIT, (408, 413)),
        (Result.REJECTED, (400, 409, 422, 425, 431, 500, 501, 505, 507, 599)),
    ],
)
def test_each_status_has_a_result(result, statuses):
    assert {status: call(interpret, status).result for status in statuses} == dict.fromkeys(statuses, result)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_retryable_status_may_have_a_pause(status):
    assert call(interpret, status, Retry_After="9").pause_s == 9
    assert call(interpret, status).pause_s is None


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", PROTOBUF),
        (b"", ""),
        (b"\x0a\x00", PROTOBUF),  # the official collector's: present and empty
        ({}, JSON),
        ({"partialSuccess": {}}, JSON),
        ({"partialSuccess": None}, JSON),
        protobuf(0),
        json(0),
        json("0"),
        (b"OK", "text/plain"),
    ],
    ids=repr,
)
def test_full_success_has_many_shapes(body, content_type):
    assert call(interpret, 200, body, Content_Type=content_type) == (Result.ACCEPTED, "200", None, (), (), 0)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [protobuf(2, "too old"), json(2, "too old"), json("2", "too old"), (json(2, "too old")[0], "")],
    ids=["protobuf", "JSON", "JSON as protobuf writes numbers", "JSON without its content type"],
)
def test_a_partial_success_has_the_number_of_rejected_records_and_the_reason(body, content_type):
    outcome = call(interpret, 200, body, Content_Type=content_type)
    assert (outcome.result, outcome.rejected_count) == (Result.ACCEPTED, 2)
    assert outcome.text == "200 2 of 5 rejected: too old"
    assert (outcome.rejected_items, outcome.retry_items) == ((), ())  # and are not to be sent again


@pytest.mark.parametrize("given_to", [protobuf, json])
def test_no_more_are_rejected_than_were_sent_and_no_fewer_than_none(given_to):
    assert [
        call(interpret, 200, body, Content_Type=kind).rejected_count for body, kind in map(given_to, (5, 6, 2**63 - 1, -1))
    ] == [
        5,
        5,
        5,
        0,
    ]


@pytest.mark.parametrize("given_to", [protobuf, json])
def test_a_message_without_rejections_is_a_warning(given_to):
    body, content_type = given_to(0, "slow\ndown")
    outcome = call(interpret, 200, body, Content_Type=content_type)
    assert (outcome.text, outcome.rejected_count) == ("200 warning: slow\\ndown", 0)


@pytest.mark.parametrize("number", [True, 2.0, "two", "-2", "٢", [2], {"2": 2}, None])
def test_an_invalid_number_rejects_nothing(number):
    assert call(interpret, 200, json(number)[0], Content_Type=JSON).rejected_count == 0


def test_a_partial_success_without_a_content_type_is_read_as_protobuf():
    assert call(interpret, 200, protobuf(2)[0]).rejected_count == 2


def test_unknown_fields_are_skipped():
    new = b"\x78\x05" + nested(9, b"new") + b"\x61" + b"8 bytes!"
    body = new + nested(1, new + b"\x08\x02" + new)
    assert call(interpret, 200, body, Content_Type=PROTOBUF).rejected_count == 2


def test_the_readable_part_of_a_cut_response_counts():
    body = protobuf(2, "x" * 1000)[0]
    assert call(interpret, 200, body[:100], Content_Type=PROTOBUF).rejected_count == 2


def test_a_web_page_accepts_nothing():
    assert call(interpret, 200, b"<!doctype html>", Content_Type="text/html").result is Result.HOLD


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\x08\x0e" + nested(2, b"sending queue is full"), PROTOBUF),
        ({"code": 14, "message": "sending queue is full"}, JSON),
        (b"sending queue is full", "text/plain"),
    ],
    ids=["protobuf", "JSON", "text"],
)
def test_a_rejected_request_is_described_by_the_receivers_text(body, content_type):
    assert call(interpret, 503, body, Content_Type=content_type).text == "503 sending queue is full"


def test_a_too_large_request_of_the_official_collector_is_split_and_other_bad_requests_are_not():
    too_large = b"\x08\x03" + nested(2, b"http: request body too large")
    assert call(interpret, 400, too_large, Content_Type=PROTOBUF).result is Result.SPLIT
    assert call(interpret, 400, b"\x08\x03" + nested(2, b"bad wire type"), Content_Type=PROTOBUF).result is Result.REJECTED
    assert call(interpret, 500, too_large, Content_Type=PROTOBUF).result is Result.REJECTED


@given(st.integers(200, 599), hostile_bodies, st.integers(1, 8), content_types)
def test_no_body_raises_or_names_items_outside_of_the_batch(status, body, events, content_type):
    assert holds(interpret, status, body, events, content_type)


@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=20), st.integers(1, 8))
@example(7, "x" * 56, 8)  # of 60 bytes: it begins as a web page does
def test_every_partial_success_of_the_official_classes_is_read(rejected, message, events):
    body, content_type = protobuf(rejected, message)
    assert call(interpret, 200, body, events, Content_Type=content_type).rejected_count == min(max(rejected, 0), events)
