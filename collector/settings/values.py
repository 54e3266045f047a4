"""The types of settings that have a unit: `16Mi` becomes bytes, `7d` seconds."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from wire import units

__all__ = ["Duration", "Size", "several"]


def _size(value: object) -> object:
    """`16Mi` -> bytes."""
    if isinstance(value, str):
        size_bytes = units.size(value)
        if size_bytes is None:
            raise ValueError("a size is a whole number and a unit, such as 512Ki, 16Mi, 1Gi")
        return size_bytes
    return value


def _duration(value: object) -> object:
    """`7d` -> seconds."""
    if isinstance(value, str):
        seconds = units.seconds(value)
        if seconds is None:
            raise ValueError("a duration is a number and a unit, such as 500ms, 10s, 5m, 12h, 7d")
        return seconds
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError("a duration is a number and a unit, such as 500ms, 10s, 5m, 12h, 7d")
    raise ValueError(f"{value} of what? A duration has a unit, such as {value}s, {value}m, {value}h, {value}d")


def several(value: object) -> object:
    """`a, b` -> both, for a variable of the environment."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(_size), Field(ge=1, le=2**40)]
Duration = Annotated[float, BeforeValidator(_duration), Field(gt=0, le=3660 * 86400)]
