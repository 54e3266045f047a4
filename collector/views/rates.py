"""How fast: the rate now, and the line of rates up to now.

Intervals need not fit together: an agent that begins anew begins a new stream, whose first interval may overlap the last of the
old one, and one that was away sums up a minute at once. Pure. Must not live here: totals (`pods`), drawing (`display`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from collector.rows import HolderRow, PointRow
from collector.views.times import SECOND

__all__ = ["POINTS", "Grid", "Line", "grid_of", "line_of", "rate_now"]

STALE: Final = 3  # intervals without a word after which a rate is no longer said
POINTS: Final = 30  # intervals in a line
_ENOUGH: Final = 0.5  # of an interval must have been summed up for its rate to be known

Line = tuple[list[float | None], int, int]  # forks a second, the newest last; start of the first interval, end of the last
Grid = tuple[int, int]  # where the last interval of a line ends, and how long each is, ns


def rate_now(holders: Iterable[HolderRow], now: int) -> float | None:
    """Processes a second in the newest interval of each cgroup, summed; None when all are too old.

    The same cgroup in an older stream is left out: its last interval is no second rate beside the new stream's.
    """
    newest: dict[int, HolderRow] = {}
    for holder in holders:
        if holder.end is not None:
            kept = newest.setdefault(holder.cgroup, holder)
            if holder.end > (kept.end or 0):
                newest[holder.cgroup] = holder
    rates = [rate for holder in newest.values() if (rate := _rate(holder, now)) is not None]
    return round(sum(rates), 3) if rates else None


def _rate(holder: HolderRow, now: int) -> float | None:
    """Old by the sender's clock, because a journal may bring last hour's summaries now; and by ours, because a node's clock may
    run ahead."""
    if holder.end is None or holder.start is None or holder.received is None or holder.end <= holder.start:
        return None
    length = holder.end - holder.start
    if now - min(holder.end, holder.received) > STALE * length:
        return None
    return holder.counts.processes * SECOND / length


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
