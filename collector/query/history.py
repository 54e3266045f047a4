"""What a pod did in a span of time: by container and step, by who forked whom, and task by task.

Must not live here: trees and depth (`collector.views`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from collector.model import PairRow, Span, TaskRow, TimelineRow
from collector.query.read_context import ReadContext

__all__ = ["Mine", "lineage", "pairs", "timeline"]

_MINUTE: Final = 60_000_000_000  # ns
_BEFORE: Final = 10 * _MINUTE  # looked back for the total that a span begins with; a summary that got lost is in the next one
_SUMS: Final = ("processes", "threads", "suppressed", "lost")
_FORKS: Final = (
    "FROM fork WHERE received >= fromUnixTimestamp64Nano({since:Int64}) AND time >= fromUnixTimestamp64Nano({start:Int64}) "
    "AND time < fromUnixTimestamp64Nano({end:Int64}) AND (stream, holder) IN {mine:Array(Tuple(String, Int64))} "
    "AND (cluster, namespace, pod) IN {keys:Array(Tuple(String, String, String))} "
)
Mine = Mapping[tuple[str, int], bytes]  # whose a holder is, by stream and cgroup
Keys = Sequence[tuple[str, str, str]]


def timeline(look: ReadContext, mine: Mine, span: Span, step: int) -> list[TimelineRow]:
    """Steps in which something was told, oldest first. `step` in ns; an interval belongs to the step that it ends in."""
    earlier = -(-_BEFORE // step)
    by_minute = step % _MINUTE == 0 and span.start % _MINUTE == 0
    if by_minute:
        columns = ", ".join(f"max(total_{n}), min(base_{n})" for n in _SUMS)
        source, at = "minute", "toUnixTimestamp(minute) * 1000000000"
    else:
        columns = ", ".join(f"max(total_{n}), min(greatest(total_{n}, {n}) - {n})" for n in _SUMS)
        source, at = "summary", "greatest(end, 1) - 1"
    rows = look.rows(
        f"SELECT stream, cgroup, intDiv({at} - {{start:Int64}}, {{step:Int64}}) AS place, {columns} FROM {source} "
        "WHERE (stream, cgroup) IN {mine:Array(Tuple(String, Int64))} AND received >= fromUnixTimestamp64Nano({since:Int64}) "
        f"AND {at} >= {{start:Int64}} AND {at} < {{end:Int64}} GROUP BY stream, cgroup, place ORDER BY stream, cgroup, place",
        mine=list(mine),
        start=span.start - earlier * step,
        end=span.end,
        step=step,
    )
    found: dict[tuple[int, str | None], list[Any]] = {}
    whose: tuple[str, int] = "", 0
    before = [0, 0, 0, 0]
    for stream, cgroup, place, *sums in rows:
        if whose != (stream, cgroup):
            whose, before = (stream, cgroup), sums[1::2]
        if place < earlier:
            before = [max(pair) for pair in zip(before, sums[::2], strict=True)]
            continue
        container, name = _container(mine[whose])
        row = found.setdefault((place, container), [name, 0, 0, 0, 0])
        row[0] = row[0] or name
        for number, total in enumerate(sums[::2]):
            row[number + 1] += max(0, total - before[number])
            before[number] = max(before[number], total)
    return [
        TimelineRow(container, row[0], span.start + (place - earlier) * step, *row[1:])
        for (place, container), row in sorted(found.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    ]


def pairs(look: ReadContext, mine: Iterable[tuple[str, int]], keys: Keys, span: Span, limit: int) -> list[PairRow]:
    """Processes by who forked them and what they were called when they first forked; most forks first."""
    rows = look.rows(
        "SELECT parent, if(named, child, NULL), count() AS forks, min(at), max(at) FROM (SELECT f.parent_comm AS parent, "
        "f.at AS at, notEmpty(n.child) AS named, n.child[1] AS child FROM (SELECT entity, parent_comm, "
        f"toUnixTimestamp64Nano(time) AS at {_FORKS} AND kind = 'process' LIMIT 1 BY stream, cpu, sequence) AS f "
        f"LEFT JOIN (SELECT parent_entity, [argMin(tuple(parent_comm), time).1] AS child {_FORKS} "
        "AND parent_entity IS NOT NULL AND parent_comm IS NOT NULL GROUP BY parent_entity) AS n ON f.entity = n.parent_entity) "
        "GROUP BY 1, 2 "
        "ORDER BY forks DESC, max(at) DESC, 1, 2 LIMIT {limit:UInt32}",
        mine=list(mine),
        keys=keys,
        start=span.start,
        end=span.end,
        limit=limit,
    )
    return [PairRow._make(row) for row in rows]


def lineage(look: ReadContext, mine: Mine, keys: Keys, span: Span, limit: int) -> list[TaskRow]:
    """The newest `limit` processes, newest first."""
    rows = look.rows(
        "SELECT entity, parent_entity, comm, parent_comm, pid, ns_pid, parent_pid, parent_ns_pid, toUnixTimestamp64Nano(time), "
        f"stream, holder {_FORKS} AND kind = 'process' AND entity IS NOT NULL ORDER BY time DESC, stream DESC, cpu DESC, "
        "sequence DESC LIMIT 1 BY stream, cpu, sequence LIMIT {limit:UInt32}",
        mine=list(mine),
        keys=keys,
        start=span.start,
        end=span.end,
        limit=limit,
    )
    return [
        TaskRow._make((*map(_hex, row[:2]), *row[2:4], row[4] or 0, *row[5:9], _container(mine[row[9:]])[0])) for row in rows
    ]


def _hex(entity: int | None) -> str | None:
    return None if entity is None else f"{entity:016x}"


def _container(attribution: bytes) -> tuple[str | None, str | None]:
    """Id and name."""
    said = orjson.loads(attribution)["container"] or {}
    return said.get("id"), said.get("name")
