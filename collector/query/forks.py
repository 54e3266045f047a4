"""Finding forks: by pod, time and words; newest first; and those that have just been filed.

Must not live here: what a container did in sum (`history`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import orjson

from collector.model import Filter, ForkQuery, FoundFork, Place
from collector.query.read_context import ReadContext
from collector.store.fork_columns import Packed, unpacked
from collector.store.naming import KEYS, counter_sources, pods_where
from wire.events import Fork

__all__ = ["latest_forks", "news", "search"]

_HOUR: Final = 3_600_000_000_000  # ns
_FORK: Final = (
    "SELECT stream, cpu, sequence, toUnixTimestamp64Nano(time), kind, comm, parent_comm, pid, ns_pid, parent_pid, "
    "parent_ns_pid, entity, parent_entity, age, parent_start, context, rest, subject, "
    "toUnixTimestamp64Nano(received) FROM fork "
)
_KEPT: Final = "received >= fromUnixTimestamp64Nano({since:Int64})"
# Without LIMIT BY, so that the engine reads what it does not sort or choose by of these rows alone; see `_newest` for twins.
_NEWEST: Final = "ORDER BY time DESC, stream DESC, cpu DESC, sequence DESC LIMIT {limit:UInt32}"
_BEFORE: Final = (
    "(time, stream, cpu, sequence) < (fromUnixTimestamp64Nano({at:Int64}), {stream:String}, {cpu:UInt16}, {sequence:UInt64})"
)
_OF: Final = (
    "(stream, holder) IN {mine:Array(Tuple(String, Int64))} "
    "AND (cluster, namespace, pod) IN {keys:Array(Tuple(String, String, String))}"
)


def latest_forks(
    look: ReadContext, counter_sources: Sequence[tuple[str, int]], keys: Sequence[tuple[str, str, str]], limit: int
) -> list[Fork]:
    """The newest forks of these holders, newest first, as they were sent. `keys`: what they may be filed under."""
    found = _newest(look, [_KEPT, _OF], {"mine": counter_sources, "keys": keys}, limit, None)
    return [fork.body for fork in _found(look, found)]


def search(look: ReadContext, fork_query: ForkQuery, limit: int, after: Place | None) -> list[FoundFork]:
    """Newest first. Looks back step by step, since the newest are what is mostly wanted and all of them may be many."""
    values: dict[str, Any] = {}
    terms = [_KEPT, "time >= fromUnixTimestamp64Nano({start:Int64}) AND time < fromUnixTimestamp64Nano({end:Int64})"]
    terms += _terms(look, fork_query.filter, values)
    for column in ("comm", "parent_comm", "kind"):
        if value := getattr(fork_query, column):
            terms.append(f"{column} = {{{column}:String}}")
            values[column] = value
    if fork_query.pid is not None:
        terms.append(
            "(pid = {pid:UInt64} OR ns_pid = {pid:UInt64} OR parent_pid = {pid:UInt64} OR parent_ns_pid = {pid:UInt64})"
        )
        values["pid"] = fork_query.pid
    start, end = fork_query.span.start, fork_query.span.end if after is None else min(fork_query.span.end, after.time + 1)
    if fork_query.entity:
        # Each has an index of its own, which an OR of both would not use well. What is found is little: it needs no steps.
        values |= {"entity": int(fork_query.entity, 16), "start": start, "end": end}
        both = [
            row
            for column in ("entity", "parent_entity")
            for row in _newest(look, [*terms, f"{column} = {{entity:UInt64}}"], values, limit, after)
        ]
        by_place = {_place(row): row for row in both}
        return _found(look, [by_place[place] for place in sorted(by_place, reverse=True)[:limit]])
    found: list[Any] = []
    step = _HOUR
    while len(found) < limit and end > start:
        begin = max(start, end - step)
        found += _newest(look, terms, values | {"start": begin, "end": end}, limit - len(found), after)
        end, step = begin, step * 8
    return _found(look, found)


def _newest(look: ReadContext, terms: Sequence[str], values: dict[str, Any], limit: int, after: Place | None) -> list[Any]:
    """Rows for which all `terms` hold, each fork once: one that came twice lies there twice until its parts are merged."""
    found: dict[Place, Any] = {}
    while len(found) < limit:
        where = list(terms)
        if after is not None:
            where.append(_BEFORE)
            values = values | {"at": after.time, "stream": after.stream, "cpu": after.cpu, "sequence": after.sequence}
        asked = limit - len(found)
        rows = look.rows(f"{_FORK} WHERE {' AND '.join(where)} {_NEWEST}", limit=asked, **values)
        for row in rows:
            found.setdefault(_place(row), row)
        if len(rows) < asked:
            break
        after = _place(rows[-1])
    return list(found.values())


def _place(row: Sequence[Any]) -> Place:
    stream, cpu, sequence, time = row[:4]
    return Place(time, stream, cpu, sequence)


def news(look: ReadContext, wish: Filter, since: int, limit: int) -> tuple[list[FoundFork], int]:
    """Filed after `since`, oldest first, and from when on to ask next."""
    values: dict[str, Any] = {}
    terms = " AND ".join(["1", *_terms(look, wish, values)])
    rows = look.rows(
        f"{_FORK} WHERE received > fromUnixTimestamp64Nano({{after:Int64}}) "
        f"AND received <= fromUnixTimestamp64Nano({{until:Int64}}) AND {terms} "
        "ORDER BY received, time, stream, cpu, sequence LIMIT {limit:UInt32}",
        after=max(since, look.since),
        until=look.until,
        limit=limit + 1,
        **values,
    )
    if len(rows) > limit:
        # Those of one moment go together, or the next question would leave some out.
        last = rows[-1][18]
        rows = [row for row in rows if row[18] < last] or rows[:limit]
    once = {_place(row): row for row in reversed(rows)}  # the first word of those that came twice
    return _found(look, list(reversed(once.values()))), max([since, *(row[18] for row in rows)])


def _terms(look: ReadContext, wish: Filter, values: dict[str, Any]) -> list[str]:
    """Conditions for forks of the wished pods and hosts, by what their holders are known as now."""
    fits = pods_where(wish, values)
    if fits == "1":
        return []
    wished = counter_sources(fits)
    return [
        f"(cluster, namespace, pod) IN ({KEYS.format(holders=wished)})",
        f"(stream, holder) IN (SELECT stream, cgroup FROM ({wished}))",
    ]


def _found(look: ReadContext, rows: Sequence[Any]) -> list[FoundFork]:
    wanted = sorted({row[17] for row in rows})
    question = "SELECT id, any(body) FROM subject WHERE id IN {subjects:Array(UInt64)} GROUP BY id"
    bodies = {key: orjson.loads(body) for key, body in look.rows(question, subjects=wanted)} if rows else {}
    nobody: dict[str, Any] = {"cgroup": None, "container": None, "k8s": {}}
    found = []
    for row in rows:
        place = _place(row)
        packed = Packed._make(row[4:17])
        body = unpacked(place.stream, place.cpu, place.sequence, place.time, packed, bodies.get(row[17], nobody))
        found.append(FoundFork(place, cast(Fork, body)))
    return found
