"""captured = delivered + queued + lost{reason} + suppressed + filtered, for each sink. Pure arithmetic over counts of forks.

The kernel's cgroup counters have what was captured, emitted, filtered, suppressed and lost to the ring; each sink's account has
what became of the forks that reached it. Every number is counted where it happens, and none is derived from the others: so that
they add up is evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.model import Counters
from wire.events import Counts

__all__ = ["BEFORE_SINK", "FORGOTTEN", "Account", "Captured", "Queued", "imbalance", "totals"]

FORGOTTEN: Final = 0xFFFFFFFFFFFFFFFE  # in an account: all cgroups that were forgotten; model.NO_CGROUP is another
BEFORE_SINK: Final = "before_sink"  # a reason of `filtered`: drained before the sink was in the settings
COUNTS = tuple(Counts.__annotations__)  # in the order of the kernel's cgroup counters


@dataclass
class Account:
    """One sink's: forks by cgroup. `lost` by reason: journal_full, rejected ...; `filtered` by reason: not wanted there."""

    delivered: Counter[int] = field(default_factory=Counter)
    lost: dict[str, Counter[int]] = field(default_factory=dict)
    filtered: dict[str, Counter[int]] = field(default_factory=dict)

    def deliver(self, forks: Mapping[int, int]) -> None:
        self.delivered.update(forks)

    def forget(self, cgroup: int) -> None:
        """Moves the forks of a cgroup that is no longer known to FORGOTTEN: they stay in the sums."""
        for forks in (self.delivered, *self.lost.values(), *self.filtered.values()):
            if cgroup in forks:
                forks[FORGOTTEN] += forks.pop(cgroup)

    def lose(self, reason: str, forks: Mapping[int, int]) -> None:
        self.lost.setdefault(reason, Counter()).update(forks)

    def leave_out(self, reason: str, forks: Mapping[int, int]) -> None:
        self.filtered.setdefault(reason, Counter()).update(forks)

    @property
    def total(self) -> int:
        """Forks that are not on their way any more."""
        done = (self.delivered, *self.lost.values(), *self.filtered.values())
        return sum(forks.total() for forks in done)

    def lost_by_reason(self) -> dict[str, int]:
        return {reason: forks.total() for reason, forks in self.lost.items()}

    def filtered_by_reason(self) -> dict[str, int]:
        return {reason: forks.total() for reason, forks in self.filtered.items()}


@dataclass(frozen=True)
class Captured:
    """The kernel's side at one moment, summed over cgroups. `misses`: the kernel skipped a BPF program, and what it missed is
    not in `processes` and `threads` either. `orphaned`: counted while no agent was alive, and in no cgroup's counters.
    `unseen`: tasks that only /proc/stat has: the kernel called no tracepoint for them."""

    processes: int
    threads: int
    emitted: int
    filtered: int
    suppressed: int
    lost: int
    entered: int
    misses: int = 0
    kernel_workers: int = 0
    orphaned: int = 0
    unseen: int = 0

    @property
    def captured(self) -> int:
        return self.processes + self.threads + self.orphaned

    def lost_by_reason(self) -> dict[str, int]:
        """Before any sink."""
        return {"ring": self.lost, "recursion": self.misses, "orphaned": self.orphaned, "unseen": self.unseen}


@dataclass(frozen=True)
class Queued:
    """Forks on their way: `ring`: not drained yet; `waiting`: for their pods; `journal`: for the sink."""

    ring: int
    waiting: int
    journal: int

    @property
    def total(self) -> int:
        return self.ring + self.waiting + self.journal

    def by_place(self) -> dict[str, int]:
        return {"ring": self.ring, "waiting": self.waiting, "journal": self.journal}


def totals(counters: Iterable[Counters]) -> dict[str, int]:
    """The sum of cgroup counters, by name."""
    sums = [sum(column) for column in zip(*counters, strict=True)] or [0] * len(COUNTS)
    return dict(zip(COUNTS, sums, strict=True))


def imbalance(captured: Captured, account: Account, queued: Queued) -> int:
    """What the two sides differ by: 0 when every fork is accounted for."""
    known = account.total + queued.total
    return captured.captured - (known + captured.lost + captured.orphaned + captured.suppressed + captured.filtered)
