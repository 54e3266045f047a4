"""The journal as the other packages use it: queues, accounts, state tables; staged in memory, saved by `commit`.

After a commit that succeeded, the caller may delete its own copy of what was staged before: the ring's records, for instance.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from agent.histogram import Durations
from agent.journal.accounts import Accounts
from agent.journal.batch_index import BatchIndex, QueuedBatch
from agent.journal.errors import Corrupt, JournalTaken, Unavailable
from agent.journal.queue import Queue
from agent.journal.rows import Changes, Content, Key, SavedBatch, unpack_counts
from agent.journal.state_tables import StateTables
from agent.journal.storage import Storage, Unreadable
from agent.ledger import Account
from agent.model import Batch
from wire.backoff import Backoff

__all__ = ["Journal"]

log = logging.getLogger(__name__)

_BACKOFF: Final = Backoff(first_s=0.1, longest_s=1.0)  # between tries while the disk fails; without jitter: the disk is our own


class Journal:
    """`file` None: in memory only. `limits`: sink -> the most bytes of bodies that wait for it. `now`: the wall clock, seconds.
    `unreadable`: which item of the state tables its owners can't read, and why; such a file is replaced like a corrupt one.

    `trouble`: one line for people while the disk can't be written, else None. `rewrite`: called after the file was replaced, to
    put everything again. `removed`: sink -> stream -> forks by cgroup, of batches left for a sink that is no longer configured;
    its accounts have them as lost: sink_removed.
    """

    def __init__(
        self,
        file: Path | None,
        limits: Mapping[str, int],
        now: Callable[[], float] = time.time,
        unreadable: Unreadable = lambda _: None,
    ) -> None:
        self._storage = Storage(file, now, unreadable) if file else None
        self._batch_index = BatchIndex("journal_failed" if file else "journal_full")
        self._accounts = Accounts()
        self._state_tables = StateTables()
        self._found: Mapping[str, Mapping[Key, bytes]] | None = {}
        queues = {sink: Queue(sink, most, self._batch_index, self._accounts, self._load) for sink, most in limits.items()}
        self.queues: Mapping[str, Queue] = MappingProxyType(queues)
        self.removed: dict[str, dict[str, Counter[int]]] = {}
        self.rewrite: Callable[[], None] | None = None
        self.trouble: str | None = None
        self.commits = 0
        self.durations = Durations()  # of the commits
        self._busy = asyncio.Lock()
        self._copied: set[int] = set()  # ids of the batches that the new file got from a corrupt one
        self._failures = 0
        self._pause = 0.0
        self._next_try = 0.0
        self._unread: dict[str, tuple[int, int]] = {}  # sink -> a batch that could not be read, and `commits` at that time

    @property
    def bytes_on_disk(self) -> int:
        return self._storage.size if self._storage else 0

    @property
    def corruptions(self) -> int:
        """How often a corrupt file was replaced."""
        return self._storage.corruptions if self._storage else 0

    async def open(self) -> None:
        """Reads the file. Raises JournalTaken when another process has it; for all other errors of the disk, see `trouble`."""
        if self._storage is None:
            return
        async with self._busy:
            try:
                await self._open(self._storage)
                self._batch_index.from_memory = False
            except JournalTaken:
                await self._storage.close()
                raise
            except (Unavailable, Corrupt) as error:
                self._failing(str(error))

    async def close(self) -> None:
        """Without a commit: what is staged is dropped."""
        if self._storage is not None:
            async with self._busy:
                await self._storage.close()

    def queue(self, sink: str) -> Queue:
        return self.queues[sink]

    def account(self, stream: str, sink: str) -> Account:
        """What it counts is saved with the next commit."""
        return self._accounts.of(stream, sink)

    def streams(self) -> set[str]:
        """Those that have accounts."""
        return self._accounts.streams()

    def forget_stream(self, stream: str) -> bool:
        """Deletes its accounts. False, and nothing is done: batches with forks of it still wait."""
        if any(queue.forks_of(stream) for queue in self.queues.values()):
            return False
        self._accounts.forget(stream)
        return True

    def table(self, name: str) -> Mapping[Key, bytes]:
        """The items as the last run left them. To be read before the first commit, which drops them from memory."""
        if self._found is None:
            raise RuntimeError("the state of the last run must be read before the first commit")
        return self._found.get(name, {})

    def put(self, table: str, key: Key, value: bytes | None) -> None:
        """An item for the next run; None deletes it. `key`: text, or 0 to 2**64 - 1."""
        if self._storage is not None:
            self._state_tables.put(table, key, value)

    def clear(self, table: str) -> None:
        """Deletes all its items."""
        if self._storage is not None:
            self._state_tables.clear(table)

    async def commit(self) -> bool:
        """Saves all that was staged before, in one transaction. False: it failed, and all of it stays staged.

        Safe to cancel: a commit that has begun is completed.
        """
        self._found = None
        return await asyncio.shield(self._commit())

    async def on_its_thread(self, call: Callable[[], None]) -> None:
        """For what each thread must do for itself."""
        if self._storage is not None:
            await self._storage.run(call)

    async def _commit(self) -> bool:
        if self._storage is None:
            return True
        async with self._busy:
            if time.monotonic() < self._next_try:
                return False
            for _ in range(2):  # once more after the file had to be replaced
                try:
                    if self._storage.file is None:
                        await self._open(self._storage)
                    await self._write(self._storage)
                except Corrupt as corrupt:
                    await self._replace_file(self._storage, str(corrupt))
                except Unavailable as unavailable:
                    self._failing(str(unavailable))
                    return False
                else:
                    self._works()
                    return True
            self._failing("what is written to its file is not there afterwards")
            return False

    async def _write(self, storage: Storage) -> None:
        await storage.upkeep_done()
        changes = Changes(*self._batch_index.take(), *self._accounts.take(), self._state_tables.take())
        began = time.monotonic()
        try:
            written = await storage.write(changes, forced=self.trouble is not None)
        except BaseException:
            for staged in (self._batch_index, self._accounts, self._state_tables):
                staged.failed(changes)
            raise
        self._batch_index.committed(changes)
        self._state_tables.committed(changes)
        self.commits += written
        if written:
            self.durations.observe(time.monotonic() - began)

    def _works(self) -> None:
        if self.trouble is not None:
            log.info("the journal works again")
        self.trouble = None
        self._failures, self._pause, self._next_try = 0, 0.0, 0.0
        self._batch_index.from_memory = False
        for queue in self.queues.values():
            queue.notify()

    def _failing(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.error("the journal: %s; new batches are held in memory, and it is tried again", trouble)
        self.trouble = trouble
        self._failures += 1
        self._pause = _BACKOFF.bound(self._failures)
        self._next_try = time.monotonic() + self._pause
        self._batch_index.from_memory = True
        self._batch_index.drop_excess()
        for queue in self.queues.values():
            queue.notify()

    async def _open(self, storage: Storage) -> None:
        """Raises Unavailable, JournalTaken, Corrupt (a new file was not written as it should be either)."""
        try:
            content = await storage.open()
        finally:
            self.trouble = storage.replaced or self.trouble
        batches = [batch for batch in content.batches if batch.id not in self._copied]
        entries = self._batch_index.load(self.queues, batches)
        for queue in self.queues.values():
            if mine := [entry for entry in entries if entry.queue is queue]:
                queue.load(mine)
        self._accounts.load(content.accounts)
        self._lose_removed([batch for batch in batches if batch.sink not in self.queues])
        self._load_state(content)

    def _lose_removed(self, batches: list[SavedBatch]) -> None:
        """Counts the batches of sinks that are no longer configured as lost."""
        for batch in batches:
            forks = Counter(dict(unpack_counts(batch.forks)))
            self._accounts.of(batch.stream, batch.sink).lose("sink_removed", forks)
            self.removed.setdefault(batch.sink, {}).setdefault(batch.stream, Counter()).update(forks)
        for sink, streams in self.removed.items():
            left = sum(forks.total() for forks in streams.values())
            log.error(
                "the journal: %d forks are lost that were left for the sink %r, which is no longer configured", left, sink
            )

    def _load_state(self, content: Content) -> None:
        if self._found is not None:
            self._found = content.state_tables
            for name, items in content.state_tables.items():
                self._state_tables.load(name, items.keys())
        else:
            for name in content.state_tables:  # too late: all that was put since is newer
                self._state_tables.supersede(name)

    async def _replace_file(self, storage: Storage, why: str) -> None:
        """Stages, for a new file, all that is in memory and what could still be read of the corrupt one."""
        was_open = storage.file is not None
        if was_open:
            for queue in self.queues.values():
                queue.keep_head_in_memory()
        missing = [entry for queue in self.queues.values() for entry in queue if entry.batch is None]
        missing.sort(key=lambda entry: entry.since, reverse=True)  # when there is no time for all, the oldest are lost
        copied = await storage.abandon(why, missing)
        if not was_open:
            return
        self._copied = copied
        for queue in self.queues.values():
            if lost := [entry for entry in queue if entry.batch is None and entry.id not in copied]:
                log.error("the journal: %d batches for the sink %s are lost with it", len(lost), queue.sink)
                queue.lose(lost, "journal_corrupt")
        self._batch_index.restage((entry for queue in self.queues.values() for entry in queue), copied)
        self._accounts.restage()
        if self.rewrite is not None:
            self.rewrite()

    async def _load(self, entry: QueuedBatch) -> Batch | None:
        """Reads a body that is in the file only. None: the caller must try again with the queue's head of that time."""
        storage, queue = self._storage, entry.queue
        file = storage.file if storage else None
        if storage is None or file is None:
            await asyncio.sleep(_BACKOFF.first_s)
            return None
        why = "lacks a batch"
        try:
            if batch := await storage.run(file.read, entry.id):
                return batch
        except Corrupt as corrupt:
            why = str(corrupt)
        except Unavailable as unavailable:
            await self._unreadable(entry, unavailable)
            return None
        async with self._busy:
            # The batch may have left the queue, and its row the file, before it was read.
            if storage.file is file and next(iter(queue), None) is entry:
                await self._replace_file(storage, why)
        return None

    async def _unreadable(self, entry: QueuedBatch, error: Unavailable) -> None:
        """Waits; when a commit has succeeded since the first try, only this body is unreadable, and the batch is lost."""
        queue = entry.queue
        if self._unread.get(queue.sink, (0, self.commits))[0] != entry.id:
            log.error("the journal: a batch for the sink %s can't be read: %s", queue.sink, error)
            self._unread[queue.sink] = entry.id, self.commits
        _, commits_before = self._unread[queue.sink]
        if commits_before == self.commits:
            await asyncio.sleep(_BACKOFF.longest_s)
        elif next(iter(queue), None) is entry:
            queue.lose([entry], "journal_corrupt")
