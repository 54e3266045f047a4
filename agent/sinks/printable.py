"""Text that somebody else chose, made fit for a line that people read: in a log, on a terminal, in a search.

Must not live here: text that machines read; JSON and protobuf escape for themselves.
"""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, most: int) -> str:
    """At most so many characters; what would move a cursor, end a line or turn its direction is written as an escape."""
    text = text[:most]  # escapes only make it longer
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)[:most]
