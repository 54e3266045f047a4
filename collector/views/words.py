"""Values as words for people: hostile names made visible, numbers that read well.

Pure. Must not live here: HTML; escaping for it is the template's.
"""

from __future__ import annotations

from collector.views.times import SECOND
from wire.names import UNKNOWN, visible

__all__ = ["UNKNOWN", "ago", "number", "per_second", "visible"]


def number(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def per_second(rate: float | None) -> str:
    """A rate with as many digits as tell something."""
    if rate is None:
        return UNKNOWN
    if rate == 0:
        return "0"
    if rate < 0.1:
        return f"{rate:.2f}" if rate >= 0.005 else "<0.01"
    return f"{rate:.1f}" if rate < 100 else f"{rate:,.0f}"


def ago(moment: int | None, now: int) -> str:
    """How long ago, in the unit that reads best. A moment ahead of us, by a clock that runs fast, is said so."""
    if moment is None:
        return "never"
    seconds = (now - moment) // SECOND
    if seconds < -5:
        return f"{length(-seconds)} ahead of our clock"
    return "now" if seconds < 1 else f"{length(seconds)} ago"


def length(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
