"""A foreign name is shown with everything escaped that could control the output."""

from __future__ import annotations

import sys

from wire.names import UNKNOWN, visible


def test_every_character_comes_out_printable() -> None:
    for point in range(sys.maxunicode + 1):
        assert visible(chr(point)).isprintable()


def test_two_names_never_have_the_same_escapes() -> None:
    names = ["\x1b[2J", "\\x1b[2J", "\\\\x1b[2J", "\n", "\\n", "\u202e", "\\u202e", "\U000e0041", "a b", "a\u00a0b", ""]
    assert len({visible(name) for name in names}) == len(names)
    assert visible("\x1b[2J\n\u202e\U000e0041") == "\\x1b[2J\\n\\u202e\\U000e0041"


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("sh", "runc:[2:INIT]", "名前", "é", "\ufffd", "[b]x[/]", ""):
        assert visible(name) == name
    assert visible(None) == UNKNOWN
