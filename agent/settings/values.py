"""The syntax of values (bytes, durations, addresses), and the base of all parts of the settings.

The message for a wrong value has what is valid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from wire import units

__all__ = ["Listen", "SettingsModel", "in_range", "parse_duration", "parse_ring_size", "parse_size"]


def parse_size(value: object) -> int:
    """Bytes."""
    if isinstance(value, str) and (size_bytes := units.size(value)) is not None:
        return size_bytes
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("give bytes, as a number or like 512Ki, 16Mi, 1Gi")


def parse_ring_size(value: object) -> int:
    """Bytes, a power of two."""
    number = parse_size(value)
    if number & (number - 1):
        raise ValueError("give a power of two, like 8Mi, 16Mi, 32Mi: the kernel's ring buffer has no others")
    return number


def parse_duration(value: object) -> float:
    """Seconds."""
    if isinstance(value, str) and (seconds := units.seconds(value)) is not None:
        return seconds
    raise ValueError("give a time with its unit, like 500ms, 10s, 5m")


def in_range(parse: Callable[[object], float], least: str, most: str) -> BeforeValidator:
    """Checks before the conversion, so that a message shows the value as it was written."""

    def check(value: object) -> float:
        number = parse(value)
        if not parse(least) <= number <= parse(most):
            raise ValueError(f"give {least} to {most}")
        return number

    return BeforeValidator(check)


def check_listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("give address and port, like 0.0.0.0:9911 or [::]:9911")
    return value


Listen = Annotated[str, AfterValidator(check_listen)]


class SettingsModel(BaseModel):
    """A group of settings: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
