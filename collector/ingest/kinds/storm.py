"""`fork_storm`."""

from __future__ import annotations

from typing import Any

from collector.ingest.attribution import attribution_of
from collector.ingest.fields import Refused, count, one_of
from collector.ingest.kinds.common import RANKS, enrichment, event_time, interval, most_in, most_until, own_id, task_counts
from collector.model import CheckedStorm
from wire.events import STORM_REASONS

__all__ = ["check_storm"]


def check_storm(line: dict[str, Any]) -> CheckedStorm:
    name, stream, _ = own_id(line.get("id"))
    start, end = lasted = interval(line.get("interval"))
    event_time(line.get("timestamp"), "timestamp")
    reason = one_of(line.get("reason", STORM_REASONS[0]), "reason", STORM_REASONS)  # 0.1 has none: it knew the limit alone
    attribution = attribution_of(line)
    if attribution.cgroup is None:
        raise Refused("cgroup: a storm is of a pod or a container, and its cgroup is missing")
    return CheckedStorm(
        name,
        stream,
        attribution.cgroup,
        count(line.get("storm"), "storm"),
        attribution,
        RANKS[enrichment(line.get("enrichment"))["state"]],
        start,
        end,
        one_of(line.get("phase"), "phase", ("start", "stop")) == "stop",
        count(line.get("limit"), "limit"),
        count(line.get("hold_s"), "hold_s"),
        task_counts(line.get("counts"), "counts", most_in(lasted)),
        task_counts(line.get("totals"), "totals", most_until(end)),
        reason,
    )
