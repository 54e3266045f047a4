"""The rate now, and the line of rates up to now.

Intervals need not fit together: an agent that restarts begins a new stream, whose first interval may overlap the last of the
old one, and one that was stopped for a minute sums up that minute at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from collector.model import CounterSourceRow, PointRow
from collector.views.times import SECOND

__all__ = ["POINTS", "Grid", "Line", "rate_grid", "rate_line", "rate_now"]

STALE: Final = 3  # intervals without a summary after which a rate is unknown
POINTS: Final = 30  # intervals in a line
_ENOUGH: Final = 0.5  # of an interval must have been summed up for its rate to be known


class Line(NamedTuple):
    """`rates`: forks a second, the newest last, null where unknown. `start`, `end`: of the whole line, ns since 1970."""

    rates: list[float | None]
    start: int
    end: int


class Grid(NamedTuple):
    """Where the last interval of a line ends, ns since 1970, and how long each interval is, ns."""

    end: int
    interval: int


def rate_now(counter_sources: Iterable[CounterSourceRow], now: int) -> float | None:
    """Processes a second in the newest interval of each cgroup, summed; None when all are too old.

    The same cgroup in an older stream is left out: it must not add a second rate beside the new stream's.
    """
    newest: dict[int, CounterSourceRow] = {}
    for counter_source in counter_sources:
        if counter_source.end is not None:
            kept = newest.setdefault(counter_source.cgroup, counter_source)
            if counter_source.end > (kept.end or 0):
                newest[counter_source.cgroup] = counter_source
    rates = [rate for counter_source in newest.values() if (rate := _rate(counter_source, now)) is not None]
    return round(sum(rates), 3) if rates else None


def _rate(counter_source: CounterSourceRow, now: int) -> float | None:
    """None when the interval is too old: by the sender's clock, as a journal may deliver last hour's summaries now, or by ours,
    as a node's clock may run ahead."""
    if (
        counter_source.end is None
        or counter_source.start is None
        or counter_source.received is None
        or counter_source.end <= counter_source.start
    ):
        return None
    length = counter_source.end - counter_source.start
    if now - min(counter_source.end, counter_source.received) > STALE * length:
        return None
    return counter_source.counts.processes * SECOND / length


def rate_grid(points: Iterable[PointRow], now: int) -> Grid | None:
    """Intervals of the median length, aligned with the newest: all containers of a node are summed up at the same time."""
    spans = [(start, end) for _, start, end, _ in points if end > start]
    if not spans:
        return None
    newest = max([end for _, end in spans])
    length = sorted([end - start for start, end in spans])[len(spans) // 2]
    return Grid(newest + max(0, (now - newest) // length - 1) * length, length)


def rate_line(points: Sequence[PointRow], now: int, grid: Grid | None = None) -> Line | None:
    """Processes a second in each of the last `POINTS` intervals. None without any point.

    Each point's processes are spread over the intervals that it covers, so that none counts twice and none is left out.
    `grid`: for lines that are to be compared; else, the points' own.
    """
    spans = [(start, end, processes) for _, start, end, processes in points if end > start]
    grid = grid or rate_grid(points, now)
    if not spans or grid is None:
        return None
    until, length = grid
    since = until - POINTS * length
    forks = [0.0] * POINTS
    firsts, lasts = [until] * POINTS, [since] * POINTS  # the part of each interval that points cover, ns
    for start, end, processes in spans:
        for index in range(max(0, (start - since) // length), min(POINTS, (end - 1 - since) // length + 1)):
            first = max(since + index * length, start)
            last = min(since + (index + 1) * length, end)
            forks[index] += processes * (last - first) / (end - start)
            if first < firsts[index]:
                firsts[index] = first
            if last > lasts[index]:
                lasts[index] = last
    rates = [
        round(count * SECOND / length, 3) if last - first >= _ENOUGH * length else None
        for count, first, last in zip(forks, firsts, lasts, strict=True)
    ]
    return Line(rates, since, until)
