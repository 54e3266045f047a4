"""What a collector said, read with care: another version, or whatever else answers there, may leave out or bend anything.

Pure. Must not live here: what a value means.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

__all__ = ["Said"]


class Said:
    """A value of JSON. What is not there, or is of another type, is None, and so is all within it."""

    __slots__ = ("raw",)

    def __init__(self, raw: Any) -> None:  # noqa: ANN401 - any JSON
        self.raw = raw

    def __getitem__(self, key: str) -> Said:
        return Said(self.raw.get(key) if isinstance(self.raw, dict) else None)

    def __iter__(self) -> Iterator[Said]:
        """Of a list; nothing otherwise."""
        return iter([Said(one) for one in self.raw] if isinstance(self.raw, list) else ())

    def __bool__(self) -> bool:
        return bool(self.raw)

    @property
    def items(self) -> list[tuple[str, Said]]:
        """Of an object; nothing otherwise."""
        return [(str(key), Said(value)) for key, value in self.raw.items()] if isinstance(self.raw, dict) else []

    @property
    def text(self) -> str | None:
        return self.raw if isinstance(self.raw, str) else None

    @property
    def whole(self) -> int | None:
        return self.raw if isinstance(self.raw, int) and not isinstance(self.raw, bool) else None

    @property
    def real(self) -> float | None:
        """A number that can be drawn."""
        known = isinstance(self.raw, int | float) and not isinstance(self.raw, bool) and math.isfinite(self.raw)
        return float(self.raw) if known else None
