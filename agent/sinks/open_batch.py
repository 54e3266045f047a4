"""The items that wait for others to fill their batch. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from agent.model import NO_CGROUP, Batch
from agent.sinks.encoders.encoder import Item
from agent.sinks.packer import Packer
from agent.state_records import OpenBatchRecord

__all__ = ["OpenBatch"]


class OpenBatch:
    """Items of one stream, in the order in which they came. Times are seconds of the wall clock.

    `packer`: makes its batches. `opened`: when the first item came. `stream`: of the items, as of the last `add`.
    """

    def __init__(self, packer: Packer) -> None:
        self.opened = 0.0
        self.stream = ""
        self.packer = packer
        self._items: list[Item] = []
        self._cgroups = array("Q")
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def forks(self) -> int:
        return len(self._cgroups) - self._cgroups.count(NO_CGROUP)

    def add(self, stream: str, items: Sequence[Item], cgroups: Sequence[int], now: float) -> list[Batch]:
        """Returns the batches that are closed because the items before were of another stream. `cgroups`: as in Packer.pack."""
        if not items:
            return []
        closed = self.close() if stream != self.stream else []
        self.stream = stream
        if not self._items:
            self.opened = now
        self._items += items
        self._cgroups.extend(cgroups)
        self._bytes += sum(map(self.packer.framing.size, items))
        return closed

    def due(self, now: float) -> bool:
        """There are enough items for a batch, or they have waited long enough (or the clock was set back)."""
        limits = self.packer.limits
        return bool(self._items) and (
            len(self._items) >= limits.items or self._bytes >= limits.bytes or not 0 <= now - self.opened < limits.wait_s
        )

    def close(self) -> list[Batch]:
        """Returns the items as batches, and is empty then."""
        batches = [*self.packer.pack(self.stream, self._items, self._cgroups, self.opened)]
        self._items, self._cgroups, self._bytes = [], array("Q"), 0
        return batches

    def record(self) -> OpenBatchRecord | None:
        """None when there are no items."""
        if not self._items:
            return None
        framing = self.packer.framing
        # A framing may want them in another order, and what is read back is in that order.
        order = framing.order(self._items) or range(len(self._items))
        cgroups = array("Q", (self._cgroups[at] for at in order))
        return OpenBatchRecord(self.opened, self.stream, cgroups, framing.body([self._items[at] for at in order]))

    def restore(self, record: OpenBatchRecord) -> list[Batch]:
        """Adds the items of a record. Returns what `add` does."""
        return self.add(record.stream, self.packer.framing.items(record.body), record.cgroups, record.opened)
