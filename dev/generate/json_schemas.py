"""JSON schemas of the TypedDicts in wire/, with their docstrings."""

from __future__ import annotations

import types
import typing
from typing import Any, Final, Literal

__all__ = ["Schema", "Schemas"]

_PLAIN: Final = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}

Schema = dict[str, Any]


class Schemas:
    """The schemas of TypedDicts, each once and by its name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Schema] = {}

    def of(self, hint: Any) -> Schema:  # noqa: ANN401 - any type
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            return self._union([self.of(argument) for argument in arguments])
        if origin is Literal:
            return {"type": "string", "enum": list(arguments)}
        if origin is list:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if typing.is_typeddict(hint):
            self._add(hint)
            return {"$ref": f"#/components/schemas/{hint.__name__}"}
        return {"type": _PLAIN[hint]}

    @staticmethod
    def _union(members: list[Schema]) -> Schema:
        plain = [member["type"] for member in members if set(member) == {"type"}]
        return {"type": plain} if len(plain) == len(members) else {"anyOf": members}

    def _add(self, typed_dict: Any) -> None:  # noqa: ANN401 - a TypedDict's class
        if typed_dict.__name__ in self.by_name:
            return
        schema: Schema = {"type": "object"}
        self.by_name[typed_dict.__name__] = schema
        if typed_dict.__doc__:
            schema["description"] = " ".join(typed_dict.__doc__.split())
        hints = typing.get_type_hints(typed_dict)
        schema["required"] = [name for name in hints if name in typed_dict.__required_keys__]
        schema["properties"] = {name: self.of(hint) for name, hint in hints.items()}
