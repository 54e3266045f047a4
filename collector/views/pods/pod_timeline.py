"""The timeline of a pod: its containers step by step, with the storms and gaps of the same range."""

from __future__ import annotations

from collections.abc import Sequence

from collector.model import PodRows, Span, TimelineRow
from collector.views.nodes.ledger import gap_json, newest_nodes
from collector.views.pods.missing import shared_gaps
from collector.views.timeline.series import series, step_count, sum_lines
from collector.views.timeline.storms import storms_json
from collector.views.times import SECOND, stamp
from wire.api import PodIdentity, Timeline

__all__ = ["timeline_json"]


def timeline_json(
    page: PodRows, identity: PodIdentity, rows: Sequence[TimelineRow], span: Span, step: int, now: int
) -> Timeline:
    """`span` as `align` made it; `step` and `now` in ns. `gaps` are the pod's own; `node_gaps` are of its whole node, and the
    pod's share of them is not known."""
    (pod,) = page.snapshot.pods
    ledger = page.snapshot.ledger
    storms = storms_json(page.storms, newest_nodes(ledger.nodes), now)
    containers = series(rows, span, step)
    length = step_count(span, step)
    return {
        **identity,
        "from": stamp(span.start),
        "to": stamp(span.end),
        "step_s": step / SECOND,
        "containers": containers,
        "totals": {
            "processes": sum_lines([line["processes"] for line in containers], length),
            "threads": sum_lines([line["threads"] for line in containers], length),
            "suppressed": sum_lines([line["suppressed"] for line in containers], length),
            "lost": sum_lines([line["lost"] for line in containers], length),
        },
        "storms": [entry for row, entry in zip(page.storms, storms, strict=True) if _overlaps(row.start, row.end, span)],
        "gaps": [gap_json(gap) for gap in page.gaps if _overlaps(gap.start, gap.end, span)],
        "node_gaps": [gap_json(gap) for gap in shared_gaps(pod, ledger.gaps) if _overlaps(gap.start, gap.end, span)],
    }


def _overlaps(start: int, end: int, span: Span) -> bool:
    return start < span.end and end >= span.start
