"""`protocol: http`: forklore's own collector, and any receiver whose status is all that counts. Any 2xx accepts the batch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import orjson

from agent.model import Batch
from agent.sinks.delivery.responses.response import Outcome, Result, interpret_status, status_text

__all__ = ["interpret"]


def interpret(status: int, headers: Mapping[str, str], body: bytes, now: datetime, batch: Batch) -> Outcome:
    text = status_text(status, _error(body) or body)
    if 200 <= status < 300:
        return Outcome(Result.ACCEPTED, text, rejected_items=_rejected_items(body, batch.events))
    return interpret_status(status, text, headers, now)


def _error(body: bytes) -> str | None:
    """The sentence with which forklore's collector refuses a request: `{"error": ...}`."""
    try:
        error = orjson.loads(body)["error"] if body.startswith(b"{") else None
    except (ValueError, KeyError, TypeError):
        return None
    return error if isinstance(error, str) else None


def _rejected_items(body: bytes, events: int) -> tuple[int, ...]:
    """From wire.batch.Receipt, if the body is one; the body of another receiver has no meaning here."""
    try:
        lines = {line["line"] for line in orjson.loads(body)["rejected"] if type(line["line"]) is int}
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(sorted(line for line in lines if 0 <= line < events))
