"""What waits for one sink: batches in order, bounded in bytes. When it is full the oldest go, and are named.

The index is in memory, a body only while it is young or on its way. Nothing but `head` and `empty` waits. Must not live here:
the file, other sinks' order.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from agent.journal.accounts import Accounts
from agent.journal.batch_index import BatchIndex, Entry
from agent.journal.rows import counts_of
from agent.model import Batch

__all__ = ["Queue"]

_NOTHING: Final[Mapping[str, Mapping[int, int]]] = MappingProxyType({})


class Queue:
    """`sink`: its name. `most`: bytes of bodies; `bytes` and `forks`: what is here."""

    def __init__(
        self,
        sink: str,
        most: int,
        batch_index: BatchIndex,
        accounts: Accounts,
        load: Callable[[Entry], Awaitable[Batch | None]],
    ) -> None:
        self.sink = sink
        self.bytes = 0
        self.forks = 0
        self._most = most
        self._batch_index = batch_index
        self._accounts = accounts
        self._load = load
        self._entries: deque[Entry] = deque()
        self._handed: tuple[Entry, Batch] | None = None  # the head, once it was asked for: in the sender's hands
        self._by_stream: dict[str, Counter[int]] = {}
        self._changed = asyncio.Event()
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def oldest(self) -> float | None:
        """Since when the oldest has been waiting, seconds of the wall clock; None: there is none."""
        return self._entries[0].since if self._entries else None

    def forks_of(self, stream: str) -> int:
        return self.counts_of(stream).total()

    def counts_of(self, stream: str) -> Counter[int]:
        """Forks of a stream that wait here, by cgroup. To read only."""
        return self._by_stream.get(stream) or Counter()

    def put(self, batch: Batch) -> None:
        """As the newest. What has to go for it is counted in its stream's account as lost: journal_full."""
        place = self._entries[-1].place + 1 if self._entries else 0
        self._entries.append(self._enter(place, batch, ready=False))
        while self.bytes > self._most and len(self._entries) > 1:
            self.lose([self._entries[0]], "journal_full")
        self._batch_index.relieve()
        self.notify()

    async def head(self) -> Batch:
        """The oldest, which stays; waits for one. Only what a commit has saved, or a crash would send its forks once more in
        another body; while the disk is in trouble, what is in memory."""
        while self._handed is None:
            entry = self._entries[0] if self._entries else None
            if entry is None or not (entry.ready or self._batch_index.from_memory):
                self._changed.clear()
                await self._changed.wait()
                continue
            batch = entry.batch or await self._load(entry)
            if self._entries and self._entries[0] is entry:
                self._handed = batch and (entry, batch)
        return self._handed[1]

    def complete(
        self,
        batch: Batch,
        *,
        delivered: Mapping[int, int],
        lost: Mapping[str, Mapping[int, int]] = _NOTHING,
        instead: Sequence[Batch] = (),
    ) -> bool:
        """What became of the batch that `head` gave: it goes, counted in its stream's account, and `instead` takes its place.

        `delivered`: forks by cgroup; `lost`: by reason. False, and nothing is done: it had to go meanwhile, counted as lost.
        """
        if self._handed is None or self._handed[1] is not batch:
            return False
        entry = self._entries.popleft()
        self._leave(entry)
        account = self._accounts.of(entry.stream, self.sink)
        account.deliver(delivered)
        for reason, forks in lost.items():
            account.lose(reason, forks)
        for number, part in enumerate(reversed(instead)):
            # A sender may have it at once: after a crash the whole is split as it was.
            self._entries.appendleft(self._enter(entry.place - number, part, ready=True))
        self.notify()
        return True

    async def empty(self) -> None:
        """Waits until nothing waits here."""
        while self._entries:
            self._emptied.clear()
            await self._emptied.wait()

    def lose(self, entries: Sequence[Entry], reason: str) -> None:
        """They go, counted."""
        if len(entries) == 1 and self._entries[0] is entries[0]:
            self._leave(self._entries.popleft())
        else:
            for entry in entries:
                self._leave(entry)
            going = set(entries)
            self._entries = deque(entry for entry in self._entries if entry not in going)
        for entry in entries:
            self._accounts.of(entry.stream, self.sink).lose(reason, entry.counts())
        self.notify()

    def found(self, entries: Sequence[Entry]) -> None:
        """What was in the file, in its order: it comes before what is here."""
        for place, entry in enumerate(self._entries, entries[-1].place + 1):
            entry.place = place
        self._entries.extendleft(reversed(entries))
        self._handed = None
        for entry in entries:
            self._count(entry, 1)
        self.notify()

    def hold(self) -> None:
        """What is in the sender's hands is in memory, for a new file too."""
        if self._handed is not None:
            entry, batch = self._handed
            entry.batch = batch

    def notify(self) -> None:
        """Whoever waits looks again."""
        self._changed.set()
        if not self._entries:
            self._emptied.set()

    def _enter(self, place: int, batch: Batch, *, ready: bool) -> Entry:
        entry = self._batch_index.enter(self, place, batch, ready=ready)
        self._count(entry, 1)
        return entry

    def _leave(self, entry: Entry) -> None:
        """All but its place in the order."""
        if self._handed is not None and self._handed[0] is entry:
            self._handed = None
        self._batch_index.leave(entry)
        self._count(entry, -1)

    def _count(self, entry: Entry, sign: int) -> None:
        here = self._by_stream.setdefault(entry.stream, Counter())
        self.bytes += sign * entry.size
        for cgroup, forks in counts_of(entry.forks):
            self.forks += sign * forks
            here[cgroup] += sign * forks
            if not here[cgroup]:
                del here[cgroup]
        if not here:
            del self._by_stream[entry.stream]
