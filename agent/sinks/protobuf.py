"""The part of protobuf's wire format that OTLP is made of (protobuf.dev/programming-guides/encoding).

Not a library, because a record that is joined from prepared bytes costs a fourth of one that is built of message objects.

Must not live here: what OTLP's messages are.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["VARINT", "fields", "nested", "unsigned", "varint"]

VARINT = 0
_FIXED = {1: 8, 5: 4}  # wire type -> bytes
_LENGTH = 2
_LONGEST = 10  # bytes of a varint of 64 bits


def varint(number: int) -> bytes:
    """`number`: 0 to 2**64 - 1."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 0x200000:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    signs = bytearray()
    while number >= 0x80:
        signs.append(number & 0x7F | 0x80)
        number >>= 7
    signs.append(number)
    return bytes(signs)


def nested(field: int, content: bytes) -> bytes:
    """A field that has a length: a message, a string, bytes. `field`: its number, 1 to 15."""
    return b"%c%b%b" % (field << 3 | _LENGTH, varint(len(content)), content)


def fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int, int]]:
    """(number, wire type, where its tag is, where its content starts, where it ends) of each field of a message.

    A field that has a length and goes on beyond the end ends there. What is not protobuf raises ValueError, after what came
    before it was given.
    """
    at, end = start, len(data) if end is None else end
    while at < end:
        tag, content = unsigned(data, at, end)
        wire = tag & 7
        if wire == VARINT:
            _, after = unsigned(data, content, end)
        elif wire == _LENGTH:
            length, content = unsigned(data, content, end)
            after = min(content + length, end)
        elif wire in _FIXED:
            after = min(content + _FIXED[wire], end)
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        yield tag >> 3, wire, at, content, after
        at = after


def unsigned(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A varint and where the next thing starts. Raises ValueError."""
    number = 0
    for shift, sign in enumerate(data[at : min(at + _LONGEST, end)]):
        number |= (sign & 0x7F) << 7 * shift
        if sign < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, at + shift + 1
    raise ValueError(f"no varint at byte {at}")
