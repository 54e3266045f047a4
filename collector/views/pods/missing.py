"""How many forks of a pod are missing, and why; and the gaps of its node, of which the pod's share is not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from collector.model import UNNUMBERED, CounterSourceRow, GapRow, LossRow, PodRow
from collector.views.nodes.accounting import RING
from collector.views.times import SECOND
from wire.events import FORK

__all__ = ["declared_here", "missing_elsewhere", "missing_here", "shared_gaps"]

# Usually three intervals of a summary. Every interval has a summary of each running pod, so a pod that was last seen earlier
# before the gap, or first seen later after it, was not running then.
_SLACK: Final = 30 * SECOND


def missing_here(counter_sources: Iterable[CounterSourceRow], losses: Sequence[LossRow]) -> dict[str, int]:
    """By reason. The ring's losses are reported twice, by gaps and by the kernel's own count: the higher number is right."""
    missing: Counter[str] = Counter()
    by_gaps: Counter[int | None] = Counter()
    for loss in losses:
        if not loss.ours:
            continue
        if loss.missing == FORK and loss.reason == RING:
            by_gaps[loss.counter_source_id] += loss.amount
        else:
            missing[_name(loss)] += loss.amount
    by_kernel = dict.fromkeys(by_gaps, 0)
    for source in counter_sources:
        by_kernel[source.id] = source.totals.lost
        missing["suppressed"] += source.totals.suppressed
    missing[RING] += sum(max(lost, by_gaps[source_id]) for source_id, lost in by_kernel.items())
    return {reason: count for reason, count in sorted(missing.items()) if count}


def missing_elsewhere(losses: Iterable[LossRow]) -> dict[str, dict[str, int]]:
    """By sink and reason: what another sink of the same agent lacks. It may have arrived here."""
    missing: dict[str, Counter[str]] = {}
    for loss in losses:
        if not loss.ours and loss.sink is not None:
            missing.setdefault(loss.sink, Counter())[_name(loss)] += loss.amount
    return {sink: dict(sorted(reasons.items())) for sink, reasons in sorted(missing.items())}


def declared_here(losses: Iterable[LossRow]) -> int:
    """Forks that the kernel handed out and that will not arrive, as was reported."""
    return sum(
        loss.amount
        for loss in losses
        if loss.ours and loss.missing == FORK and loss.reason != RING and loss.reason not in UNNUMBERED
    )


def shared_gaps(pod: PodRow, gaps: Iterable[GapRow]) -> list[GapRow]:
    """The gaps of its whole node while the pod may have been running."""
    return [
        gap
        for gap in gaps
        if (gap.cluster, gap.node) == (pod.cluster, pod.node)
        and gap.ours
        and gap.missing == FORK
        and gap.amount
        and gap.start <= pod.last_seen + _SLACK
        and gap.end >= pod.first_seen - _SLACK
    ]


def _name(loss: LossRow) -> str:
    return loss.reason if loss.missing == FORK else f"{loss.missing}: {loss.reason}"
