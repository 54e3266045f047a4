"""`gap`."""

from __future__ import annotations

from typing import Any

from collector.ingest.attribution import attribution_of
from collector.ingest.fields import amount, maybe_text, text
from collector.ingest.kinds.common import RANKS, enrichment, event_time, interval, most_until, own_id
from collector.model import HOST, UNNUMBERED, CheckedGap
from wire.events import NOT_OBSERVABLE

__all__ = ["check_gap"]


def check_gap(line: dict[str, Any]) -> CheckedGap:
    name, stream, by_now = own_id(line.get("id"))
    start, end = interval(line.get("interval"))
    most = most_until(end)
    attribution = attribution_of(line)
    state = enrichment(line.get("enrichment"))["state"]
    reason = text(line.get("reason"), "reason", 64, empty=False)
    # Without a cgroup it is of the host, or else of the node as a whole: of which pods, is unknown.
    is_host = attribution.pod_uid is None and state == "host" and (attribution.cgroup is not None or reason not in UNNUMBERED)
    return CheckedGap(
        name,
        stream,
        HOST if is_host else attribution.cgroup,
        attribution,
        RANKS[state] + attribution.has_container_name,
        event_time(line.get("timestamp"), "timestamp"),
        start,
        end,
        text(line.get("missing"), "missing", 64, empty=False),
        0 if reason == NOT_OBSERVABLE and line.get("count") is None else amount(line.get("count"), "count", most),
        reason,
        maybe_text(line.get("sink"), "sink", 128, empty=False),
        by_now if by_now <= most else 0,
    )
