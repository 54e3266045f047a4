"""Why something is missing, in words for people."""

from __future__ import annotations

from typing import Final

from collector.views.formatting import number, visible
from wire.api import GapEntry
from wire.events import FORK

__all__ = ["gap_text", "loss_badge", "reason_text"]

_DESCRIPTIONS: Final = {
    "ring_full": "lost in the kernel: the ring was full",
    "recursion": "not counted: the BPF program was already running on that CPU",
    "unseen": "not counted: /proc/stat has these tasks, and the kernel called no tracepoint for them",
    "suppressed": "held back by the storm limit; counted, not sent",
    "journal_full": "the agent's journal for this sink was full, and the oldest batches were dropped",
    "journal_corrupt": "the agent's journal could not be read",
    "journal_failed": "the agent's journal could not be written",
    "journal_lost": "the agent's journal was gone; how much of it had been delivered is not known",
    "rejected": "refused by the receiver",
    "too_large": "too large for the receiver, even alone",
    "sink_removed": "the sink was removed from the agent's settings",
    "unreadable": "the kernel's record could not be read",
    "restart": "capture restarted: what was left in the old ring is gone, and forks in between were not counted by pod",
    "not_observable": "the pod has a kernel of its own: the node's BPF programs do not see what it forks",
    "orphaned": "no agent was running; the kernel only counted",
    "filtered": "filtered by the sink's own settings: not meant for this collector",
    "before_sink": "captured before the agent had this sink: never to be sent here",
    "delivered_before": "delivered before this collector's store knew the stream",
    "on its way": "still on the node, as the agent reports",
    "unexplained": "no agent has reported what became of them",
}


def reason_text(reason: str) -> str:
    return visible(reason).replace("_", " ")


def loss_badge(reason: str, count: int) -> dict[str, str]:
    return {
        "key": reason,
        "text": f"{number(count)} {reason_text(reason)}",
        "title": _DESCRIPTIONS.get(reason, f"missing: {visible(reason)}"),
    }


def gap_text(gap: GapEntry) -> str:
    """How many of what are missing, why, and on the way to which sink."""
    if gap["count"] is None:
        return f"{reason_text(gap['reason'])}: the pod has a kernel of its own"
    what = "forks" if gap["missing"] == FORK else visible(gap["missing"])
    to_sink = f", on the way to {visible(gap['sink'])}" if gap["sink"] else ""
    return f"{number(gap['count'])} {what} missing: {reason_text(gap['reason'])}{to_sink}"
