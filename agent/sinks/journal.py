"""What waits for one sink: ready bodies, in order, bounded in bytes. When it is full the oldest go, and are named.

Held in memory: a batch is here or delivered or lost with a reason, never half. Must not live here: HTTP, encoding.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence

from agent.nouns import Batch

__all__ = ["Journal"]


class Journal:
    """`most`: bytes of bodies."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._batches: deque[Batch] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self.bytes = 0
        self.forks = 0

    def __len__(self) -> int:
        return len(self._batches)

    def oldest(self) -> float | None:
        """Since when the oldest has been waiting; None: there is none."""
        return self._batches[0].since if self._batches else None

    def put(self, batch: Batch) -> Counter[int]:
        """Returns the forks, by cgroup, of what had to go to make room."""
        self._add(batch)
        self._batches.append(batch)
        self._filled.set()
        lost: Counter[int] = Counter()
        while self.bytes > self._most and len(self._batches) > 1:
            lost.update(self._drop(self._batches[0]).forks)
        return lost

    async def head(self) -> Batch:
        """The oldest; waits for one. It stays until `done`."""
        while not self._batches:
            self._filled.clear()
            await self._filled.wait()
        return self._batches[0]

    async def empty(self) -> None:
        """Waits until nothing waits here any more."""
        while self._batches:
            self._emptied.clear()
            await self._emptied.wait()

    def done(self, batch: Batch) -> bool:
        """False when it had been dropped meanwhile, and was counted as lost."""
        if self._batches and self._batches[0] is batch:
            self._drop(batch)
            return True
        return False

    def replace(self, batch: Batch, parts: Sequence[Batch]) -> None:
        """The same forks in smaller bodies."""
        if self.done(batch):
            for part in reversed(parts):
                self._add(part)
                self._batches.appendleft(part)
            self._filled.set()

    def _add(self, batch: Batch) -> None:
        self.bytes += len(batch.body)
        self.forks += sum(batch.forks.values())

    def _drop(self, batch: Batch) -> Batch:
        self._batches.popleft()
        if not self._batches:
            self._emptied.set()
        self.bytes -= len(batch.body)
        self.forks -= sum(batch.forks.values())
        return batch
