"""`protocol: splunk_hec`: the responses of Splunk's HTTP Event Collector and of receivers with its protocol.

Codes: Splunk's "Troubleshoot HTTP Event Collector". They are more precise than the status. Indexer acknowledgement is not
supported.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from agent.model import Batch
from agent.sinks.delivery.responses.response import (
    HOLD,
    MAX_BODY_BYTES,
    Outcome,
    Result,
    interpret_status,
    is_web_page,
    retry_after,
    status_text,
)

__all__ = ["interpret"]

# Code -> what an operator can do about it.
_HOLD: Final = {
    1: "the token is disabled: enable it in Splunk",
    2: "no token was sent: set token_file",
    3: "the Authorization header is not understood: is it `Splunk <token>` or `Bearer <token>` here?",
    4: "no such token: is token_file this Splunk's?",
    7: "the token may not write to this index, or there is no such index: see the sink's index",
    10: "the token requires indexer acknowledgement, which is not supported: turn it off for this token",
    11: "the channel is not understood: turn indexer acknowledgement off for this token",
    14: "indexer acknowledgement is off for this token",
    16: "tokens in the URL are turned off: set token_file",
    21: "no such token: is token_file this Splunk's?",
    22: "the token is disabled: enable it in Splunk",
}
_RETRY: Final = frozenset({8, 9, 18, 19, 20, 23, 26, 27})  # internal error, busy, unhealthy, shutting down, at capacity
_SLOW: Final = frozenset({24, 25})  # accepted, but its queue or its acknowledgements are nearly full
_DATA: Final = frozenset({5, 6, 12, 13, 15})  # no data, invalid format, no event, blank event, indexed fields
_SLOW_S: Final = 2.0  # Splunk asks for no pause; a queue that drains at all has moved by then
_STEP_S: Final = 1.0  # so that the rests of a batch do not flood a receiver that rejects every event, one by one


def interpret(status: int, headers: Mapping[str, str], body: bytes, now: datetime, batch: Batch) -> Outcome:
    content = _json_object(body)
    code = content.get("code") if type(content.get("code")) is int else None
    message = content.get("text")
    text = status_text(status, body if code is None else f"code {code}, {message if isinstance(message, str) else 'no text'}")
    pause = retry_after(headers.get("Retry-After"), now)
    if status == 413:
        return Outcome(Result.SPLIT, text)
    if code in _HOLD:
        return Outcome(Result.HOLD, f"{text}: {_HOLD[code]}")
    if code in _RETRY:
        return Outcome(Result.RETRY, text, pause)
    if code in _DATA and status not in HOLD:  # for a wrong path some receivers respond that the data is wrong
        return _without_rejected(text, content.get("invalid-event-number"), batch.events)
    if not 200 <= status < 300:
        return interpret_status(status, text, headers, now)
    if is_web_page(body):
        return Outcome(Result.HOLD, f"{text}: a web page, and not an HTTP Event Collector: see the sink's url")
    if code is None and len(body) >= MAX_BODY_BYTES:
        return Outcome(Result.RETRY, f"{text}: the response is too long, and its end may say that nothing was accepted")
    if code in _SLOW:
        return Outcome(Result.ACCEPTED, text, _SLOW_S if pause is None else pause)
    return Outcome(Result.ACCEPTED, text)


def _without_rejected(text: str, number: object, events: int) -> Outcome:
    """At best the response names the first bad event. `number`: its index.

    Whether the events before it were indexed is not documented: Splunk does so, other receivers with its protocol accept
    nothing of such a batch. So all but the one are sent again: some may arrive twice, with the same id, and none counts as
    delivered that was not accepted.
    """
    if type(number) is not int or not 0 <= number < events:
        return Outcome(Result.REJECTED, text)
    rest = tuple(at for at in range(events) if at != number)
    return Outcome(Result.ACCEPTED, f"{text}: event {number} of {events}", _STEP_S if rest else None, (number,), rest)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
