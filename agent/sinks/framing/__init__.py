"""How items become one body, and the body items again. Pure.

What comes back is what went in, byte for byte: a body that a receiver finds too large, or took in part, is made anew from its
own items. Must not live here: compression, what is in an item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

__all__ = ["Framing", "text_bytes"]

Item = TypeVar("Item", str, bytes)


class Framing(Protocol[Item]):
    content_type: str

    def order(self, items: Sequence[Item]) -> list[int] | None:
        """The positions of the items as they lie in the body, when it groups them; None: as they are."""
        ...

    def size(self, item: Item) -> int:
        """Bytes that it adds to the body, at most."""
        ...

    def body(self, items: Sequence[Item]) -> bytes:
        """Uncompressed. `items`: in the body's order."""
        ...

    def items(self, body: bytes) -> list[Item]:
        """In the body's order."""
        ...


def text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
