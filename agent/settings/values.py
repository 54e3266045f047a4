"""How a setting's value is written (bytes, durations, addresses), and what all parts of the settings share.

A wrong value's text says what would be right. Must not live here: any one setting.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

__all__ = ["Listen", "Part", "between", "duration", "ring_size", "size"]

_SIZES = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 10**3, "M": 10**6, "G": 10**9}
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def size(value: object) -> int:
    if isinstance(value, str) and (found := re.fullmatch(r"(\d{1,15})\s*(Ki|Mi|Gi|k|M|G|)", value.strip(), re.ASCII)):
        return int(found[1]) * _SIZES[found[2]]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("give bytes, as a number or like 512Ki, 16Mi, 1Gi")


def ring_size(value: object) -> int:
    number = size(value)
    if number & (number - 1):
        raise ValueError("give a power of two, like 8Mi, 16Mi, 32Mi: the kernel's ring buffer has no others")
    return number


def duration(value: object) -> float:
    if isinstance(value, str) and (found := re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)", value.strip(), re.ASCII)):
        return float(found[1]) * _DURATIONS[found[2]]
    raise ValueError("give a time with its unit, like 500ms, 10s, 5m")


def between(parse: Callable[[object], float], least: str, most: str) -> BeforeValidator:
    """Checked here, so that a wrong value is shown as it was written and not as it was read."""

    def check(value: object) -> float:
        number = parse(value)
        if not parse(least) <= number <= parse(most):
            raise ValueError(f"give {least} to {most}")
        return number

    return BeforeValidator(check)


def listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("give address and port, like 0.0.0.0:9911 or [::]:9911")
    return value


Listen = Annotated[str, AfterValidator(listen)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
