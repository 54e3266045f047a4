"""How items become one body, and the body items again. Pure.

The items come back byte for byte: a body that a receiver finds too large, or accepts in part, is made again from its own items.
This package must not compress, and must not know what is in an item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

__all__ = ["Framing", "text_bytes"]

Item = TypeVar("Item", str, bytes)


class Framing(Protocol[Item]):
    """`content_type`: the header of a body."""

    content_type: str

    def order(self, items: Sequence[Item]) -> list[int] | None:
        """The items' indices in the order that the body has, if it groups them. None: their own order."""
        ...

    def size(self, item: Item) -> int:
        """The bytes that the item adds to a body, at most."""
        ...

    def body(self, items: Sequence[Item]) -> bytes:
        """The uncompressed body. `items`: in the body's order."""
        ...

    def items(self, body: bytes) -> list[Item]:
        """The items, in the body's order."""
        ...


def text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
