"""Counts and rates as short text, alike on a page and on a terminal."""

from __future__ import annotations

from wire.names import UNKNOWN

__all__ = ["number", "per_second"]


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
