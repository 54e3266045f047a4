"""What a receiver's answer means for a batch. Pure; one function a protocol.

Any 2xx takes the batch, subject to what the body says. Must not live here: requests, pauses.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import NamedTuple

import orjson

__all__ = ["Answer", "Fate", "http_answer", "retry_after"]


class Fate(Enum):
    TAKEN = "taken"
    RETRY = "retry"  # the receiver's trouble: again, later
    HOLD = "hold"  # our settings' trouble: again, slowly, until somebody mends them
    SPLIT = "split"  # too large
    SET_ASIDE = "set aside"  # will never pass


class Answer(NamedTuple):
    """`pause_s`: what the receiver asked for. `refused`: lines of a taken batch that were not taken, counted from 0."""

    fate: Fate
    text: str
    pause_s: float | None = None
    refused: tuple[int, ...] = ()


_LONGEST_S = 3600.0  # nobody can ask for more: the journal is bounded
_HOLD = {401, 403, 404, 405, 407, 415}
_RETRY = {408, 425, 429}


def http_answer(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> Answer:
    """For `protocol: http`: forklore's collector, and anything that takes NDJSON and says so by its status."""
    text = f"{status} {body[:200].decode(errors='replace')}".strip()
    if 200 <= status < 300:
        return Answer(Fate.TAKEN, text, refused=_refused(body))
    if status == 413:
        return Answer(Fate.SPLIT, text)
    if status in _HOLD or 300 <= status < 400:
        return Answer(Fate.HOLD, text)
    if status in _RETRY or status >= 500:
        return Answer(Fate.RETRY, text, retry_after(headers.get("Retry-After"), now))
    return Answer(Fate.SET_ASIDE, text)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds, from seconds or an HTTP date (RFC 9110, 10.2.3); None when there is nothing that can be understood."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _LONGEST_S)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), _LONGEST_S)


def _refused(body: bytes) -> tuple[int, ...]:
    """wire.batch.Receipt, if it is one; another receiver's body says nothing to us."""
    try:
        rejected = orjson.loads(body)["rejected"]
        return tuple(line["line"] for line in rejected if isinstance(line["line"], int))
    except (ValueError, KeyError, TypeError):
        return ()
