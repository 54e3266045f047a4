"""Received n of n: how many numbers a stream's forks were given, how many of those arrived, and what became of the others.

Every fork that the kernel hands out gets a number, so a number that did not arrive is a missing fork. This module alone decides
whether it is on its way, was declared lost, or is unexplained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from collector.model import UNNUMBERED, LedgerRows, LossRow, NodeRow, StreamRow
from wire.api import AccountState
from wire.events import FORK

__all__ = [
    "BEFORE",
    "COMPLETE",
    "EXPLAINED",
    "NOT_SUMMED_UP",
    "ON_ITS_WAY",
    "RING",
    "UNEXPLAINED",
    "StreamAccount",
    "stream_accounts",
    "sum_accounts",
]

COMPLETE: Final = "complete"
NOT_SUMMED_UP: Final = "not summed up yet"
ON_ITS_WAY: Final = "on its way"
EXPLAINED: Final = "missing, explained"
UNEXPLAINED: Final = "missing, unexplained"
_STATES_BY_SEVERITY: Final[tuple[AccountState, ...]] = (COMPLETE, NOT_SUMMED_UP, ON_ITS_WAY, EXPLAINED, UNEXPLAINED)

RING: Final = "ring_full"  # the reason of a gap for what the ledger calls the loss of the ring
_DELIVERED_BEFORE: Final = "delivered_before"  # this sink had received it before this store knew the stream
_BEFORE_SINK: Final = "before_sink"  # drained before the agent had this sink
BEFORE: Final = frozenset({_DELIVERED_BEFORE, _BEFORE_SINK})  # reasons that are no loss: the account begins after it
_FILTERED: Final = "filtered"  # by the sink's own filter: it was never to be sent here


class StreamAccount(NamedTuple):
    """Forks. `given`: numbers handed out by the newest heartbeat, of which `received` arrived; later numbers are left out.

    `declared`: by reason, what was reported missing; `explained`: the part of it that is missing. They differ where a batch was
    given up although it had arrived, as its receipt was lost. `unnumbered`: by reason, forks that never had a number.
    """

    state: AccountState
    given: int
    received: int
    explained: Mapping[str, int]
    on_its_way: int
    unexplained: int
    declared: Mapping[str, int]
    unnumbered: Mapping[str, int]

    @property
    def missing(self) -> int:
        return self.given - self.received

    @property
    def before(self) -> int:
        """Forks from before the account began: they were never to arrive here."""
        return sum(self.explained.get(reason, 0) for reason in BEFORE)

    @property
    def open(self) -> int:
        """Missing, and not explained."""
        return self.on_its_way + self.unexplained

    @property
    def only_reason(self) -> str | None:
        """What became of the missing forks, where it is the same for all of them."""
        reasons = [*self.explained, *([ON_ITS_WAY] if self.on_its_way else []), *(["unexplained"] if self.unexplained else [])]
        return reasons[0] if len(reasons) == 1 else None


def stream_accounts(ledger: LedgerRows) -> dict[int, StreamAccount]:
    """By the stream's id."""
    nodes = {row.stream: row for row in ledger.nodes}
    losses: dict[int, list[LossRow]] = {}
    for loss in ledger.losses:
        if loss.missing == FORK and loss.ours:
            losses.setdefault(loss.stream, []).append(loss)
    return {stream.id: _account(stream, nodes.get(stream.id), losses.get(stream.id, [])) for stream in ledger.streams}


def sum_accounts(parts: Iterable[StreamAccount]) -> StreamAccount:
    """The sum; its state is the worst."""
    parts = list(parts)
    explained, declared, unnumbered = Counter[str](), Counter[str](), Counter[str]()
    for part in parts:
        explained.update(part.explained)
        declared.update(part.declared)
        unnumbered.update(part.unnumbered)
    return StreamAccount(
        max((part.state for part in parts), key=_STATES_BY_SEVERITY.index, default=NOT_SUMMED_UP),
        sum(part.given for part in parts),
        sum(part.received for part in parts),
        explained,
        sum(part.on_its_way for part in parts),
        sum(part.unexplained for part in parts),
        declared,
        unnumbered,
    )


def _account(stream: StreamRow, node: NodeRow | None, losses: Iterable[LossRow]) -> StreamAccount:
    gaps: Counter[str] = Counter()
    for loss in losses:
        gaps[loss.reason] += loss.amount
    if stream.given is None or node is None:
        declared, unnumbered = _split(gaps)
        return StreamAccount(NOT_SUMMED_UP, 0, 0, {}, 0, 0, declared, unnumbered)
    heartbeat = orjson.loads(node.body)
    sink = heartbeat["ledger"]["sinks"].get(stream.sink, {"lost": {}, "filtered": {}, "queued": {}})
    declared, unnumbered = _split(_declared(stream, heartbeat, sink, gaps))
    # Numbers that were handed out while the agent read its counters are in no line of the ledger.
    totals = heartbeat["totals"]
    in_ring = sink["queued"].get("ring", 0) + max(0, stream.given - totals["emitted"] - totals["lost"])
    queued = sum(sink["queued"].values()) - sink["queued"].get("ring", 0)
    if unnumbered.get("restart"):  # capture restarted, and the ring is gone
        declared["restart"] = in_ring
    else:
        queued += in_ring
    missing = rest = max(0, stream.given - stream.received)
    explained: dict[str, int] = {}
    for reason, amount in declared.items():
        if part := min(rest, amount):
            explained[reason] = part
            rest -= part
    on_its_way = min(rest, queued)
    rest -= on_its_way
    lost = explained.keys() - BEFORE
    state: AccountState = UNEXPLAINED if rest else EXPLAINED if lost else ON_ITS_WAY if on_its_way else COMPLETE
    return StreamAccount(state, stream.given, stream.given - missing, explained, on_its_way, rest, declared, unnumbered)


def _declared(
    stream: StreamRow, heartbeat: Mapping[str, Any], sink: Mapping[str, Any], gaps: Mapping[str, int]
) -> dict[str, int]:
    """By reason, the most certain first. The heartbeat's ledger makes up for a lost gap, and the gaps for a lost heartbeat."""
    lost = heartbeat["ledger"]["lost"]
    # The heartbeat's heads and its count of the ring's losses are of one moment; a gap of the ring may be newer than both.
    declared = {RING: lost.get("ring", gaps.get(RING, 0))}
    declared |= {reason: max(amount, gaps.get(reason, 0)) for reason, amount in lost.items() if reason != "ring"}
    declared[_DELIVERED_BEFORE] = stream.before
    declared[_BEFORE_SINK] = sink["filtered"].get(_BEFORE_SINK, 0)
    # What the kernel filters has no number; what a sink filters on top of that has one.
    numbered = sum(sink["filtered"].values()) - heartbeat["totals"]["filtered"]
    declared[_FILTERED] = max(0, numbered - declared[_BEFORE_SINK])
    for reason in sorted({*sink["lost"], *gaps} - declared.keys()):
        declared[reason] = max(sink["lost"].get(reason, 0), gaps.get(reason, 0))
    return {reason: amount for reason, amount in declared.items() if amount}


def _split(reasons: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Those that had numbers, and those that never had one."""
    return (
        {reason: amount for reason, amount in reasons.items() if reason not in UNNUMBERED},
        {reason: amount for reason, amount in reasons.items() if reason in UNNUMBERED},
    )
