"""Compares forks that came again with the stored rows of their ids.

A query has at most `_AT_ONCE` ids of one stream, which two indexes of the table `fork` find: a batch of 65,536 duplicates costs
33 queries and a batch of new forks none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

import orjson
from clickhouse_connect.driver.client import Client

from collector.model import HOST, CheckedFork
from collector.model.fork_columns import ForkColumns
from collector.store.conflicts.content import Content, content_of_row
from collector.store.conflicts.repeats import ForkKey

__all__ = ["stored_contents"]

_AT_ONCE: Final = 2000  # ids of a query: 50 KB of a parameter, of which a server takes 128 KiB
_COLUMNS: Final = ", ".join(ForkColumns._fields)
# The row that was received first: the same fork may be stored twice, and its other content never is.
_ROWS: Final = (
    f"SELECT cpu, sequence, holder, subject, toUnixTimestamp64Nano(time), {_COLUMNS} FROM fork "
    "WHERE stream = {stream:String} AND sequence BETWEEN {first:UInt64} AND {last:UInt64} "
    "AND (cpu, sequence) IN {ids:Array(Tuple(UInt16, UInt64))} "
    "ORDER BY received LIMIT 1 BY cpu, sequence"
)
_BODIES: Final = "SELECT id, any(body) FROM subject WHERE id IN {ids:Array(UInt64)} GROUP BY id"


def stored_contents(client: Client, forks: Iterable[CheckedFork]) -> dict[ForkKey, Content]:
    """Of those that are still stored. Raises ClickHouseError."""
    found: dict[ForkKey, Content] = {}
    for stream, ids in _chunks(forks):
        numbers = [sequence for sequence, _ in ids]
        rows = client.query(
            _ROWS,
            parameters={
                "stream": stream,
                "first": min(numbers),
                "last": max(numbers),
                "ids": [(cpu, sequence) for sequence, cpu in ids],
            },
        ).result_rows
        cgroups = _cgroups(client, {row[3] for row in rows if row[2] == HOST})
        for cpu, sequence, cgroup, body, time, *columns in rows:
            recorded = cgroups.get(body) if cgroup == HOST else cgroup
            found[stream, cpu, sequence] = content_of_row(recorded, time, _fork_columns(columns))
    return found


def _chunks(forks: Iterable[CheckedFork]) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Sequences and CPUs, by stream, in the order of the sequences, which are near each other in the table, too."""
    ids = sorted({(fork.stream, fork.sequence, fork.cpu) for fork in forks})
    for stream, of_stream in groupby(ids, key=lambda one: one[0]):
        pairs = [(sequence, cpu) for _, sequence, cpu in of_stream]
        for begin in range(0, len(pairs), _AT_ONCE):
            yield stream, pairs[begin : begin + _AT_ONCE]


def _cgroups(client: Client, bodies: set[int]) -> dict[int, int | None]:
    """A process of the host is stored under the host; its own cgroup is in its attribution's body."""
    if not bodies:
        return {}
    rows = client.query(_BODIES, parameters={"ids": sorted(bodies)}).result_rows
    return {body: (orjson.loads(text)["cgroup"] or {}).get("id") for body, text in rows}


def _fork_columns(values: Sequence[Any]) -> ForkColumns:
    columns = ForkColumns(*values)
    return columns._replace(context=str(columns.context).encode(), rest=str(columns.rest).encode())
