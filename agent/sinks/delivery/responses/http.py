"""`protocol: http`: forklore's own collector, and whatever takes a body and says so by its status. Any 2xx takes the batch.

Must not live here: receivers with a protocol of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import orjson

from agent.model import Batch
from agent.sinks.delivery.responses.response import Answer, Fate, by_status, told

__all__ = ["answer"]


def answer(status: int, headers: Mapping[str, str], body: bytes, now: datetime, batch: Batch) -> Answer:
    text = told(status, body)
    if 200 <= status < 300:
        return Answer(Fate.TAKEN, text, refused=_refused(body, batch.events))
    return by_status(status, text, headers, now)


def _refused(body: bytes, events: int) -> tuple[int, ...]:
    """From wire.batch.Receipt, if it is one; another receiver's body says nothing to us."""
    try:
        lines = {line["line"] for line in orjson.loads(body)["rejected"] if type(line["line"]) is int}
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(sorted(line for line in lines if 0 <= line < events))
