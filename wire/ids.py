"""An event's id: made once, by the kernel for a fork and by the agent for its own events, and the same at every sending.

`<boot id>.<instance>.<cpu>.<sequence>` for a fork, `<boot id>.<instance>.<kind>.<...>` for the agent's own events. Boot id and
instance (64 random bits of one load of the BPF programs) are the `stream`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["ForkId", "fork_id", "parse_fork_id"]

_BOOT_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_FORK: Final = re.compile(rf"({_BOOT_ID}\.[0-9a-f]{{16}})\.(0|[1-9][0-9]{{0,4}})\.(0|[1-9][0-9]{{0,18}})")


class ForkId(NamedTuple):
    """`stream`: one load of the BPF programs on one boot of one node. `sequence` counts from 0 on each CPU."""

    stream: str
    cpu: int
    sequence: int


def fork_id(stream: str, cpu: int, sequence: int) -> str:
    return f"{stream}.{cpu}.{sequence}"


def parse_fork_id(text: str) -> ForkId:
    """Raises ValueError when it is not a fork's id, or not written as `fork_id` writes it: one fork has one id."""
    found = _FORK.fullmatch(text)
    if not found:
        raise ValueError(f"not a fork's id: {text[:80]!r}")
    return ForkId(found[1], int(found[2]), int(found[3]))
