"""Moments as text. Pure: the moments come in. Must not live here: lengths of time (`words`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

__all__ = ["SECOND", "clock", "stamp"]

SECOND: Final = 1_000_000_000  # ns


def stamp(time: int | None) -> str | None:
    """ns since 1970 as RFC 3339 in UTC, with nanoseconds."""
    if time is None:
        return None
    seconds, fraction = divmod(time, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def clock(text: str | None) -> str:
    """A sent time as the time of its day, to the millisecond."""
    return "" if text is None else text[11:23].rstrip("Z")
