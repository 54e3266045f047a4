"""Sizes and durations as people write them in settings, options and queries: `16Mi`, `10s`, `-15m`. Pure.

Each function returns None for what is not written so: what would be right is for the caller to say.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_offset", "nanoseconds", "seconds", "size"]

_BYTES: Final = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 10**3, "M": 10**6, "G": 10**9}
_NS: Final = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9, "w": 7 * 86400 * 10**9}
_SIZE: Final = re.compile(r"(\d{1,15})\s*(Ki|Mi|Gi|k|M|G|)", re.ASCII)
_SETTING: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)", re.ASCII)
_QUERY: Final = re.compile(r"(\d{1,9})(ms|s|m|h|d|w)", re.ASCII)


def size(text: str) -> int | None:
    """Bytes: `1000`, `512Ki`, `16Mi`, `1G`."""
    found = _SIZE.fullmatch(text.strip())
    return int(found[1]) * _BYTES[found[2]] if found else None


def seconds(text: str) -> float | None:
    """A setting's duration: `500ms`, `1.5s`, `7d`. It has no weeks."""
    found = _SETTING.fullmatch(text.strip())
    return float(found[1]) * _NS[found[2]] / 10**9 if found else None


def nanoseconds(text: str) -> int | None:
    """A query's duration: a whole number and a unit with nothing between them, `10s`, `2w`."""
    found = _QUERY.fullmatch(text)
    return int(found[1]) * _NS[found[2]] if found else None


def is_offset(text: str) -> bool:
    """A query's duration, with or without the minus that makes it a time before now: `15m`, `-15m`."""
    return _QUERY.fullmatch(text.removeprefix("-")) is not None
