"""Moments as text, and back. Pure: the moments come in. Must not live here: lengths of time (`words`)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from wire import times
from wire.times import span

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
    """A sent time as the time of its day, to the millisecond; empty where there is none."""
    return times.clock(text) if text else ""


def moment(stamped: str) -> int:
    """What `stamp` made, as ns since 1970."""
    return int(datetime.fromisoformat(stamped[:19] + "+00:00").timestamp()) * SECOND + int(stamped[20:29])
