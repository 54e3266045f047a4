"""The version of a record, and the common part of all decoders."""

from __future__ import annotations

from typing import Any, Final

import orjson

__all__ = ["VERSION", "RecordError", "check_version", "read_list", "read_object"]

VERSION: Final = 1


class RecordError(ValueError):
    """A record that this version can't read: a later version wrote it, or it is broken."""


def read_object(raw: bytes) -> dict[str, Any]:
    fields = _json(raw)
    if not isinstance(fields, dict):
        raise RecordError(f"not an object: {raw[:80]!r}")
    check_version(fields.get("version", 1))
    return fields


def read_list(raw: bytes, length: int) -> list[Any]:
    fields = _json(raw)
    if not isinstance(fields, list) or len(fields) != length:
        raise RecordError(f"not a list of {length}: {raw[:80]!r}")
    return fields


def _json(raw: bytes) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RecordError(f"not JSON: {raw[:80]!r}") from error


def check_version(version: object) -> None:
    if version != VERSION:
        raise RecordError(f"a record of version {version}; this agent reads version {VERSION}")
