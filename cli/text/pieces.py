"""A line as pieces of text with a style each, so that one function says it for `tail`, `tree` and `top`.

Pure. Must not live here: which colours a terminal can (`output`), Textual's own styles (`top`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["STYLES", "Paint", "Piece", "plain"]

STYLES: Final = {"dim": "2", "strong": "1", "bad": "1;31", "warn": "33", "name": "36"}  # style -> SGR


class Piece(NamedTuple):
    """`text`: fit for a terminal, spaces around it included. `style`: one of `STYLES`, or none."""

    text: str
    style: str = ""


class Paint:
    """Pieces as one string, in colours or without."""

    def __init__(self, *, coloured: bool) -> None:
        self._coloured = coloured

    def __call__(self, pieces: Sequence[Piece]) -> str:
        if not self._coloured:
            return plain(pieces)
        return "".join(f"\x1b[{STYLES[piece.style]}m{piece.text}\x1b[0m" if piece.style else piece.text for piece in pieces)


def plain(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)
