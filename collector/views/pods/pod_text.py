"""What several pages say about a pod: its name, what is missing of it, its storms."""

from __future__ import annotations

from typing import Final

from collector.views.formatting import number, visible
from collector.views.nodes.loss_reasons import loss_badge
from collector.views.times import time_of_day
from wire.api import EntryNumbers, PodEntry, StormEntry
from wire.events import NOT_OBSERVABLE

__all__ = [
    "completeness_text",
    "display_name",
    "missing_badges",
    "rate_tooltip",
    "storm_mark",
    "unknown_share_text",
    "workload_text",
]

_NOT_OBSERVABLE: Final = "the pod has a kernel of its own, so its node does not see what it forks"


def display_name(pod: PodEntry) -> str:
    """Its name, else its uid, else its cgroup. The agent's cgroup 0 is the sum of those that its map had no entry for."""
    if pod["pod"] or pod["pod_uid"]:
        return visible(pod["pod"] or pod["pod_uid"])
    cgroup = pod["cgroup"]["id"] if pod["cgroup"] else 0
    return f"cgroup {cgroup}" if cgroup else "all other cgroups"


def workload_text(pod: PodEntry) -> str:
    workload = pod["workload"]
    return visible(f"{workload['kind']} {workload['name']}") if workload else ""


def missing_badges(entry: EntryNumbers, *, observable: bool = True) -> list[dict[str, str]]:
    """One badge for each reason."""
    if not observable:
        return [{"key": NOT_OBSERVABLE, "text": "not observable", "title": _NOT_OBSERVABLE, "mark": "quiet"}]
    return [loss_badge(reason, count) for reason, count in entry["missing"].items()]


def completeness_text(entry: EntryNumbers, unknown_share: int = 0, *, observable: bool = True) -> str:
    """Shown where no badge is: a pod is complete when all that the kernel handed out is stored here."""
    if entry["missing"] or not observable:
        return ""
    if not entry["summed"]:
        return "not summed up yet"
    if entry["awaited"]:
        return f"{number(entry['awaited'])} not arrived yet"
    return "" if unknown_share else "nothing"


def unknown_share_text(unknown_share: int) -> str:
    """`unknown_share`: forks that its node lost without knowing their pods, while the pod may have been running."""
    return f"its share of {number(unknown_share)} is not known" if unknown_share else ""


def rate_tooltip(entry: EntryNumbers, *, observable: bool = True) -> str:
    if not observable:
        return _NOT_OBSERVABLE
    return "forks a second in the last interval" if entry["rate"] is not None else "no summary for three intervals"


def storm_mark(storm: StormEntry | None, storms_in_all: int) -> dict[str, str]:
    """The mark beside a pod's name: that it is in a storm, or how many storms it had."""
    if storm:
        since = time_of_day(storm["interval"]["start"])[:8]
        title = f"since {since} UTC its forks are only counted: over {number(storm['limit'])} a second"
        return {"mark": "in a storm", "mark_state": "now", "mark_title": title}
    return {
        "mark": f"{number(storms_in_all)} storm{'s' if storms_in_all > 1 else ''}" if storms_in_all else "",
        "mark_state": "past",
        "mark_title": "times when its forks were only counted, as there were too many a second",
    }
