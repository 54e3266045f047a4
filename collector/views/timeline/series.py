"""What each container of a pod did, step by step.

A step without a summary is null, never 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from collector.model import Span, TimelineRow
from collector.views.times import SECOND
from wire.api import TimelineContainer, TimelineCounts

__all__ = ["STEPS", "align", "default_step", "series", "step_count", "sum_lines"]

# Seconds that people can read off an axis. An agent sums up every 10 s, so shorter steps would show nothing more.
STEPS: Final = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
_MAX_DEFAULT: Final = 120  # steps in a line: enough for a wide screen, and quickly answered

_Line = list[int | None]


def default_step(span: Span) -> int:
    """ns."""
    return next((step for step in STEPS if (span.end - span.start) <= step * _MAX_DEFAULT * SECOND), STEPS[-1]) * SECOND


def align(span: Span, step: int) -> Span:
    """Whole steps since 1970, so that a step contains the same forks in every answer."""
    return Span(span.start // step * step, -(-span.end // step) * step)


def series(rows: Iterable[TimelineRow], span: Span, step: int) -> list[TimelineContainer]:
    """The counts of every container, those that forked most first."""
    length = step_count(span, step)
    lines: dict[str | None, TimelineCounts] = defaultdict(lambda: _unknown(length))
    names: dict[str | None, str | None] = {}
    for row in rows:
        at = (row.start - span.start) // step
        if not 0 <= at < length:
            continue
        names[row.container] = row.name or names.get(row.container)
        counts = lines[row.container]
        _add(counts["processes"], at, row.processes)
        _add(counts["threads"], at, row.threads)
        _add(counts["suppressed"], at, row.suppressed)
        _add(counts["lost"], at, row.lost)
    found: list[TimelineContainer] = [{"container": key, "name": names[key], **counts} for key, counts in lines.items()]
    return sorted(found, key=lambda one: (-sum(filter(None, one["processes"])), str(one["name"]), str(one["container"])))


def _unknown(length: int) -> TimelineCounts:
    return {
        "processes": [None] * length,
        "threads": [None] * length,
        "suppressed": [None] * length,
        "lost": [None] * length,
    }


def _add(line: _Line, at: int, count: int) -> None:
    line[at] = (line[at] or 0) + count


def sum_lines(lines: Sequence[_Line], length: int) -> _Line:
    """Of the lines that are known at a step; null where none is."""
    known = ([count for line in lines if (count := line[at]) is not None] for at in range(length))
    return [sum(counts) if counts else None for counts in known]


def step_count(span: Span, step: int) -> int:
    return -(-(span.end - span.start) // step)
