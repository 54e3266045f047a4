"""The batches that wait for one sink: in order, bounded in bytes. When there are too many, the oldest are lost, and counted.

The batch that is being sent is not lost: the receiver may have it already. The index is in memory, a body only while it is
young or being sent. Only `head` and `empty` wait.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from agent.interfaces import BatchObserver
from agent.journal.accounts import Accounts
from agent.journal.batch_index import BatchIndex, QueuedBatch
from agent.journal.rows import unpack_counts
from agent.model import Batch

__all__ = ["Queue"]

_NONE_LOST: Final[Mapping[str, Mapping[int, int]]] = MappingProxyType({})


class _Head(NamedTuple):
    """The oldest batch, once the sender has it."""

    entry: QueuedBatch
    batch: Batch


class Queue:
    """`sink`: its name. `most`: bytes of bodies that may wait. `load`: reads a body from the file.

    `bytes`, `forks`: of what waits.
    """

    def __init__(
        self,
        sink: str,
        most: int,
        batch_index: BatchIndex,
        accounts: Accounts,
        load: Callable[[QueuedBatch], Awaitable[Batch | None]],
    ) -> None:
        self.sink = sink
        self.bytes = 0
        self.forks = 0
        self._most = most
        self._batch_index = batch_index
        self._accounts = accounts
        self._load_body = load
        self._entries: deque[QueuedBatch] = deque()
        self._head: _Head | None = None
        self._by_stream: dict[str, Counter[int]] = {}
        self._observers: dict[QueuedBatch, BatchObserver] = {}
        self._changed = asyncio.Event()
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[QueuedBatch]:
        return iter(self._entries)

    def oldest(self) -> float | None:
        """Since when the oldest batch has been waiting, seconds of the wall clock; None: there is none."""
        return self._entries[0].since if self._entries else None

    def delivered_of(self, stream: str) -> int:
        """Forks of a stream that the receiver has accepted so far."""
        return self._accounts.of(stream, self.sink).delivered.total()

    def forks_of(self, stream: str) -> int:
        return self.counts_of(stream).total()

    def counts_of(self, stream: str) -> Counter[int]:
        """Forks of a stream that wait here, by cgroup. To read only."""
        return self._by_stream.get(stream) or Counter()

    def put(self, batch: Batch, observer: BatchObserver | None = None) -> None:
        """Adds it as the newest. What is dropped to make space is counted in its stream's account as lost: journal_full.

        `observer`: learns what becomes of the batch.
        """
        position = self._entries[-1].position + 1 if self._entries else 0
        entry = self._add(position, batch, ready=False)
        self._entries.append(entry)
        if observer is not None:
            self._observers[entry] = observer
        while self.bytes > self._most and (excess := self._oldest_excess()):
            self.lose([excess], "journal_full")
        self._batch_index.drop_excess()
        self.notify()

    async def head(self) -> Batch:
        """Returns the oldest batch, which stays in the queue; waits until there is one.

        Only what a commit has saved, or after a crash its forks would be sent once more in another body. While the disk fails,
        also what is in memory.
        """
        while self._head is None:
            entry = self._entries[0] if self._entries else None
            if entry is None or not (entry.ready or self._batch_index.from_memory):
                self._changed.clear()
                await self._changed.wait()
                continue
            batch = entry.batch or await self._load_body(entry)
            if batch is not None and self._entries and self._entries[0] is entry:
                self._head = _Head(entry, batch)
        return self._head.batch

    def complete(
        self,
        batch: Batch,
        *,
        delivered: Mapping[int, int],
        lost: Mapping[str, Mapping[int, int]] = _NONE_LOST,
        instead: Sequence[Batch] = (),
        accepted: bool = True,
    ) -> bool:
        """Removes the batch that `head` returned and counts it in its stream's account; `instead` takes its place.

        `delivered`: forks by cgroup; `lost`: by reason. `accepted`: the receiver has all items but those of `instead`.
        False, and nothing is done: it is no longer the head.
        """
        if self._head is None or self._head.batch is not batch:
            return False
        entry = self._entries.popleft()
        observer = self._observers.pop(entry, None)
        self._remove(entry)
        account = self._accounts.of(entry.stream, self.sink)
        account.deliver(delivered)
        for reason, forks in lost.items():
            account.lose(reason, forks)
        for number, part in enumerate(reversed(instead)):
            # Ready at once: after a crash the whole batch is in the file, and is split in the same way.
            self._entries.appendleft(self._add(entry.position - number, part, ready=True))
            if observer is not None:
                self._observers[self._entries[0]] = observer
        if observer is not None:
            observer.split(len(instead) + 1)
            observer.left(accepted=accepted)
        self.notify()
        return True

    async def empty(self) -> None:
        """Waits until the queue is empty."""
        while self._entries:
            self._emptied.clear()
            await self._emptied.wait()

    def is_sending(self, entry: QueuedBatch) -> bool:
        """Whether `head` has returned it. Its receiver may have it, so it is neither delivered nor lost yet."""
        return self._head is not None and self._head.entry is entry

    def lose(self, entries: Sequence[QueuedBatch], reason: str) -> None:
        """Drops them, counted as lost."""
        if len(entries) == 1:  # near the head, mostly: deque.remove compares from there on
            self._entries.remove(entries[0])
            self._remove(entries[0])
        else:
            for entry in entries:
                self._remove(entry)
            dropped = set(entries)
            self._entries = deque(entry for entry in self._entries if entry not in dropped)
        for entry in entries:
            self._accounts.of(entry.stream, self.sink).lose(reason, entry.counts())
            if observer := self._observers.pop(entry, None):
                observer.left(accepted=False)
        self.notify()

    def load(self, entries: Sequence[QueuedBatch]) -> None:
        """Puts what was in the file, in its order, before what is here."""
        for position, entry in enumerate(self._entries, entries[-1].position + 1):
            entry.position = position
        self._entries.extendleft(reversed(entries))
        self._head = None
        for entry in entries:
            self._count(entry, 1)
        self.notify()

    def keep_head_in_memory(self) -> None:
        """So that the batch that the sender has can be written into a new file."""
        if self._head is not None:
            self._head.entry.batch = self._head.batch

    def notify(self) -> None:
        """Wakes those who wait in `head` and `empty`."""
        self._changed.set()
        if not self._entries:
            self._emptied.set()

    def _oldest_excess(self) -> QueuedBatch | None:
        """Returns the oldest batch that may be dropped: not the one that is being sent, and not the newest."""
        first = 1 if self._entries and self.is_sending(self._entries[0]) else 0
        return self._entries[first] if len(self._entries) > first + 1 else None

    def _add(self, position: int, batch: Batch, *, ready: bool) -> QueuedBatch:
        entry = self._batch_index.add(self, position, batch, ready=ready)
        self._count(entry, 1)
        return entry

    def _remove(self, entry: QueuedBatch) -> None:
        """From everything but the order, which the caller changes."""
        if self.is_sending(entry):
            self._head = None
        self._batch_index.remove(entry)
        self._count(entry, -1)

    def _count(self, entry: QueuedBatch, sign: int) -> None:
        here = self._by_stream.setdefault(entry.stream, Counter())
        self.bytes += sign * entry.size
        for cgroup, forks in unpack_counts(entry.forks):
            self.forks += sign * forks
            here[cgroup] += sign * forks
            if not here[cgroup]:
                del here[cgroup]
        if not here:
            del self._by_stream[entry.stream]
