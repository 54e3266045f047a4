"""Splits the bytes of a watch into lines. Pure."""

from __future__ import annotations

from typing import Final

__all__ = ["LONGEST", "LineTooLong", "Lines"]

LONGEST: Final = 8 << 20  # bytes; an API server takes no object of more than 3 MiB, and etcd by default none of 1.5


class LineTooLong(ValueError):
    """What answers is no API server, or one that means harm."""


class Lines:
    """Each byte is looked at once, however small the pieces are."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._length = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that end in this piece, without empty ones. Raises LineTooLong."""
        *whole, rest = piece.split(b"\n")
        if whole:
            whole[0] = b"".join([*self._begun, whole[0]])
            self._begun, self._length = [], 0
        self._begun.append(rest)
        self._length += len(rest)
        if self._length > LONGEST:
            raise LineTooLong(f"a line of more than {LONGEST} bytes is no event of a watch")
        return [line for line in whole if line]
