"""The part of protobuf's wire format that OTLP needs (protobuf.dev/programming-guides/encoding).

Not a library, because a record that is joined from prepared bytes costs a fourth of one that is built of message objects.
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
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def nested(field: int, content: bytes) -> bytes:
    """A field with a length: a message, a string, bytes. `field`: its number, 1 to 15."""
    return b"%c%b%b" % (field << 3 | _LENGTH, varint(len(content)), content)


def fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int, int]]:
    """The fields of a message: (number, wire type, offset of the tag, offset of the content, offset of the end).

    A field whose length exceeds the message ends with it. Raises ValueError at what is not protobuf, after the fields before
    it.
    """
    at, end = start, len(data) if end is None else end
    while at < end:
        tag, content = unsigned(data, at, end)
        wire_type = tag & 7
        if wire_type == VARINT:
            _, after = unsigned(data, content, end)
        elif wire_type == _LENGTH:
            length, content = unsigned(data, content, end)
            after = min(content + length, end)
        elif wire_type in _FIXED:
            after = min(content + _FIXED[wire_type], end)
        else:
            raise ValueError(f"wire type {wire_type} at byte {at}")
        yield tag >> 3, wire_type, at, content, after
        at = after


def unsigned(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A varint's value and the offset after it. Raises ValueError."""
    number = 0
    for shift, byte in enumerate(data[at : min(at + _LONGEST, end)]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, at + shift + 1
    raise ValueError(f"no varint at byte {at}")
