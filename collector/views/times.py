"""Points in time as text, and back."""

from __future__ import annotations

from datetime import datetime

from collector.model.times import SECOND, stamp
from wire import times
from wire.times import span as format_span

__all__ = ["SECOND", "format_span", "parse_stamp", "stamp", "time_of_day"]


def time_of_day(text: str | None) -> str:
    """To the millisecond; empty where there is none."""
    return times.clock(text) if text else ""


def parse_stamp(stamped: str) -> int:
    """What `stamp` made, as ns since 1970."""
    return int(datetime.fromisoformat(stamped[:19] + "+00:00").timestamp()) * SECOND + int(stamped[20:29])
