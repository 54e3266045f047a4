"""`fork_summary`."""

from __future__ import annotations

from typing import Any

from collector.ingest.attribution import attribution_of
from collector.ingest.kinds.common import RANKS, enrichment, event_time, interval, most_in, most_until, own_id, task_counts
from collector.model import HOST, CheckedSummary

__all__ = ["check_summary"]


def check_summary(line: dict[str, Any]) -> CheckedSummary:
    name, stream, number = own_id(line.get("id"))
    start, end = summed_up = interval(line.get("interval"))
    attribution = attribution_of(line)
    return CheckedSummary(
        name,
        stream,
        HOST if attribution.cgroup is None else attribution.cgroup,
        attribution,
        RANKS[enrichment(line.get("enrichment"))["state"]] + attribution.has_container_name,
        event_time(line.get("timestamp"), "timestamp"),
        start,
        end,
        number,
        task_counts(line.get("counts"), "counts", most_in(summed_up)),
        task_counts(line.get("totals"), "totals", most_until(end)),
    )
