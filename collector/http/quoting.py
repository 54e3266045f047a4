"""Foreign values, short and in ASCII, for a response or a log line."""

from __future__ import annotations

__all__ = ["quoted"]


def quoted(value: object) -> str:
    """`value` in at most 90 characters. Of a list or an object only its type."""
    short = value if value is None or isinstance(value, (int, float)) else type(value).__name__
    shown = ascii(value[:60] if isinstance(value, str) else short)
    return shown if len(shown) <= 90 else shown[:87] + "..."
