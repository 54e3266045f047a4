"""Moments as text, and back. Pure: the moments come in. Must not live here: lengths of time (`words`)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

__all__ = ["SECOND", "clock", "moment", "span", "stamp"]

SECOND: Final = 1_000_000_000  # ns


def stamp(time: int | None) -> str | None:
    """ns since 1970 as RFC 3339 in UTC, with nanoseconds."""
    if time is None:
        return None
    seconds, fraction = divmod(time, SECOND)
    return f"{_second(seconds)}.{fraction:09d}Z"


@lru_cache(4096)  # moments come in crowds
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def clock(text: str | None) -> str:
    """A sent time as the time of its day, to the millisecond."""
    return "" if text is None else text[11:23].rstrip("Z")


def moment(stamped: str) -> int:
    """What `stamp` made, as ns since 1970."""
    return int(datetime.fromisoformat(stamped[:19] + "+00:00").timestamp()) * SECOND + int(stamped[20:29])


def span(start: str, end: str | None) -> str:
    """From when to when, to the second; the day is said once where it is the same. `end` None: it goes on, or was not told."""
    begun = f"{start[:10]} {start[11:19]}"
    if end is None:
        return f"since {begun}"
    return f"{begun} to {end[11:19]}" if end[:10] == start[:10] else f"{begun} to {end[:10]} {end[11:19]}"
