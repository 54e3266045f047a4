"""How many bytes of bodies the collector holds, in all and of one sender. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["BodyMemory", "HeldBody", "MemoryFull"]


class MemoryFull(Exception):
    """The bodies that are held take all the memory that there is for them, or for those of this sender."""


class BodyMemory:
    """`total` bytes, of which one sender's bodies take at most `share`. A body takes what has arrived of it, so that announcing
    much and sending little takes nothing from others."""

    def __init__(self, total: int, share: int) -> None:
        self._total, self._share = total, share
        self._of_sender: Counter[str] = Counter()
        self._taken = 0

    @contextmanager
    def body(self, sender: str) -> Iterator[HeldBody]:
        """For as long as the body is held."""
        held = HeldBody(self, sender)
        try:
            yield held
        finally:
            held.free()

    def take(self, sender: str, amount: int) -> None:
        """Raises `MemoryFull`."""
        if self._taken + amount > self._total or self._of_sender[sender] + amount > self._share:
            raise MemoryFull
        self._taken += amount
        self._of_sender[sender] += amount

    def give_back(self, sender: str, amount: int) -> None:
        self._taken -= amount
        self._of_sender[sender] -= amount
        if not self._of_sender[sender]:
            del self._of_sender[sender]


class HeldBody:
    """The bytes of one body, as far as they have arrived."""

    def __init__(self, memory: BodyMemory, sender: str) -> None:
        self._memory, self._sender = memory, sender
        self.data = bytearray()

    def add(self, piece: bytes) -> None:
        """Raises `MemoryFull`."""
        self._memory.take(self._sender, len(piece))
        self.data += piece

    def free(self) -> None:
        """Once it is checked, it is not needed."""
        self._memory.give_back(self._sender, len(self.data))
        self.data = bytearray()
