"""Values as words for people: hostile names made visible, numbers that read well.

Pure. Must not live here: HTML; escaping for it is the template's.
"""

from __future__ import annotations

from typing import Final

from collector.views.times import SECOND

__all__ = ["UNKNOWN", "ago", "number", "per_second", "visible"]

UNKNOWN: Final = "–"  # noqa: RUF001 - an en dash, as tables have it
_SHORT: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}


def visible(text: str | None) -> str:
    r"""A name as someone chose it, with all that does not show itself shown: `\x01`, `\u202e`.

    Control, bidirectional and other format characters, private ones and odd spaces. A backslash is doubled, so that no name
    can pass for another's escape. U+FFFD stands for what was not UTF-8 and stays.
    """
    if text is None:
        return UNKNOWN
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_SHORT.get(letter) or (letter if letter.isprintable() else _escaped(ord(letter))) for letter in text)


def _escaped(point: int) -> str:
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


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
