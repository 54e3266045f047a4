"""The pages in docs/siem, taken apart: what stands in their fenced blocks, by page and section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["FOLDER", "Block", "blocks", "pages"]

FOLDER = Path(__file__).parents[2] / "docs/siem"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """`section`: the heading above it."""

    page: str
    section: str
    language: str
    text: str


def pages() -> list[Path]:
    return sorted(FOLDER.glob("*.md"))


def blocks(page: Path | None = None) -> list[Block]:
    """Of one page, or of all."""
    found = []
    for one in [page] if page else pages():
        text = one.read_text(encoding="utf-8")
        for block in _BLOCK.finditer(text):
            headings = [heading[1] for heading in _HEADING.finditer(text[: block.start()])]
            found.append(Block(one.name, headings[-1] if headings else "", block[1], block[2]))
    return found
