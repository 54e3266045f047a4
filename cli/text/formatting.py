"""Sparklines, padding and JSON for a terminal. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, Final

import orjson

__all__ = ["json_line", "padded", "sparkline", "width_of"]

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_UNKNOWN: Final = "·"  # an interval without a known rate; it must differ from the lowest bar


def sparkline(rates: Sequence[float | None], width: int) -> str:
    """The newest `width` rates as bars, scaled to the highest. A rate above 0 is always higher than the bar of 0."""
    rates = rates[-width:]
    top = max((rate for rate in rates if rate is not None), default=0.0)
    bars = [
        _UNKNOWN
        if rate is None
        else _BLOCKS[0]
        if rate <= 0 or top <= 0
        else _BLOCKS[max(1, round(rate / top * (len(_BLOCKS) - 1)))]
        for rate in rates
    ]
    return "".join(bars).rjust(width)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Padded to so many columns of a terminal."""
    gap = " " * (width - width_of(text))
    return gap + text if right else text + gap


def width_of(text: str) -> int:
    """Columns of a terminal: an ideograph takes two, a combining accent none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def json_line(value: Any) -> str:  # noqa: ANN401 - any JSON
    r"""JSON in one line. Also escapes what JSON permits but a terminal would interpret (`\u009b`, `\u202e`, DEL)."""
    text = orjson.dumps(value).decode()
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(ord(letter)) for letter in text)


def _escaped(point: int) -> str:
    if point < 0x10000:
        return f"\\u{point:04x}"
    point -= 0x10000
    return f"\\u{0xD800 + (point >> 10):04x}\\u{0xDC00 + (point & 0x3FF):04x}"
