"""One look at the store: a client, and from when on what came is not hidden for its age.

The engine knows no moment that several questions share, so rows of one look may be a batch apart. Must not live here:
questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from clickhouse_connect.driver.client import Client

__all__ = ["ReadContext"]

# Bytes of a list in one parameter: a server takes 128 KiB in a field of a request, and quoting may double them.
_FIELD: Final = 64 << 10
_DIGITS: Final = 21  # of an integer at most, with its comma


class ReadContext(NamedTuple):
    """`since`: ns; what nobody has spoken of since then is forgotten. `until`: ns; filed after it may be half written, or still
    on its way from another collector."""

    client: Client
    since: int
    until: int

    def rows(self, question: str, **values: object) -> list[Any]:
        """`values` are bound, never written into the question. Raises ClickHouseError."""
        bound: dict[str, object] = {"since": self.since}
        for name, value in values.items():
            if isinstance(value, list) and all(type(one) is int for one in value) and len(value) * _DIGITS < _FIELD:
                bound[name] = f"[{','.join(map(str, value))}]"  # as the client would, which looks at each for long
                continue
            parts = list(_parts(value)) if isinstance(value, Sequence) and not isinstance(value, str) else []
            if len(parts) < 2:
                bound[name] = value
                continue
            names = [f"{name}_{number}" for number in range(len(parts))]
            bound |= zip(names, parts, strict=True)
            whole = ", ".join(f"{{{part}:\\1}}" for part in names)
            question = re.sub(rf"\{{{name}:([^}}]+)\}}", f"arrayConcat({whole})", question)
        return list(self.client.query(question, parameters=bound).result_rows)


def _parts(values: Sequence[object]) -> Iterator[Sequence[object]]:
    """Runs of them that are not too long for a field."""
    begin = size = 0
    for place, value in enumerate(values):
        size += len(str(value).encode())
        if size > _FIELD and place > begin:
            yield values[begin:place]
            begin, size = place, len(str(value).encode())
    yield values[begin:]
