"""A line as pieces of text with a style each, so that `tail`, `tree` and `top` render the same pieces. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["STYLES", "Paint", "Piece", "plain"]

STYLES: Final = {"dim": "2", "strong": "1", "bad": "1;31", "warn": "33", "name": "36"}  # style -> SGR


class Piece(NamedTuple):
    """`text`: safe for a terminal, including the spaces around it. `style`: one of `STYLES`, or empty."""

    text: str
    style: str = ""


class Paint:
    """Renders pieces as one string, with colours or without."""

    def __init__(self, *, coloured: bool) -> None:
        self._coloured = coloured

    def __call__(self, pieces: Sequence[Piece]) -> str:
        if not self._coloured:
            return plain(pieces)
        return "".join(f"\x1b[{STYLES[piece.style]}m{piece.text}\x1b[0m" if piece.style else piece.text for piece in pieces)


def plain(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)
