"""One read of the store: a connection, and the times that bound what it may see.

The engine has no snapshot that several statements share, so rows of one read may be a batch apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import starmap
from typing import Any, Final, NamedTuple, TypeVar

from clickhouse_connect.driver.client import Client

__all__ = ["ReadContext"]

_Row = TypeVar("_Row")
# Bytes of a list in one parameter: a server takes 128 KiB in a field of a request, and quoting may double them.
_FIELD: Final = 64 << 10
_DIGITS: Final = 21  # of an integer at most, with its comma


class ReadContext(NamedTuple):
    """`since`, `until`: as in `collector.store.Visible`."""

    client: Client
    since: int
    until: int

    def rows(self, row: Callable[..., _Row], statement: str, **values: object) -> list[_Row]:
        """Each row of the result as a `row`. `values` are bound, never written into the statement. Raises ClickHouseError."""
        bound: dict[str, object] = {"since": self.since}
        for name, value in values.items():
            if isinstance(value, list) and all(type(one) is int for one in value) and len(value) * _DIGITS < _FIELD:
                bound[name] = f"[{','.join(map(str, value))}]"  # as the client would, which examines each for long
                continue
            parts = list(_parts(value)) if isinstance(value, Sequence) and not isinstance(value, str) else []
            if len(parts) < 2:
                bound[name] = value
                continue
            names = [f"{name}_{number}" for number in range(len(parts))]
            bound |= zip(names, parts, strict=True)
            statement = _concatenated(statement, name, names)
        result: Sequence[Sequence[Any]] = self.client.query(statement, parameters=bound).result_rows
        return list(starmap(row, result))


def _concatenated(statement: str, name: str, parts: Sequence[str]) -> str:
    """The parameter `{name:Type}` as one array of several parameters."""
    whole = ", ".join(f"{{{part}:\\1}}" for part in parts)
    return re.sub(rf"\{{{name}:([^}}]+)\}}", f"arrayConcat({whole})", statement)


def _parts(values: Sequence[object]) -> Iterator[Sequence[object]]:
    """Consecutive parts that are short enough for a field."""
    begin = size = 0
    for place, value in enumerate(values):
        size += len(str(value).encode())
        if size > _FIELD and place > begin:
            yield values[begin:place]
            begin, size = place, len(str(value).encode())
    yield values[begin:]
