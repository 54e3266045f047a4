"""`protocol: otlp`: the responses over HTTP (opentelemetry.io/docs/specs/otlp, "OTLP/HTTP Response"). gRPC is not supported.

Requests that the specification forbids to retry are not retried. Halves of those that were too large (413) or too slow (408)
are other requests. Those that fail until a person changes something (401, 403, 404) are held.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from agent.model import Batch
from agent.sinks.delivery.responses.response import HOLD, Outcome, Result, is_misdirected, is_web_page, retry_after, status_text
from agent.sinks.printable import printable
from agent.sinks.protobuf import VARINT, fields, unsigned

__all__ = ["interpret"]

_RETRY: Final = frozenset({429, 502, 503, 504})
_TOO_LARGE: Final = "request body too large"  # the OpenTelemetry Collector's text, with status 400
_MAX_TEXT: Final = 200


def interpret(status: int, headers: Mapping[str, str], body: bytes, now: datetime, batch: Batch) -> Outcome:
    if 200 <= status < 300:
        return _accepted(status, headers, body, batch)
    text = status_text(status, _message(headers, body) or body)
    if status in (408, 413) or (status == 400 and _TOO_LARGE in text):
        return Outcome(Result.SPLIT, text)
    if status in HOLD or 300 <= status < 400 or is_misdirected(text):
        return Outcome(Result.HOLD, text)
    if status in _RETRY:
        return Outcome(Result.RETRY, text, retry_after(headers.get("Retry-After"), now))
    return Outcome(Result.REJECTED, text)


def _accepted(status: int, headers: Mapping[str, str], body: bytes, batch: Batch) -> Outcome:
    """Everything was accepted if `partial_success` is empty, or there is no body at all (Loki's 204)."""
    if is_web_page(body) and not _is_protobuf(headers):  # a partial success of 60 bytes begins with b"\n<", too
        return Outcome(Result.HOLD, f"{status_text(status, body)}: a web page, and not an OTLP receiver: see the sink's url")
    rejected, message = _partial_json(body) if _is_json(headers, body) else _partial_protobuf(headers, body)
    rejected = min(max(rejected, 0), batch.events)
    text = printable(message, _MAX_TEXT)
    if rejected:
        return Outcome(Result.ACCEPTED, f"{status} {rejected} of {batch.events} rejected: {text}", rejected_count=rejected)
    return Outcome(Result.ACCEPTED, f"{status} warning: {text}" if text else str(status))


def _partial_json(body: bytes) -> tuple[int, str]:
    partial = _object(_object(_json(body)).get("partialSuccess"))
    number, message = partial.get("rejectedLogRecords"), partial.get("errorMessage")
    if isinstance(number, str) and number.isascii() and number.isdigit():  # as 64-bit numbers are in protobuf's JSON
        number = int(number[:20])
    return number if type(number) is int else 0, message if isinstance(message, str) else ""


def _partial_protobuf(headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
    """ExportLogsServiceResponse.partial_success = 1: rejected_log_records = 1, error_message = 2."""
    rejected, message = 0, ""
    if not _is_protobuf(headers):
        return rejected, message
    try:
        for number, _, _, start, end in fields(body):
            if number == 1:
                for inner, wire_type, _, at, stop in fields(body, start, end):
                    if inner == 1 and wire_type == VARINT:
                        rejected = unsigned(body, at, stop)[0]
                    elif inner == 2:
                        message = _text(body, at, stop)
    except ValueError:
        pass  # what came before has been read
    # An int64: negative numbers have no meaning.
    return 0 if rejected >> 63 else rejected, message


def _message(headers: Mapping[str, str], body: bytes) -> str:
    """google.rpc.Status.message = 2, of a request that was rejected as a whole."""
    message = ""
    if _is_json(headers, body):
        value = _object(_json(body)).get("message")
        message = value if isinstance(value, str) else ""
    elif _is_protobuf(headers):
        try:
            for number, _, _, start, end in fields(body):
                if number == 2:
                    message = _text(body, start, end)
        except ValueError:
            pass
    return message


def _text(body: bytes, start: int, end: int) -> str:
    return body[start : min(end, start + _MAX_TEXT * 4)].decode(errors="replace")


def _is_json(headers: Mapping[str, str], body: bytes) -> bool:
    """By the Content-Type, or by the first byte, with which no response in protobuf begins."""
    return "json" in headers.get("Content-Type", "") or body[:1] == b"{"


def _is_protobuf(headers: Mapping[str, str]) -> bool:
    """A response without a Content-Type is taken to be protobuf."""
    return "protobuf" in headers.get("Content-Type", "protobuf")


def _json(body: bytes) -> object:
    try:
        content: object = orjson.loads(body)
    except ValueError:
        return None
    return content


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
