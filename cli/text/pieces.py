"""A line as pieces of text with a style each, so that `tail`, `tree` and `top` render the same pieces. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from wire.names import escape_controls

__all__ = ["STYLES", "Paint", "Piece", "plain", "safe"]

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
        return "".join(f"\x1b[{STYLES[one.style]}m{safe(one)}\x1b[0m" if one.style else safe(one) for one in pieces)


def plain(pieces: Sequence[Piece]) -> str:
    return "".join(map(safe, pieces))


def safe(piece: Piece) -> str:
    """Its text, in which no character controls the terminal, whoever made the piece."""
    return escape_controls(piece.text)
