"""Converts pieces to Rich's Text, which does not interpret markup in names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.text import Text

from cli.text.pieces import STYLES, Piece, safe

__all__ = ["text_of", "texts_of"]

_RICH: Final = {"dim": "dim", "strong": "bold", "bad": "bold red", "warn": "yellow", "name": "cyan"}
assert _RICH.keys() == STYLES.keys()  # noqa: S101 - at import, once


def text_of(pieces: Sequence[Piece], *, right: bool = False) -> Text:
    text = Text(no_wrap=True, justify="right" if right else "left", end="")
    for piece in pieces:
        text.append(safe(piece), _RICH[piece.style] if piece.style else None)
    return text


def texts_of(lines: Iterable[Sequence[Piece]]) -> Text:
    return Text("\n").join(map(text_of, lines))
