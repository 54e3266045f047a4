"""The search for forks by pod, time, comm, pid and entity. `_matches` in `collector.api.stream` has the same conditions."""

from __future__ import annotations

from typing import Final

from collector.model import ForkQuery, FoundFork, Place
from collector.query.filters import Conditions, add_forks_of
from collector.query.forks.rows import NOT_EXPIRED, ForkRow, events, newest
from collector.query.read_context import ReadContext

__all__ = ["search"]

_HOUR: Final = 3_600_000_000_000  # ns
_IN_SPAN: Final = "time >= fromUnixTimestamp64Nano({start:Int64}) AND time < fromUnixTimestamp64Nano({end:Int64})"
_PID: Final = "(pid = {pid:UInt64} OR ns_pid = {pid:UInt64} OR parent_pid = {pid:UInt64} OR parent_ns_pid = {pid:UInt64})"


def search(context: ReadContext, query: ForkQuery, limit: int, after: Place | None) -> list[FoundFork]:
    """Newest first."""
    conditions = _conditions(query)
    start, end = query.span.start, query.span.end if after is None else min(query.span.end, after.time + 1)
    if query.entity:
        rows = _with_entity(context, conditions.with_(start=start, end=end), int(query.entity, 16), limit, after)
    else:
        rows = _step_by_step(context, conditions, start, end, limit, after)
    return events(context, rows)


def _conditions(query: ForkQuery) -> Conditions:
    """All but the entity's, and the values of `start` and `end`."""
    conditions = Conditions(NOT_EXPIRED, _IN_SPAN)
    add_forks_of(query.filter, conditions)
    if query.comm:
        conditions.add("comm = {comm:String}", comm=query.comm)
    if query.parent_comm:
        conditions.add("parent_comm = {parent_comm:String}", parent_comm=query.parent_comm)
    if query.kind:
        conditions.add("kind = {kind:String}", kind=query.kind)
    if query.pid is not None:
        conditions.add(_PID, pid=query.pid)
    return conditions


def _with_entity(context: ReadContext, conditions: Conditions, entity: int, limit: int, after: Place | None) -> list[ForkRow]:
    """As child or as parent. Each has an index of its own, which an OR of both would not use well. Few are found, so that the
    whole span is read at once."""
    found = {
        row.place: row
        for column in ("entity", "parent_entity")
        for row in newest(context, conditions.with_(f"{column} = {{entity:UInt64}}", entity=entity), limit, after)
    }
    return [found[place] for place in sorted(found, reverse=True)[:limit]]


def _step_by_step(
    context: ReadContext, conditions: Conditions, start: int, end: int, limit: int, after: Place | None
) -> list[ForkRow]:
    """Back in growing steps, since mostly the newest are asked for, and all of them may be many."""
    found: list[ForkRow] = []
    step = _HOUR
    while len(found) < limit and end > start:
        begin = max(start, end - step)
        found += newest(context, conditions.with_(start=begin, end=end), limit - len(found), after)
        end, step = begin, step * 8
    return found
