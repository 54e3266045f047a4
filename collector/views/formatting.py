"""Values as text for people: hostile names made visible, readable numbers and durations."""

from __future__ import annotations

from collector.views.times import SECOND
from wire.names import UNKNOWN, visible
from wire.numbers import number, per_second

__all__ = ["UNKNOWN", "format_duration", "number", "per_second", "plain_number", "time_ago", "visible"]


def time_ago(time: int | None, now: int) -> str:
    """How long ago, in the most readable unit. A time in the future comes from a node whose clock runs fast."""
    if time is None:
        return "never"
    seconds = (now - time) // SECOND
    if seconds < -5:
        return f"{format_duration(-seconds)} ahead of our clock"
    return "now" if seconds < 1 else f"{format_duration(seconds)} ago"


def format_duration(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def plain_number(value: int | None) -> str:
    """A pid or uid: no thousands separators."""
    return UNKNOWN if value is None else str(value)
