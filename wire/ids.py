"""An event's id: made once, in the kernel, and the same however often the event is sent.

`<boot id>.<epoch>.<cpu>.<sequence>` for a fork, `<boot id>.<epoch>.<kind>.<...>` for what the agent says of its own.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ForkId", "fork_id", "parse_fork_id"]


class ForkId(NamedTuple):
    """`stream`: boot id and epoch, one load of the probe on one boot of one node. `sequence` counts from 0 on each CPU."""

    stream: str
    cpu: int
    sequence: int


def fork_id(stream: str, cpu: int, sequence: int) -> str:
    return f"{stream}.{cpu}.{sequence}"


def parse_fork_id(text: str) -> ForkId:
    """Raises ValueError when it is not a fork's id."""
    parts = text.split(".")
    if len(parts) != 4 or len(parts[0]) != 36 or len(parts[1]) != 16:
        raise ValueError(f"not a fork's id: {text[:80]!r}")
    cpu, sequence = parts[2], parts[3]
    numbers = f"{cpu}{sequence}"
    if not (cpu and sequence and numbers.isascii() and numbers.isdigit()) or len(cpu) > 5 or len(sequence) > 19:
        raise ValueError(f"not a fork's id: {text[:80]!r}")
    return ForkId(f"{parts[0]}.{parts[1]}", int(cpu), int(sequence))
