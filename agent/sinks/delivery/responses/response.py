"""What all protocols share: the outcome of a request, and what an HTTP status means where a protocol does not define it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final, NamedTuple

from agent.sinks.printable import printable

__all__ = [
    "HOLD",
    "MAX_BODY_BYTES",
    "TLS_CURE",
    "Outcome",
    "Result",
    "interpret_status",
    "is_misdirected",
    "is_web_page",
    "retry_after",
    "status_text",
]


class Result(Enum):
    """What happens to the batch next. The value is shown to people."""

    ACCEPTED = "accepted"
    RETRY = "retry"  # again, after a pause: the receiver is busy or has an error
    HOLD = "hold"  # again, after a long pause: a setting or the receiver's set-up is wrong
    SPLIT = "split"  # in two halves: it is too large
    REJECTED = "rejected"  # never again


class Outcome(NamedTuple):
    """`pause_s`: how long the receiver asks to be left alone, even after it accepted the batch; None: it does not ask.

    Of a batch that was ACCEPTED, by index in the body, from 0: `rejected_items` will never be accepted, `retry_items` are to be
    sent once more. `rejected_count`: how many more will never be accepted, when the receiver does not say which.
    """

    result: Result
    text: str
    pause_s: float | None = None
    rejected_items: tuple[int, ...] = ()
    retry_items: tuple[int, ...] = ()
    rejected_count: int = 0


MAX_BODY_BYTES: Final = 1 << 20  # of a response's body are read; one as long as this was cut
HOLD: Final = frozenset({401, 403, 404, 405, 407, 410, 415})
_RETRY: Final = frozenset({408, 425, 429})
# Some respond 400 where others respond 404 and 415: Elasticsearch for a path, Fluent Bit for a path and a content type. Only
# the first words are compared: later ones may come from a container, and a batch that is held delays all behind it.
_MISDIRECTED: Final = (
    "400 no handler found for uri", "400 error: invalid HTTP endpoint", "400 error: invalid endpoint",
    "400 error: invalid 'Content-Type'",
)  # fmt: skip
# What servers answer with 400 to plain HTTP on a port for TLS: Go, nginx, Apache, Tomcat.
_TLS_PORT: Final = (
    b"Client sent an HTTP request to an HTTPS server", b"plain HTTP request was sent to HTTPS port",
    b"speaking plain HTTP to an SSL-enabled server port", b"combination of host and port requires TLS",
)  # fmt: skip
TLS_CURE: Final = "should the url be https://?"
_MAX_PAUSE_S: Final = 3600.0  # the longest pause that a receiver may ask for: the journal is bounded
_MAX_TEXT: Final = 200  # characters of a receiver's text that are shown to people


def interpret_status(status: int, text: str, headers: Mapping[str, str], now: datetime) -> Outcome:
    """The outcome of a status other than 2xx. `headers`: of the response."""
    if status == 413:
        return Outcome(Result.SPLIT, text)
    if status in HOLD or 300 <= status < 400 or is_misdirected(text):
        return Outcome(Result.HOLD, text)
    if status in _RETRY or status >= 500:
        return Outcome(Result.RETRY, text, retry_after(headers.get("Retry-After"), now))
    return Outcome(Result.REJECTED, text)


def is_misdirected(text: str) -> bool:
    """The url or the framing is wrong, and not the batch. `text`: as `status_text` returns it."""
    return text.startswith(_MISDIRECTED)


def status_text(status: int, message: str | bytes) -> str:
    """One printable line: the status, and the receiver's message, cut at 200 characters."""
    if not isinstance(message, bytes):
        return f"{status} {printable(message.strip(), _MAX_TEXT)}".strip()
    text = f"{status} {printable(message[: _MAX_TEXT * 4].decode(errors='replace').strip(), _MAX_TEXT)}".strip()
    wants_tls = status == 400 and any(phrase in message[: _MAX_TEXT * 4] for phrase in _TLS_PORT)
    return f"{text}: {TLS_CURE}" if wants_tls else text


def is_web_page(body: bytes) -> bool:
    """HTML or XML: from a proxy, a login page, or another program's port. Its status is not about our batch."""
    return body[:200].lstrip().startswith(b"<")


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds, from the header's seconds or HTTP date (RFC 9110, 10.2.3). None when it is absent or cannot be parsed."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _MAX_PAUSE_S)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), _MAX_PAUSE_S)
