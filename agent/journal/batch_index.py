"""Every batch of every sink in the journal: which bodies are in memory, which are saved, which rows of the file must go.

Bodies in memory are bounded in bytes over all sinks. Must not live here: the order within a sink, the file.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from agent.journal.rows import Changes, NewBatch, Saved, counts_of, packed
from agent.model import Batch

__all__ = ["UNSAVED", "BatchIndex", "Entry"]

UNSAVED: Final = 32 << 20  # bytes of bodies that may be in memory only: a quarter of the agent's memory
_CACHE: Final = 8 << 20  # bytes of saved bodies kept for the senders: what comes and goes within seconds is never read back


class EntryQueue(Protocol):
    """Where an entry waits for its sink: an `agent.journal.queue`, as far as it matters here."""

    sink: str

    def lose(self, entries: Sequence[Entry], reason: str) -> None: ...

    def __iter__(self) -> Iterator[Entry]: ...


@dataclass(slots=True, eq=False)
class Entry:
    """A batch in the index. `batch`: while its body is in memory; `saved`: it is in the file; `written`: it may be. `ready`: a
    sender may have it, for its forks at least are in the file. `forks` as rows.packed; `size`: bytes of the body."""

    id: int
    place: int
    queue: EntryQueue
    stream: str
    since: float
    events: int
    size: int
    forks: bytes
    batch: Batch | None
    ready: bool = False
    saved: bool = False
    written: bool = False

    @property
    def weight(self) -> int:
        """What it takes in memory with its body, bytes."""
        return self.size + 8 * self.events

    def counts(self) -> dict[int, int]:
        return dict(counts_of(self.forks))


class BatchIndex:
    """`from_memory`: the file can't be relied on, so senders get what is in memory, and that is bounded; what goes for want of
    room is lost for `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.from_memory = True
        self._unsaved: OrderedDict[int, Entry] = OrderedDict()
        self._cached: OrderedDict[int, Entry] = OrderedDict()
        self._unsaved_bytes = self._cached_bytes = 0
        self._gone: set[int] = set()
        self._last = 0

    def enter(self, queue: EntryQueue, place: int, batch: Batch, *, ready: bool) -> Entry:
        self._last += 1
        size, forks = len(batch.body), packed(batch.forks)
        entry = Entry(self._last, place, queue, batch.stream, batch.since, batch.events, size, forks, batch, ready)
        self._keep(entry)
        return entry

    def found(self, queues: Mapping[str, EntryQueue], batches: Iterable[Saved]) -> list[Entry]:
        """What the file has of these queues; the rest of it goes. What came in before it could be read is numbered anew."""
        entries = []
        highest = 0
        for one in batches:
            highest = max(highest, one.id)
            queue = queues.get(one.sink)
            if queue is not None:
                entries.append(Entry(one.id, one.place, queue, *one[3:], None, ready=True, saved=True, written=True))
            else:
                self._gone.add(one.id)
        for entry in self._unsaved.values():
            entry.id += highest
        self._unsaved = OrderedDict((entry.id, entry) for entry in self._unsaved.values())
        self._last += highest
        return entries

    def leave(self, entry: Entry) -> None:
        if self._unsaved.pop(entry.id, None):
            self._unsaved_bytes -= entry.weight
        if self._cached.pop(entry.id, None):
            self._cached_bytes -= entry.weight
        if entry.written:
            self._gone.add(entry.id)

    def relieve(self) -> None:
        """When more is in memory only than there is room for, the oldest go; the newest stays."""
        while self.from_memory and self._unsaved_bytes > UNSAVED and len(self._unsaved) > 1:
            entry = next(iter(self._unsaved.values()))
            entry.queue.lose([entry], self.reason)

    def take(self) -> tuple[list[int], list[NewBatch]]:
        """For a commit: ids that go, batches that are to be written."""
        batches = []
        for entry in self._unsaved.values():
            if entry.batch is not None:
                entry.written = True
                batches.append(NewBatch(entry.id, entry.place, entry.queue.sink, entry.forks, entry.batch))
        return list(self._gone), batches

    def committed(self, changes: Changes) -> None:
        self._gone.difference_update(changes.gone)
        for new in changes.batches:
            if entry := self._unsaved.pop(new.id, None):  # else it left meanwhile
                entry.saved = entry.ready = True
                self._unsaved_bytes -= entry.weight
                self._cached[entry.id] = entry
                self._cached_bytes += entry.weight
        while self._cached_bytes > _CACHE:
            _, entry = self._cached.popitem(last=False)
            entry.batch = None
            self._cached_bytes -= entry.weight

    def failed(self, changes: Changes) -> None:
        for new in changes.batches:
            if entry := self._unsaved.get(new.id):
                entry.written = False
            else:
                self._gone.discard(new.id)

    def restage(self, entries: Iterable[Entry], saved: Collection[int]) -> None:
        """Another file is begun, which has the `saved` ones already; all others have their bodies in memory."""
        self._unsaved.clear()
        self._cached.clear()
        self._unsaved_bytes = self._cached_bytes = 0
        entries = list(entries)
        self._gone = set(saved).difference(entry.id for entry in entries)  # they left meanwhile
        for entry in sorted(entries, key=lambda one: one.since):
            entry.ready = entry.saved = entry.written = entry.id in saved
            if not entry.saved:
                self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        self._unsaved[entry.id] = entry
        self._unsaved_bytes += entry.weight
