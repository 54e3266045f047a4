"""Numbers, times and rates as short words for a terminal, and JSON that is fit for one.

Pure. Must not live here: names (`wire.names`), colours (`paint`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, Final

import orjson

__all__ = ["json_line", "padded", "spark", "width_of"]

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_NOT_SAID: Final = "·"  # an interval of which nothing is known: a hole, which no low bar may pass for


def spark(rates: Sequence[float | None], width: int) -> str:
    """The newest `width` rates as bars, the highest of them full; a rate above 0 is never an empty bar's height."""
    rates = rates[-width:]
    top = max((rate for rate in rates if rate is not None), default=0.0)
    bars = [
        _NOT_SAID
        if rate is None
        else _BLOCKS[0]
        if rate <= 0 or top <= 0
        else _BLOCKS[max(1, round(rate / top * (len(_BLOCKS) - 1)))]
        for rate in rates
    ]
    return "".join(bars).rjust(width)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """As wide as so many letters of a terminal."""
    gap = " " * (width - width_of(text))
    return gap + text if right else text + gap


def width_of(text: str) -> int:
    """Letters of a terminal: an ideograph takes two, an accent none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def json_line(value: Any) -> str:  # noqa: ANN401 - any JSON
    r"""JSON in one line. What JSON may leave as it is, and a terminal may not (`\u009b`, `\u202e`, DEL), is escaped as well."""
    text = orjson.dumps(value).decode()
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(ord(letter)) for letter in text)


def _escaped(point: int) -> str:
    if point < 0x10000:
        return f"\\u{point:04x}"
    point -= 0x10000
    return f"\\u{0xD800 + (point >> 10):04x}\\u{0xDC00 + (point & 0x3FF):04x}"
