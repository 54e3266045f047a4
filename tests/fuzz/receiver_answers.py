"""What a receiver answers, of each protocol. The first bytes choose protocol, status, type, and whether it asks for a pause."""

import orjson

from agent.sinks.delivery.responses import elastic, http, otlp, splunk
from tests.agent.sinks.delivery.responses.response_bodies import NOW, a_batch

COVERS = ["agent.sinks.delivery.responses.*", "agent.sinks.protobuf", "agent.sinks.printable"]
PROTOCOLS = (splunk, elastic, otlp, http)
STATUSES = (200, 201, 204, 302, 400, 401, 404, 408, 409, 413, 429, 500, 503)
TYPES = ("application/json", "application/x-protobuf", "text/html", "", "\xff")
BODIES = [
    b"", b"<html>", {"text": "Success", "code": 0}, {"text": "Invalid data format", "code": 6, "invalid-event-number": 1},
    {"errors": False, "items": [{"create": {"status": 201}}] * 5},
    {"errors": True, "items": [{"create": {"status": 409, "error": {"type": "version_conflict", "reason": "x"}}}] * 5},
    {"error": {"type": "security_exception", "reason": "x"}, "status": 401},
    {"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "x"}},
    {"accepted": 3, "rejected": [{"line": 1, "reason": "x"}]},
    b"\x0a\x06\x08\x02\x12\x02no", b"\x08\x03\x12\x03bad",
]  # fmt: skip
SEEDS = [
    bytes((protocol, status, kind)) + b"120\0" + (body if isinstance(body, bytes) else orjson.dumps(body))
    for number, body in enumerate(BODIES)
    for protocol in range(4)
    for status, kind in ((number % 2 * 4, (number > 8) * 1),)
]


def check(data):
    head, pause, body = bytes(data[:3]).ljust(3, b"\0"), *(bytes(data[3:]).partition(b"\0")[::2])
    protocol, status, kind = PROTOCOLS[head[0] % 4], STATUSES[head[1] % len(STATUSES)], TYPES[head[2] % len(TYPES)]
    headers = {"Content-Type": kind, "Retry-After": pause.decode("latin-1")}
    outcome = protocol.interpret(status, headers, body, NOW, a_batch(5))
    places = (*outcome.rejected_items, *outcome.retry_items)
    assert len({*places}) == len(places) and all(type(place) is int and 0 <= place < 5 for place in places)
    assert 0 <= outcome.rejected_count <= 5 - len(places)
    assert outcome.text.isprintable() and outcome.text.startswith(str(status)) and len(outcome.text) < 600
    assert outcome.pause_s is None or 0 <= outcome.pause_s <= 3600
    assert outcome.result.name == "ACCEPTED" or (not places and not outcome.rejected_count)
