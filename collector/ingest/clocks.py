"""How late the times of a batch may be. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Final

from collector.model import CheckedBatch

__all__ = ["AHEAD", "ClockAhead", "check_clock"]

# ns. Nodes and collectors keep their clocks by NTP, within a second; five minutes is what Kerberos allows, too.
AHEAD: Final = 300_000_000_000


class ClockAhead(Exception):
    """An event is later than the collector's clock allows. `events`: how many."""

    def __init__(self, sentence: str, events: int) -> None:
        super().__init__(sentence)
        self.events = events


def check_clock(batch: CheckedBatch, now: int) -> None:
    """Refuses the batch as a whole: its sender's clock is wrong, or this collector's, and it keeps the batch until they agree.
    `now` in ns. Raises ClockAhead."""
    latest = now + AHEAD
    late = [time for time in _times(batch) if time > latest]
    if late:
        seconds = (max(late) - now) // 1_000_000_000
        raise ClockAhead(
            f"{len(late)} of {len(batch)} events are up to {seconds} s ahead of this collector's clock, at most "
            f"{AHEAD // 1_000_000_000} s are accepted: is the clock of the node wrong, or the collector's?",
            len(late),
        )


def _times(batch: CheckedBatch) -> Iterable[int]:
    """Of each event the latest."""
    return chain(
        (max(fork.time, fork.time - (fork.columns.age or 0), fork.columns.parent_start or 0) for fork in batch.forks),
        (max(summary.time, summary.end) for summary in batch.summaries),
        (max(node.time, node.end) for node in batch.nodes),
        (max(gap.time, gap.end) for gap in batch.gaps),
        (storm.end for storm in batch.storms),
    )
