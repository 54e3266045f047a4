"""Makes text from a container or a receiver safe for a line that people read: in a log, on a terminal, in a search.

JSON and protobuf do not need it: they have escapes of their own.
"""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, most: int) -> str:
    """At most `most` characters. Those that move a cursor, end a line or change its direction are written as escapes."""
    text = text[:most]  # before the escapes, which only make it longer
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)[:most]
