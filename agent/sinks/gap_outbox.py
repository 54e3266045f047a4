"""The gaps that a sink's receiver has not accepted yet: what is missing there is reported until it is.

Gaps travel in batches of their own, one after the other. What such a batch loses is sent again with the same ids; gaps that
come meanwhile are added up: a receiver that is away for days costs one gap for each stream, reason and cgroup.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from agent.model import Event
from agent.state_records import GapsRecord

__all__ = ["GapOutbox", "Shipment"]


class _Key(NamedTuple):
    """Gaps that add up. `unknown`: gaps without a count, which stand for themselves."""

    stream: str
    sink: str | None
    reason: str
    cgroup: int | None
    unknown: str | None


class Shipment:
    """One batch on its way. It has ended when each of its parts has: a receiver may want it in halves."""

    def __init__(self, outbox: GapOutbox) -> None:
        self._outbox = outbox
        self._parts = 1
        self._accepted = True

    def split(self, parts: int) -> None:
        self._parts += parts - 1

    def left(self, *, accepted: bool) -> None:
        """`accepted`: the receiver has every event of a part."""
        self._parts -= 1
        self._accepted &= accepted
        if not self._parts:
            self._outbox.shipment_ended(accepted=self._accepted)


class GapOutbox:
    """`changed`: its record is no longer the one that the journal has."""

    def __init__(self) -> None:
        self._pending: dict[_Key, Event] = {}
        self._sending: list[tuple[str, Event]] = []
        self._shipments = 0
        self._delivered = True
        self.changed = False

    def __len__(self) -> int:
        return len(self._pending) + len(self._sending)

    def add(self, stream: str, gap: Event) -> None:
        cgroup, count = gap["cgroup"], gap["count"]
        key = _Key(stream, gap["sink"], gap["reason"], cgroup and cgroup["id"], gap["id"] if count is None else None)
        before = self._pending.get(key)
        self._pending[key] = _sum(before, gap) if before else gap
        self.changed = True

    def take(self) -> Iterator[tuple[str, list[Event], Shipment]]:
        """Yields what is to be sent now, a stream at a time; nothing while the batches before are on their way."""
        if self._shipments:
            return
        if self._delivered:
            self._sending = [(key.stream, gap) for key, gap in self._pending.items()]
            self._pending.clear()
        by_stream = [
            (stream, [gap for _, gap in gaps]) for stream, gaps in groupby(sorted(self._sending, key=_stream), _stream)
        ]
        self._shipments, self._delivered = len(by_stream), True
        for stream, gaps in by_stream:
            yield stream, gaps, Shipment(self)

    def shipment_ended(self, *, accepted: bool) -> None:
        self._shipments -= 1
        self._delivered &= accepted
        if not self._shipments and self._delivered:
            self._sending = []
            self.changed = True

    def record(self) -> GapsRecord | None:
        """None when there is nothing to send."""
        waiting = [*self._sending, *((key.stream, gap) for key, gap in self._pending.items())]
        return GapsRecord(tuple(waiting)) if waiting else None

    def restore(self, record: GapsRecord) -> None:
        """Sends all of them again, with the same ids: whether the agent before had sent them is not known."""
        self._sending, self._delivered = list(record.gaps), False


def _sum(before: Event, gap: Event) -> Event:
    """The id is that of the later one, which names the sum of all that is missing."""
    return {
        **gap,
        "count": before["count"] + gap["count"],
        "interval": {**gap["interval"], "start": before["interval"]["start"]},
    }


def _stream(one: tuple[str, Event]) -> str:
    return one[0]
