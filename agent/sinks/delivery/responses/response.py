"""What all protocols share: the fates, and what a status means where a protocol does not say otherwise.

Must not live here: what a protocol's bodies say.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final, NamedTuple

from agent.sinks.printable import printable

__all__ = [
    "HOLD",
    "MOST_BYTES",
    "Outcome",
    "Result",
    "interpret_status",
    "is_misdirected",
    "is_web_page",
    "retry_after",
    "status_text",
]


class Result(Enum):
    ACCEPTED = "accepted"
    RETRY = "retry"  # the receiver's trouble: again, later
    HOLD = "hold"  # our settings' trouble: again, slowly, until somebody mends them
    SPLIT = "split"  # too large
    REJECTED = "rejected"  # will never pass


class Outcome(NamedTuple):
    """`pause_s`: how long the receiver is to be left alone, also when it took the batch; None: it does not say.

    Of a batch that was TAKEN, by place in the body, from 0: the `refused` items will never pass, those `again` are to be sent
    once more. `rejected`: how many will never pass where the receiver does not say which.
    """

    result: Result
    text: str
    pause_s: float | None = None
    rejected_items: tuple[int, ...] = ()
    retry_items: tuple[int, ...] = ()
    rejected_count: int = 0


MOST_BYTES: Final = 1 << 20  # of an answer's body are read; one as long as this was cut
HOLD: Final = frozenset({401, 403, 404, 405, 407, 410, 415})
_RETRY: Final = frozenset({408, 425, 429})
# How some say with 400 what others say with 404 and 415: Elasticsearch of a path, Fluent Bit of a path and a type. As the first
# words only: further on may be what a container chose, and a batch that is held holds up all behind it.
_MISDIRECTED: Final = (
    "400 no handler found for uri", "400 error: invalid HTTP endpoint", "400 error: invalid endpoint",
    "400 error: invalid 'Content-Type'",
)  # fmt: skip
_LONGEST_S: Final = 3600.0  # nobody can ask for more: the journal is bounded
_MOST_TEXT: Final = 200  # characters of a receiver's words that people are shown


def interpret_status(status: int, text: str, headers: Mapping[str, str], now: datetime) -> Outcome:
    """What a status other than 2xx means by itself."""
    if status == 413:
        return Outcome(Result.SPLIT, text)
    if status in HOLD or 300 <= status < 400 or is_misdirected(text):
        return Outcome(Result.HOLD, text)
    if status in _RETRY or status >= 500:
        return Outcome(Result.RETRY, text, retry_after(headers.get("Retry-After"), now))
    return Outcome(Result.REJECTED, text)


def is_misdirected(text: str) -> bool:
    """`text`: as `told` has it. The url or the framing is wrong, and nothing in the batch."""
    return text.startswith(_MISDIRECTED)


def status_text(status: int, said: str | bytes) -> str:
    """One bounded line: the status, and the receiver's words as far as they go."""
    words = said[: _MOST_TEXT * 4].decode(errors="replace") if isinstance(said, bytes) else said
    return f"{status} {printable(words.strip(), _MOST_TEXT)}".strip()


def is_web_page(body: bytes) -> bool:
    """HTML or XML: a proxy, a login page, another program's port. Its 200 says nothing of our batch."""
    return body[:200].lstrip().startswith(b"<")


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
