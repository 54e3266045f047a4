"""What is missing of a pod, why and how many; and what is missing of its node, of which nobody knows the pod's share.

Pure. Must not live here: what is missing of a stream (`accounts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from collector.model import UNNUMBERED, CounterSourceRow, GapRow, LossRow, PodRow
from collector.views.nodes.accounts import RING
from collector.views.times import SECOND
from wire.events import FORK

__all__ = ["declared_here", "missing_elsewhere", "missing_here", "shared_gaps"]

# Three intervals of a summary, as a rule: a pod that lives is spoken of in each, so one that was silent for longer before the
# gap, or came later after it, was not there.
_SLACK: Final = 30 * SECOND


def missing_here(counter_sources: Iterable[CounterSourceRow], losses: Sequence[LossRow]) -> dict[str, int]:
    """By reason. The ring's losses are told twice, by gaps and by the kernel's own count: the one that knows more is right."""
    missing: Counter[str] = Counter()
    told: Counter[int | None] = Counter()
    for loss in losses:
        if not loss.ours:
            continue
        if loss.missing == FORK and loss.reason == RING:
            told[loss.counter_source] += loss.amount
        else:
            missing[_name(loss)] += loss.amount
    known = dict.fromkeys(told, 0)
    for counter_source in counter_sources:
        known[counter_source.id] = counter_source.totals.lost
        missing["suppressed"] += counter_source.totals.suppressed
    missing[RING] += sum(max(lost, told[one]) for one, lost in known.items())
    return {reason: count for reason, count in sorted(missing.items()) if count}


def missing_elsewhere(losses: Iterable[LossRow]) -> dict[str, dict[str, int]]:
    """By sink and reason: it came here, or may have; another receiver of the same agent lacks it."""
    missing: dict[str, Counter[str]] = {}
    for loss in losses:
        if not loss.ours and loss.sink is not None:
            missing.setdefault(loss.sink, Counter())[_name(loss)] += loss.amount
    return {sink: dict(sorted(reasons.items())) for sink, reasons in sorted(missing.items())}


def declared_here(losses: Iterable[LossRow]) -> int:
    """Forks that the kernel handed out and that will not come, as was said."""
    return sum(
        loss.amount
        for loss in losses
        if loss.ours and loss.missing == FORK and loss.reason != RING and loss.reason not in UNNUMBERED
    )


def shared_gaps(pod: PodRow, gaps: Iterable[GapRow]) -> list[GapRow]:
    """Those of its whole node while it may have lived."""
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
