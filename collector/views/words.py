"""Values as words for people: hostile names made visible, numbers that read well.

Pure. Must not live here: HTML; escaping for it is the template's.
"""

from __future__ import annotations

from collector.views.times import SECOND
from wire.names import UNKNOWN, visible
from wire.numbers import number, per_second

__all__ = ["UNKNOWN", "ago", "number", "per_second", "visible"]


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
