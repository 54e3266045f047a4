"""Times of events (RFC 3339, UTC, with nanoseconds) as short words, alike on a page and on a terminal. Pure: no clock."""

from __future__ import annotations

from wire.names import UNKNOWN

__all__ = ["clock", "span"]


def clock(stamp: str | None) -> str:
    """The time of the day, to the millisecond; UNKNOWN for what is no time."""
    if stamp is None or len(stamp) < 20 or not (stamp.isascii() and stamp.isprintable()):
        return UNKNOWN
    return stamp[11:23].rstrip("Z")


def span(start: str, end: str | None) -> str:
    """From when to when, to the second; the day once where it is the same. `end` None: it goes on, or is not known."""
    begin = f"{start[:10]} {start[11:19]}"
    if end is None:
        return f"since {begin}"
    return f"{begin} to {end[11:19]}" if end[:10] == start[:10] else f"{begin} to {end[:10]} {end[11:19]}"
