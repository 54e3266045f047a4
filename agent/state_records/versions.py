"""The version of a record, and the common part of all decoders."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import orjson

__all__ = ["VERSION", "RecordError", "check_version", "raising_record_error", "read_list", "read_object"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

VERSION: Final = 1


class RecordError(ValueError):
    """A record that this version can't read: a later version wrote it, or it is broken."""


def raising_record_error(decode: Callable[_P, _T]) -> Callable[_P, _T]:
    """Of a decoder: a record without a field, or with one of another shape, is a RecordError like one that is no JSON."""

    @wraps(decode)
    def decoded(*arguments: _P.args, **named: _P.kwargs) -> _T:
        try:
            return decode(*arguments, **named)
        except RecordError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordError(f"a record of another shape: {type(error).__name__}") from error

    return decoded


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
