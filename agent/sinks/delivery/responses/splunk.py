"""`protocol: splunk_hec`: the HTTP Event Collector's codes, which say more than its statuses, and of whoever speaks like it.

Codes: Splunk's "Troubleshoot HTTP Event Collector". Must not live here: indexer acknowledgement.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from agent.model import Batch
from agent.sinks.delivery.responses.response import (
    HOLD,
    MOST_BYTES,
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
    7: "the token may not write to this index, or there is none of that name: see the sink's index",
    10: "the token wants indexer acknowledgement, which is not spoken: turn it off for this token",
    11: "the channel is not understood: turn indexer acknowledgement off for this token",
    14: "indexer acknowledgement is off for this token",
    16: "tokens in the URL are turned off: set token_file",
    21: "no such token: is token_file this Splunk's?",
    22: "the token is disabled: enable it in Splunk",
}
_RETRY: Final = frozenset({8, 9, 18, 19, 20, 23, 26, 27})  # internal error, busy, unhealthy, shutting down, at capacity
_SLOW: Final = frozenset({24, 25})  # taken, and its queue or its acknowledgements are nearly full
_DATA: Final = frozenset({5, 6, 12, 13, 15})  # no data, invalid format, no event, blank event, indexed fields
_SLOW_S: Final = 2.0  # Splunk names no pause; a queue that drains at all has moved by then
_STEP_S: Final = 1.0  # a receiver that refuses every event one by one is not to be flooded with what is left of the batch


def interpret(status: int, headers: Mapping[str, str], body: bytes, now: datetime, batch: Batch) -> Outcome:
    reply = _reply(body)
    code = reply.get("code") if type(reply.get("code")) is int else None
    words = reply.get("text")
    text = status_text(status, body if code is None else f"code {code}, {words if isinstance(words, str) else 'no text'}")
    pause = retry_after(headers.get("Retry-After"), now)
    if status == 413:
        return Outcome(Result.SPLIT, text)
    if code in _HOLD:
        return Outcome(Result.HOLD, f"{text}: {_HOLD[code]}")
    if code in _RETRY:
        return Outcome(Result.RETRY, text, pause)
    if code in _DATA and status not in HOLD:  # of another path some say that the data is wrong
        return _one_by_one(text, reply.get("invalid-event-number"), batch.events)
    if not 200 <= status < 300:
        return interpret_status(status, text, headers, now)
    if is_web_page(body):
        return Outcome(Result.HOLD, f"{text}: a web page is no HTTP Event Collector: see the sink's url")
    if code is None and len(body) >= MOST_BYTES:
        return Outcome(Result.RETRY, f"{text}: too long to be read to its end, where it may say that nothing was taken")
    if code in _SLOW:
        return Outcome(Result.ACCEPTED, text, _SLOW_S if pause is None else pause)
    return Outcome(Result.ACCEPTED, text)


def _one_by_one(text: str, number: object, events: int) -> Outcome:
    """At best the first bad event is named. What became of those before it is not documented: Splunk was seen to index them,
    while others that speak its language take nothing of such a batch. So all but the one are sent again: what was there already
    comes twice, with the same id, and nothing counts as delivered that was not said to be."""
    if type(number) is not int or not 0 <= number < events:
        return Outcome(Result.REJECTED, text)
    rest = tuple(at for at in range(events) if at != number)
    return Outcome(Result.ACCEPTED, f"{text}: event {number} of {events}", _STEP_S if rest else None, (number,), rest)


def _reply(body: bytes) -> dict[str, Any]:
    try:
        reply = orjson.loads(body)
    except ValueError:
        return {}
    return reply if isinstance(reply, dict) else {}
