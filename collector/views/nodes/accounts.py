"""Received n of n: the numbers that a stream's forks were given, those that came, and what became of the others.

A number is given to every fork that the kernel hands out, so one that did not come is missing; whether it is on its way, was
said to be lost, or nobody knows, is worked out here and nowhere else. Pure.

Must not live here: JSON (`ledger`), counts of pods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from collector.model import UNNUMBERED, LedgerRows, LossRow, NodeRow, StreamRow
from wire.events import FORK

__all__ = ["COMPLETE", "EXPLAINED", "ON_ITS_WAY", "RING", "UNEXPLAINED", "UNHEARD", "Account", "accounts", "united"]

COMPLETE: Final = "complete"
UNHEARD: Final = "not summed up yet"
ON_ITS_WAY: Final = "on its way"
EXPLAINED: Final = "missing, explained"
UNEXPLAINED: Final = "missing, unexplained"
_WORSE: Final = (COMPLETE, UNHEARD, ON_ITS_WAY, EXPLAINED, UNEXPLAINED)

RING: Final = "ring_full"  # a gap's word for what the ledger calls the loss of the ring
_ELSEWHERE: Final = "delivered_before"  # this sink had it before this store heard of the stream
_NOT_FOR_US: Final = "filtered"  # the sink's own filter: it was never meant to come


class Account(NamedTuple):
    """Forks. `given`: numbers, by the newest heartbeat, of which `received` came; later ones are not spoken of.

    `declared`: by reason, what was said to be missing; `explained`: how much of what is missing that is. They differ where a
    batch that was given up had come all the same, its receipt being lost. `unnumbered`: by reason, those that had no number.
    """

    state: str
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
    def only_reason(self) -> str | None:
        """What became of every single one that is missing, where it is the same of all."""
        reasons = [*self.explained, *([ON_ITS_WAY] if self.on_its_way else []), *(["unexplained"] if self.unexplained else [])]
        return reasons[0] if len(reasons) == 1 else None


def accounts(ledger: LedgerRows) -> dict[int, Account]:
    """By stream."""
    nodes = {row.stream: row for row in ledger.nodes}
    losses: dict[int, list[LossRow]] = {}
    for loss in ledger.losses:
        if loss.missing == FORK and loss.ours:
            losses.setdefault(loss.stream, []).append(loss)
    return {stream.id: _account(stream, nodes.get(stream.id), losses.get(stream.id, [])) for stream in ledger.streams}


def united(parts: Iterable[Account]) -> Account:
    """The sum; its state is the worst."""
    parts = list(parts)
    explained, declared, unnumbered = Counter[str](), Counter[str](), Counter[str]()
    for part in parts:
        explained.update(part.explained)
        declared.update(part.declared)
        unnumbered.update(part.unnumbered)
    return Account(
        max((part.state for part in parts), key=_WORSE.index, default=UNHEARD),
        sum(part.given for part in parts),
        sum(part.received for part in parts),
        explained,
        sum(part.on_its_way for part in parts),
        sum(part.unexplained for part in parts),
        declared,
        unnumbered,
    )


def _account(stream: StreamRow, node: NodeRow | None, losses: Iterable[LossRow]) -> Account:
    told: Counter[str] = Counter()
    for loss in losses:
        told[loss.reason] += loss.amount
    if stream.given is None or node is None:
        declared, unnumbered = _parted(told)
        return Account(UNHEARD, 0, 0, {}, 0, 0, declared, unnumbered)
    said = orjson.loads(node.body)
    sink = said["ledger"]["sinks"].get(stream.sink, {"lost": {}, "filtered": {}, "queued": {}})
    declared, unnumbered = _parted(_declared(stream, said, sink, told))
    # Numbers that were given out while the tally was being read are in no line of the ledger.
    in_ring = sink["queued"].get("ring", 0) + max(0, stream.given - said["totals"]["emitted"] - said["totals"]["lost"])
    queued = sum(sink["queued"].values()) - sink["queued"].get("ring", 0)
    if unnumbered.get("restart"):  # capture began anew, and the ring is gone
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
    state = UNEXPLAINED if rest else EXPLAINED if explained else ON_ITS_WAY if missing else COMPLETE
    return Account(state, stream.given, stream.given - missing, explained, on_its_way, rest, declared, unnumbered)


def _declared(stream: StreamRow, said: Mapping[str, Any], sink: Mapping[str, Any], told: Mapping[str, int]) -> dict[str, int]:
    """By reason, the surest first. A gap that got lost is made good by the heartbeat's ledger, a heartbeat by the gaps."""
    # The heartbeat's heads and its word of the ring are of one moment; a gap of the ring may be newer than both.
    in_all = {reason: max(amount, told.get(reason, 0)) for reason, amount in said["ledger"]["lost"].items() if reason != "ring"}
    declared = {RING: said["ledger"]["lost"].get("ring", told.get(RING, 0)), **in_all}
    declared[_ELSEWHERE] = stream.before
    # What the kernel filters has no number; what a sink filters on top of that has one.
    declared[_NOT_FOR_US] = max(0, sum(sink["filtered"].values()) - said["totals"]["filtered"])
    for reason in sorted({*sink["lost"], *told} - declared.keys()):
        declared[reason] = max(sink["lost"].get(reason, 0), told.get(reason, 0))
    return {reason: amount for reason, amount in declared.items() if amount}


def _parted(reasons: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Those that had numbers, and those that never had one."""
    return (
        {reason: amount for reason, amount in reasons.items() if reason not in UNNUMBERED},
        {reason: amount for reason, amount in reasons.items() if reason in UNNUMBERED},
    )
