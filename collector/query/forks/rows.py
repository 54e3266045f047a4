"""Rows of the table `fork`, and the events that they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

import orjson

from collector.model import ForkColumns, FoundFork, Place
from collector.model.fork_columns import unpack
from collector.query.filters import Conditions
from collector.query.read_context import ReadContext
from wire.events import Fork

__all__ = ["NOT_EXPIRED", "SELECT", "ForkRow", "events", "newest"]

NOT_EXPIRED: Final = "received >= fromUnixTimestamp64Nano({since:Int64})"
SELECT: Final = (
    "SELECT stream, cpu, sequence, toUnixTimestamp64Nano(time), subject, toUnixTimestamp64Nano(received), "
    f"{', '.join(ForkColumns._fields)} FROM fork"
)
_BODIES: Final = "SELECT id, any(body) FROM subject WHERE id IN {bodies:Array(UInt64)} GROUP BY id"
# Without LIMIT BY, so that the engine reads the columns that it does not sort or choose by of these rows alone; see `newest`.
_NEWEST: Final = "ORDER BY time DESC, stream DESC, cpu DESC, sequence DESC LIMIT {limit:UInt32}"
_BEFORE: Final = (
    "(time, stream, cpu, sequence) < (fromUnixTimestamp64Nano({at:Int64}), {stream:String}, {cpu:UInt16}, {sequence:UInt64})"
)
_UNKNOWN: Final[dict[str, Any]] = {"cgroup": None, "container": None, "k8s": {}}  # the body has expired


class ForkRow(NamedTuple):
    """`body_id`: the attribution's. `received`: ns."""

    place: Place
    body_id: int
    received: int
    columns: ForkColumns

    @classmethod
    def read(
        cls,
        stream: str,
        cpu: int,
        sequence: int,
        time: int,
        body_id: int,
        received: int,
        *columns: Any,  # noqa: ANN401
    ) -> ForkRow:
        """In the order of `SELECT`."""
        return cls(Place(time, stream, cpu, sequence), body_id, received, ForkColumns(*columns))


class _Body(NamedTuple):
    id: int
    body: str


def newest(context: ReadContext, conditions: Conditions, limit: int, after: Place | None) -> list[ForkRow]:
    """The newest forks for which the conditions hold, each once: what was inserted twice is there twice until parts merge."""
    found: dict[Place, ForkRow] = {}
    while len(found) < limit:
        where = conditions if after is None else conditions.with_(_BEFORE, **_cursor(after))
        asked = limit - len(found)
        rows = context.rows(ForkRow.read, f"{SELECT} WHERE {where} {_NEWEST}", limit=asked, **where.values)
        for row in rows:
            found.setdefault(row.place, row)
        if len(rows) < asked:
            break
        after = rows[-1].place
    return list(found.values())


def events(context: ReadContext, rows: Sequence[ForkRow]) -> list[FoundFork]:
    """The forks as they were sent."""
    ids = sorted({row.body_id for row in rows})
    bodies = {one.id: orjson.loads(one.body) for one in context.rows(_Body, _BODIES, bodies=ids)} if ids else {}
    return [FoundFork(row.place, _event(row, bodies.get(row.body_id, _UNKNOWN))) for row in rows]


def _event(row: ForkRow, attribution: dict[str, Any]) -> Fork:
    place = row.place
    return cast(Fork, unpack(place.stream, place.cpu, place.sequence, place.time, row.columns, attribution))


def _cursor(place: Place) -> dict[str, object]:
    return {"at": place.time, "stream": place.stream, "cpu": place.cpu, "sequence": place.sequence}
