"""Every batch of every sink in the journal: which bodies are in memory, which are saved, which rows of the file must go.

Bodies in memory are bounded in bytes over all sinks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from agent.journal.rows import Changes, NewBatch, SavedBatch, pack_counts, unpack_counts
from agent.model import Batch

__all__ = ["UNSAVED", "BatchIndex", "OwningQueue", "QueuedBatch"]

UNSAVED: Final = 32 << 20  # bytes of bodies that may be in memory only: a quarter of the agent's memory
_CACHE: Final = 8 << 20  # bytes of saved bodies kept for the senders: what is delivered within seconds is never read back


class OwningQueue(Protocol):
    """The queue that a batch is in, as far as it matters here."""

    sink: str

    def lose(self, entries: Sequence[QueuedBatch], reason: str) -> None: ...

    def is_sending(self, entry: QueuedBatch) -> bool: ...

    def __iter__(self) -> Iterator[QueuedBatch]: ...


@dataclass(slots=True, eq=False)
class QueuedBatch:
    """A batch in the index. `position`: its order within the sink. `batch`: while its body is in memory.

    `ready`: a sender may have it, because at least its forks are in the file. `saved`: it is in the file; `written`: it may be.
    `forks`: as rows.pack_counts returns them. `size`: bytes of the body.
    """

    id: int
    position: int
    queue: OwningQueue
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
    def memory_bytes(self) -> int:
        """What it takes in memory with its body."""
        return self.size + 8 * self.events

    def counts(self) -> dict[int, int]:
        """Forks by cgroup."""
        return dict(unpack_counts(self.forks))


class BatchIndex:
    """`from_memory`: the file cannot be relied on, so senders get what is in memory, and that is bounded; what is dropped for
    lack of memory is lost for `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.from_memory = True
        self._unsaved: OrderedDict[int, QueuedBatch] = OrderedDict()
        self._cached: OrderedDict[int, QueuedBatch] = OrderedDict()
        self._unsaved_bytes = self._cached_bytes = 0
        self._removed: set[int] = set()  # ids that are to be deleted from the file
        self._last_id = 0

    def add(self, queue: OwningQueue, position: int, batch: Batch, *, ready: bool) -> QueuedBatch:
        self._last_id += 1
        size, forks = len(batch.body), pack_counts(batch.forks)
        entry = QueuedBatch(self._last_id, position, queue, batch.stream, batch.since, batch.events, size, forks, batch, ready)
        self._add_unsaved(entry)
        return entry

    def load(self, queues: Mapping[str, OwningQueue], batches: Iterable[SavedBatch]) -> list[QueuedBatch]:
        """Returns these queues' batches in the file; the others will be deleted.

        Batches that were added before the file could be read get new ids.
        """
        entries = []
        highest = 0
        for number, position, sink, stream, since, events, size, forks in batches:
            highest = max(highest, number)
            queue = queues.get(sink)
            if queue is not None:
                entry = QueuedBatch(
                    number, position, queue, stream, since, events, size, forks, None, ready=True, saved=True, written=True
                )
                entries.append(entry)
            else:
                self._removed.add(number)
        for entry in self._unsaved.values():
            entry.id += highest
        self._unsaved = OrderedDict((entry.id, entry) for entry in self._unsaved.values())
        self._last_id += highest
        return entries

    def remove(self, entry: QueuedBatch) -> None:
        if self._unsaved.pop(entry.id, None):
            self._unsaved_bytes -= entry.memory_bytes
        if self._cached.pop(entry.id, None):
            self._cached_bytes -= entry.memory_bytes
        if entry.written:
            self._removed.add(entry.id)

    def drop_excess(self) -> None:
        """Loses the oldest of the batches that are in memory only, while they take more than they may.

        The newest stays, and so does what is being sent.
        """
        while self.from_memory and self._unsaved_bytes > UNSAVED and (excess := self._oldest_excess()):
            excess.queue.lose([excess], self.reason)

    def take(self) -> tuple[list[int], list[NewBatch]]:
        """For a commit: ids that are to be deleted, batches that are to be written."""
        batches = []
        for entry in self._unsaved.values():
            if entry.batch is not None:
                entry.written = True
                batches.append(NewBatch(entry.id, entry.position, entry.queue.sink, entry.forks, entry.batch))
        return list(self._removed), batches

    def committed(self, changes: Changes) -> None:
        self._removed.difference_update(changes.removed)
        for new in changes.batches:
            if entry := self._unsaved.pop(new.id, None):  # else it was removed during the commit
                entry.saved = entry.ready = True
                self._unsaved_bytes -= entry.memory_bytes
                self._cached[entry.id] = entry
                self._cached_bytes += entry.memory_bytes
        while self._cached_bytes > _CACHE:
            _, entry = self._cached.popitem(last=False)
            entry.batch = None
            self._cached_bytes -= entry.memory_bytes

    def failed(self, changes: Changes) -> None:
        for new in changes.batches:
            if entry := self._unsaved.get(new.id):
                entry.written = False
            else:
                self._removed.discard(new.id)

    def restage(self, entries: Iterable[QueuedBatch], saved: Collection[int]) -> None:
        """For a new file, which has the `saved` ones already; all others have their bodies in memory."""
        self._unsaved.clear()
        self._cached.clear()
        self._unsaved_bytes = self._cached_bytes = 0
        entries = list(entries)
        self._removed = set(saved).difference(entry.id for entry in entries)  # removed while the file was replaced
        for entry in sorted(entries, key=lambda one: one.since):
            entry.ready = entry.saved = entry.written = entry.id in saved
            if not entry.saved:
                self._add_unsaved(entry)

    def _oldest_excess(self) -> QueuedBatch | None:
        newest = next(reversed(self._unsaved), None)
        idle = (entry for entry in self._unsaved.values() if not entry.queue.is_sending(entry))
        return next((entry for entry in idle if entry.id != newest), None)

    def _add_unsaved(self, entry: QueuedBatch) -> None:
        self._unsaved[entry.id] = entry
        self._unsaved_bytes += entry.memory_bytes
