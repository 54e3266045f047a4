"""Attributes as protobuf: KeyValue and AnyValue of opentelemetry-proto's common.proto."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from agent.sinks.protobuf import nested, varint

__all__ = ["Value", "any_value", "attributes", "flat", "literal", "utf8"]

Value = bool | int | str | Sequence[Any] | Mapping[str, Any] | None
_INT64: Final = range(-(1 << 63), 1 << 63)
_U64: Final = 0xFFFFFFFFFFFFFFFF
_WHOLE: Final = frozenset({"heads"})  # keyed by CPU: as separate attributes, each would become a field in an index


def attributes(field: int, named: Mapping[str, Value], without: Collection[str] = ()) -> bytes:
    """Repeated KeyValue fields. `field`: their number in the message. `without`: names to leave out. A value of None is left
    out."""
    parts = []
    for name, value in named.items():
        if value is not None and name not in without:
            encoded = any_value(value)
            parts.append(nested(field, b"%b\x12%b%b" % (_key(name), varint(len(encoded)), encoded)))
    return b"".join(parts)


@lru_cache(1024)  # labels have keys, too, so their number is not bounded
def _key(name: str) -> bytes:
    return nested(1, utf8(name))


def any_value(value: Value) -> bytes:
    """An AnyValue. Inside an array, None is an empty value, so that the others keep their indices."""
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        # OTLP's integers are signed. A larger one, as of an inode, becomes a string.
        return b"\x18" + varint(value & _U64) if value in _INT64 else nested(1, str(value).encode())
    if isinstance(value, str):
        return nested(1, utf8(value))
    if isinstance(value, Mapping):
        return nested(6, attributes(1, value))
    return nested(5, b"".join(nested(1, any_value(element)) for element in value))


def flat(path: str, value: Value) -> Iterator[tuple[str, Value]]:
    """An object of the native event as attributes with their paths as names."""
    if isinstance(value, Mapping) and path.rpartition(".")[2] not in _WHOLE:
        for key, member in value.items():
            yield from flat(f"{path}.{key}", member)
    else:
        yield path, value


def utf8(text: str) -> bytes:
    """Replaces what is not valid in UTF-8: for one such string a receiver would reject the whole body."""
    return text.encode(errors="replace")


def literal(prepared: bytes) -> bytes:
    """Escapes bytes for a format of `bytes % values`."""
    return prepared.replace(b"%", b"%%")
