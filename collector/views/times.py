"""Points in time as text, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, overload

from wire import times
from wire.times import span as format_span

__all__ = ["SECOND", "format_span", "parse_stamp", "stamp", "time_of_day"]

SECOND: Final = 1_000_000_000  # ns


@overload
def stamp(time: int) -> str: ...
@overload
def stamp(time: None) -> None: ...
def stamp(time: int | None) -> str | None:
    """ns since 1970 as RFC 3339 in UTC, with nanoseconds."""
    if time is None:
        return None
    seconds, fraction = divmod(time, SECOND)
    return f"{_second(seconds)}.{fraction:09d}Z"


@lru_cache(4096)  # the events of one answer share few seconds
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def time_of_day(text: str | None) -> str:
    """To the millisecond; empty where there is none."""
    return times.clock(text) if text else ""


def parse_stamp(stamped: str) -> int:
    """What `stamp` made, as ns since 1970."""
    return int(datetime.fromisoformat(stamped[:19] + "+00:00").timestamp()) * SECOND + int(stamped[20:29])
