"""The forks that were received after a moment, for readers of the stream."""

from __future__ import annotations

from typing import Final, NamedTuple

from collector.model import Filter, FoundFork
from collector.query.filters import Conditions, add_forks_of
from collector.query.forks.rows import SELECT, ForkRow, events
from collector.query.read_context import ReadContext

__all__ = ["ReceivedForks", "received_since"]

_AFTER: Final = "received > fromUnixTimestamp64Nano({after:Int64}) AND received <= fromUnixTimestamp64Nano({until:Int64})"
_ORDER: Final = "ORDER BY received, time, stream, cpu, sequence LIMIT {limit:UInt32}"


class ReceivedForks(NamedTuple):
    """`until`: when the last of them was received, ns: from where to read on."""

    forks: list[FoundFork]
    until: int


def received_since(context: ReadContext, pod_filter: Filter, since: int, limit: int) -> ReceivedForks:
    """Received after `since`, ns, oldest first."""
    conditions = Conditions(_AFTER, after=max(since, context.since), until=context.until)
    add_forks_of(pod_filter, conditions)
    rows = context.rows(ForkRow.read, f"{SELECT} WHERE {conditions} {_ORDER}", limit=limit + 1, **conditions.values)
    if len(rows) > limit:
        # Those of one moment go together, or the next read would leave some out.
        last = rows[-1].received
        rows = [row for row in rows if row.received < last] or rows[:limit]
    once = {row.place: row for row in reversed(rows)}  # the first row of those that were inserted twice
    return ReceivedForks(events(context, list(reversed(once.values()))), max([since, *(row.received for row in rows)]))
