"""Attributes as protobuf: KeyValue and AnyValue of opentelemetry-proto's common.proto.

Must not live here: which attributes there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from agent.sinks.protobuf import nested, varint

__all__ = ["Value", "any_value", "attributes", "flat", "literal", "utf8"]

Value = bool | int | str | Sequence[Any] | Mapping[str, Any] | None
_INT64: Final = range(-(1 << 63), 1 << 63)
_U64: Final = 0xFFFFFFFFFFFFFFFF
_WHOLE: Final = frozenset({"heads"})  # keyed by CPU: as attributes of their own they would be a field each in every index


def attributes(field: int, named: Mapping[str, Value], without: Collection[str] = ()) -> bytes:
    """`field`: what the message that has them calls them. None: unknown, and absent."""
    parts = []
    for name, value in named.items():
        if value is not None and name not in without:
            told = any_value(value)
            parts.append(nested(field, b"%b\x12%b%b" % (_key(name), varint(len(told)), told)))
    return b"".join(parts)


@lru_cache(1024)  # a label's key is a name, too, so there is no end of them
def _key(name: str) -> bytes:
    return nested(1, utf8(name))


def any_value(value: Value) -> bytes:
    """Inside an array None is an empty value: it holds its place."""
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        # OTLP's numbers are signed. One that is larger (an inode's can be) is told in words rather than told wrong.
        return b"\x18" + varint(value & _U64) if value in _INT64 else nested(1, str(value).encode())
    if isinstance(value, str):
        return nested(1, utf8(value))
    if isinstance(value, Mapping):
        return nested(6, attributes(1, value))
    return nested(5, b"".join(nested(1, any_value(inner)) for inner in value))


def flat(path: str, value: Value) -> Iterator[tuple[str, Value]]:
    """An object of the native event as attributes, named by their paths."""
    if isinstance(value, Mapping) and path.rpartition(".")[2] not in _WHOLE:
        for key, inner in value.items():
            yield from flat(f"{path}.{key}", inner)
    else:
        yield path, value


def utf8(text: str) -> bytes:
    """One string that is not UTF-8 would have a receiver refuse the whole body."""
    return text.encode(errors="replace")


def literal(prepared: bytes) -> bytes:
    """As part of a format of `bytes % values`."""
    return prepared.replace(b"%", b"%%")
