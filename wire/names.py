"""Foreign names, made safe to show on a page or a terminal: characters that could control it are escaped.

HTML and JSON add their own escapes.
"""

from __future__ import annotations

from typing import Final

__all__ = ["UNKNOWN", "escape_controls", "visible"]

UNKNOWN: Final = "–"  # noqa: RUF001 - an en dash, as tables have it
_SHORT: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str | None) -> str:
    r"""A name as someone chose it, with all that does not show itself shown: `\x01`, `\u202e`.

    Control, bidirectional and other format characters, private ones and odd spaces. A backslash is doubled, so that no name
    can pass for another's escape. U+FFFD stands for what was not UTF-8 and stays.
    """
    return UNKNOWN if text is None else escape_controls(text.replace("\\", "\\\\"))


def escape_controls(text: str) -> str:
    """As `visible`, but for backslashes: applied to what is `visible` already, it changes nothing."""
    if text.isprintable():
        return text
    return "".join(_SHORT.get(letter) or (letter if letter.isprintable() else _escaped(ord(letter))) for letter in text)


def _escaped(point: int) -> str:
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
