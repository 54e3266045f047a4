"""Reads JSON from a collector without trusting its shape: another version, or another server, may leave out or change anything.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from wire.api_keys import Key

__all__ = ["JsonView"]


class JsonView:
    """A JSON value. What is missing or has another type is None, and so is everything in it."""

    __slots__ = ("raw",)

    def __init__(self, raw: Any) -> None:  # noqa: ANN401 - any JSON
        self.raw = raw

    def __getitem__(self, key: Key) -> JsonView:
        return JsonView(self.raw.get(key) if isinstance(self.raw, dict) else None)

    def __iter__(self) -> Iterator[JsonView]:
        """A list's elements; nothing for another type."""
        return iter([JsonView(one) for one in self.raw] if isinstance(self.raw, list) else ())

    def __bool__(self) -> bool:
        return bool(self.raw)

    @property
    def items(self) -> list[tuple[str, JsonView]]:
        """An object's members; nothing for another type."""
        return [(str(key), JsonView(value)) for key, value in self.raw.items()] if isinstance(self.raw, dict) else []

    @property
    def text(self) -> str | None:
        return self.raw if isinstance(self.raw, str) else None

    @property
    def integer(self) -> int | None:
        return self.raw if isinstance(self.raw, int) and not isinstance(self.raw, bool) else None

    @property
    def number(self) -> float | None:
        """A finite number."""
        is_number = isinstance(self.raw, int | float) and not isinstance(self.raw, bool) and math.isfinite(self.raw)
        return float(self.raw) if is_number else None
