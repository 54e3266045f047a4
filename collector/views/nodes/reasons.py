"""Why something is missing, in words for people.

Pure. Must not live here: how much is missing (`missing`, `accounts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from collector.views.words import number, visible
from wire.events import FORK

__all__ = ["gap_text", "reason_badge", "reason_words"]

_TITLES: Final = {
    "ring_full": "lost in the kernel: the ring had no room",
    "recursion": "not counted: the probe was already running on that CPU",
    "unseen": "not counted: /proc/stat has these tasks, and the kernel called no tracepoint for them",
    "suppressed": "held back by the storm limit; counted, not sent",
    "journal_full": "the agent's journal for this sink was full, and the oldest went",
    "journal_corrupt": "the agent's journal could not be read again",
    "journal_failed": "the agent's journal could not be written",
    "journal_lost": "the agent's journal was gone, and nobody knows what of it had been delivered",
    "rejected": "refused by the receiver",
    "too_large": "too large for the receiver, even alone",
    "sink_removed": "the sink was taken out of the agent's settings",
    "unreadable": "the kernel's record could not be read",
    "restart": "capture began anew: what lay in the old ring is gone, and nobody counted by pod in between",
    "not_observable": "the pod has a kernel of its own: no probe of the node's sees what it forks",
    "orphaned": "no agent was there; the kernel only counted",
    "filtered": "the sink's own filter: never meant for this collector",
    "delivered_before": "delivered before this collector's store heard of the stream",
    "on its way": "waiting on the node, by its agent's word",
    "unexplained": "nobody has said what became of them",
}


def reason_words(reason: str) -> str:
    return visible(reason).replace("_", " ")


def reason_badge(reason: str, count: int) -> dict[str, str]:
    return {
        "key": reason,
        "text": f"{number(count)} {reason_words(reason)}",
        "title": _TITLES.get(reason, f"missing: {visible(reason)}"),
    }


def gap_text(gap: Mapping[str, Any]) -> str:
    """`gap` as in `ledger.gap_json`: how many of what, why, and on the way to whom."""
    if gap["count"] is None:
        return f"{reason_words(gap['reason'])}: the pod has a kernel of its own"
    what = "forks" if gap["missing"] == FORK else visible(gap["missing"])
    on_the_way = f", on the way to {visible(gap['sink'])}" if gap["sink"] else ""
    return f"{number(gap['count'])} {what} missing: {reason_words(gap['reason'])}{on_the_way}"
