"""Rows of the store that are gone before their time."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DeletedEarly"]


class DeletedEarly(NamedTuple):
    """Rows of `table` that were deleted before their time, because the store's volume was nearly full. `until`: they were
    received before it; `at`: when the last of them were deleted; ns."""

    table: str
    rows: int
    bytes: int
    until: int
    at: int
