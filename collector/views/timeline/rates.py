"""How fast: the rate now, and the line of rates up to now.

Intervals need not fit together: an agent that begins anew begins a new stream, whose first interval may overlap the last of the
old one, and one that was away sums up a minute at once. Pure. Must not live here: totals (`pods`), drawing (`display`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from collector.model import CounterSourceRow, PointRow
from collector.views.times import SECOND

__all__ = ["POINTS", "Grid", "Line", "grid_of", "line_of", "rate_now"]

STALE: Final = 3  # intervals without a word after which a rate is no longer said
POINTS: Final = 30  # intervals in a line
_ENOUGH: Final = 0.5  # of an interval must have been summed up for its rate to be known

Line = tuple[list[float | None], int, int]  # forks a second, the newest last; start of the first interval, end of the last
Grid = tuple[int, int]  # where the last interval of a line ends, and how long each is, ns


def rate_now(counter_sources: Iterable[CounterSourceRow], now: int) -> float | None:
    """Processes a second in the newest interval of each cgroup, summed; None when all are too old.

    The same cgroup in an older stream is left out: its last interval is no second rate beside the new stream's.
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
    """Old by the sender's clock, because a journal may bring last hour's summaries now; and by ours, because a node's clock may
    run ahead."""
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


def grid_of(points: Iterable[PointRow], now: int) -> Grid | None:
    """Intervals as long as most of these; they hang on the newest, as a node's containers are summed up at the same moment."""
    spans = [(start, end) for _, start, end, _ in points if end > start]
    if not spans:
        return None
    newest = max([end for _, end in spans])
    length = sorted([end - start for start, end in spans])[len(spans) // 2]
    return newest + max(0, (now - newest) // length - 1) * length, length


def line_of(points: Sequence[PointRow], now: int, grid: Grid | None = None) -> Line | None:
    """Processes a second in each of the last `POINTS` intervals; null where nothing was said. None without any point.

    Each point's processes are spread over the intervals that it covers, so that none counts twice and none is left out.
    `grid`: where several lines are to be compared; else, the points' own.
    """
    spans = [(start, end, processes) for _, start, end, processes in points if end > start]
    grid = grid or grid_of(points, now)
    if not spans or grid is None:
        return None
    until, length = grid
    since = until - POINTS * length
    forks = [0.0] * POINTS
    firsts, lasts = [until] * POINTS, [since] * POINTS  # from when to when each of them was spoken of, ns
    for start, end, processes in spans:
        for place in range(max(0, (start - since) // length), min(POINTS, (end - 1 - since) // length + 1)):
            first = max(since + place * length, start)
            last = min(since + (place + 1) * length, end)
            forks[place] += processes * (last - first) / (end - start)
            if first < firsts[place]:
                firsts[place] = first
            if last > lasts[place]:
                lasts[place] = last
    rates = [
        round(some * SECOND / length, 3) if last - first >= _ENOUGH * length else None
        for some, first, last in zip(forks, firsts, lasts, strict=True)
    ]
    return rates, since, until
