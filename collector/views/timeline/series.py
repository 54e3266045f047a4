"""What each container of a pod did, step by step, and the storms and gaps that fell into it.

A step that nobody summed up is null, never 0. Pure. Must not live here: words for people; sums that SQL makes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from collector.model import PodPage, Span, TimelineRow
from collector.views.nodes.ledger import gap_json, newest_nodes
from collector.views.pods.missing import shared_gaps
from collector.views.timeline.storms import storms_json
from collector.views.times import SECOND, stamp

__all__ = ["STEPS", "aligned", "series", "timeline_json", "usual_step"]

# Seconds that people can read off an axis. An agent sums up every 10 s, so less would show nothing more.
STEPS: Final = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
_USUAL: Final = 120  # steps in a line, as a rule: more than a phone has room for, fewer than would be slow
_COUNTS: Final = ("processes", "threads", "suppressed", "lost")


def usual_step(span: Span) -> int:
    """ns."""
    return next((step for step in STEPS if (span.end - span.start) <= step * _USUAL * SECOND), STEPS[-1]) * SECOND


def aligned(span: Span, step: int) -> Span:
    """Whole steps since 1970, so that the same step holds the same forks whenever it is asked for."""
    return Span(span.start // step * step, -(-span.end // step) * step)


def timeline_json(page: PodPage, rows: Sequence[TimelineRow], span: Span, step: int, now: int) -> dict[str, Any]:
    """`span` as `aligned` made it; `step` and `now` in ns. `totals`: the containers' sum. `gaps` are the pod's own,
    `node_gaps` are of its whole node: nobody knows the pod's share."""
    (pod,) = page.snapshot.pods
    ledger = page.snapshot.ledger
    storms = storms_json(page.storms, newest_nodes(ledger.nodes), now)
    during = [told for storm, told in zip(page.storms, storms, strict=True) if _meets(storm.start, storm.end, span)]
    lines = series(rows, span, step)
    return {
        "pod_uid": pod.uid,
        "from": stamp(span.start),
        "to": stamp(span.end),
        "step_s": step / SECOND,
        "containers": lines,
        "totals": {count: _sum([line[count] for line in lines], _length(span, step)) for count in _COUNTS},
        "storms": during,
        "gaps": [gap_json(gap) for gap in page.gaps if _meets(gap.start, gap.end, span)],
        "node_gaps": [gap_json(gap) for gap in shared_gaps(pod, ledger.gaps) if _meets(gap.start, gap.end, span)],
    }


def series(rows: Iterable[TimelineRow], span: Span, step: int) -> list[dict[str, Any]]:
    """A line of each count for every container, those that forked most first; `container` null: the pod's other cgroups."""
    length = _length(span, step)
    lines: dict[str | None, dict[str, list[int | None]]] = defaultdict(lambda: {count: [None] * length for count in _COUNTS})
    names: dict[str | None, str | None] = {}
    for row in rows:
        at = (row.start - span.start) // step
        if not 0 <= at < length:
            continue
        names[row.container] = row.name or names.get(row.container)
        for count in _COUNTS:
            line = lines[row.container][count]
            line[at] = (line[at] or 0) + getattr(row, count)
    found = [{"container": key, "name": names[key], **line} for key, line in lines.items()]
    return sorted(found, key=lambda one: (-sum(filter(None, one["processes"])), str(one["name"]), str(one["container"])))


def _sum(lines: Sequence[Sequence[int | None]], length: int) -> list[int | None]:
    told = ([line[at] for line in lines if line[at] is not None] for at in range(length))
    return [sum(filter(None, some)) if some else None for some in told]


def _length(span: Span, step: int) -> int:
    return -(-(span.end - span.start) // step)


def _meets(start: int, end: int, span: Span) -> bool:
    return start < span.end and end >= span.start
