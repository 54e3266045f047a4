"""Exact sums of a pod by container and step, out of its counter sources' totals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from collector.model import Span, TimelineRow
from collector.query.pods.counter_sources import SourceKey
from collector.query.read_context import ReadContext

__all__ = ["Container", "container_of", "timeline"]

_MINUTE: Final = 60_000_000_000  # ns
_BEFORE: Final = 10 * _MINUTE  # read for the totals that a span begins with; a summary that got lost is in the next one
_SUMS: Final = ("processes", "threads", "suppressed", "lost")
# Where the totals come from: the table, the time of a row, the total of a step and the one that its first interval began with.
_BY_MINUTE: Final = (
    "minute",
    "toUnixTimestamp(minute) * 1000000000",
    ", ".join(f"max(total_{name}), min(base_{name})" for name in _SUMS),
)
_BY_SUMMARY: Final = (
    "summary",
    "greatest(end, 1) - 1",
    ", ".join(f"max(total_{name}), min(greatest(total_{name}, {name}) - {name})" for name in _SUMS),
)


class Container(NamedTuple):
    id: str | None
    name: str | None


class _Sums(NamedTuple):
    """In the order of `_SUMS`."""

    processes: int = 0
    threads: int = 0
    suppressed: int = 0
    lost: int = 0

    def grown_from(self, before: _Sums) -> _Sums:
        return _Sums(*(max(0, now - then) for now, then in zip(self, before, strict=True)))

    def greatest(self, other: _Sums) -> _Sums:
        return _Sums(*map(max, self, other))

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(*(one + two for one, two in zip(self, other, strict=True)))


class _Row(NamedTuple):
    """`base_...`: the totals when the step's first interval began."""

    stream: str
    cgroup: int
    step: int
    processes: int
    base_processes: int
    threads: int
    base_threads: int
    suppressed: int
    base_suppressed: int
    lost: int
    base_lost: int

    @property
    def totals(self) -> _Sums:
        return _Sums(self.processes, self.threads, self.suppressed, self.lost)

    @property
    def base(self) -> _Sums:
        return _Sums(self.base_processes, self.base_threads, self.base_suppressed, self.base_lost)


def timeline(context: ReadContext, attributions: Mapping[SourceKey, bytes], span: Span, step: int) -> list[TimelineRow]:
    """Steps with summaries, oldest first. `step` in ns; an interval belongs to the step that it ends in."""
    earlier = -(-_BEFORE // step)  # steps before the span
    rows = context.rows(
        _Row,
        _statement(*(_BY_MINUTE if step % _MINUTE == 0 and span.start % _MINUTE == 0 else _BY_SUMMARY)),
        sources=list(attributions),
        start=span.start - earlier * step,
        end=span.end,
        step=step,
    )
    names: dict[tuple[int, str | None], str | None] = {}
    sums: dict[tuple[int, str | None], _Sums] = {}
    source: SourceKey | None = None
    before = _Sums()
    for row in rows:
        if source != (row.stream, row.cgroup):
            source, before = (row.stream, row.cgroup), row.base
        totals = row.totals
        if row.step >= earlier:
            container = container_of(attributions[source])
            key = row.step, container.id
            names[key] = names.get(key) or container.name
            sums[key] = sums.get(key, _Sums()).plus(totals.grown_from(before))
        before = before.greatest(totals)
    return [
        TimelineRow(container, names[step_, container], span.start + (step_ - earlier) * step, *sums[step_, container])
        for step_, container in sorted(sums, key=lambda key: (key[0], key[1] or ""))
    ]


def container_of(attribution: bytes) -> Container:
    """Of an attribution's body."""
    container = orjson.loads(attribution)["container"] or {}
    return Container(container.get("id"), container.get("name"))


def _statement(table: str, time: str, columns: str) -> str:
    return (
        f"SELECT stream, cgroup, intDiv({time} - {{start:Int64}}, {{step:Int64}}) AS step, {columns} FROM {table} "
        "WHERE (stream, cgroup) IN {sources:Array(Tuple(String, Int64))} "
        "AND received >= fromUnixTimestamp64Nano({since:Int64}) "
        f"AND {time} >= {{start:Int64}} AND {time} < {{end:Int64}} GROUP BY stream, cgroup, step ORDER BY stream, cgroup, step"
    )
