"""Times in ns since 1970 as text. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, overload

__all__ = ["SECOND", "stamp"]

SECOND: Final = 1_000_000_000  # ns


@overload
def stamp(time: int) -> str: ...
@overload
def stamp(time: None) -> None: ...
@overload
def stamp(time: int | None) -> str | None: ...
def stamp(time: int | None) -> str | None:
    """RFC 3339 in UTC with nanoseconds, always 30 characters."""
    if time is None:
        return None
    seconds, fraction = divmod(time, SECOND)
    return f"{_second(seconds)}.{fraction:09d}Z"


@lru_cache(4096)  # many events share a second
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
