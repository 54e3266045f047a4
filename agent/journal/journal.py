"""The journal as the other rooms know it: queues, accounts, shelves; staged in memory, saved by `commit`.

Commit, then consume: what a commit has saved may be forgotten elsewhere, and nothing else. The file is used on one thread of
its own. Must not live here: SQL; what a shelf's bytes mean.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, ParamSpec, TypeVar

from agent.histogram import Durations
from agent.journal.accounts import Accounts
from agent.journal.batch_index import BatchIndex, Entry
from agent.journal.directory import Corrupt, DirectoryLock, JournalTaken, Unavailable, move_aside
from agent.journal.file import File
from agent.journal.queue import Queue
from agent.journal.rebuild import adopt_draft, copy_readable
from agent.journal.rows import Changes, Content, Key, counts_of
from agent.journal.state_tables import StateTables
from agent.ledger import Account
from agent.model import Batch

__all__ = ["Journal"]

log = logging.getLogger(__name__)
Given = ParamSpec("Given")
Result = TypeVar("Result")

_PAUSE_S: Final = (0.1, 1.0)  # first and longest between tries while the disk is in trouble


class Journal:
    """`file` None: in memory only. `limits`: sink -> the most bytes of bodies that wait for it. `now`: the wall clock, seconds.

    `trouble`: one line for people while the disk can't be written, else None. `rewrite` is called when the file had to be begun
    anew: whoever keeps things keeps all of them again. `removed`: sink -> stream -> forks by cgroup of batches left behind by a
    sink which is no longer there; they are in its accounts as lost: sink_removed.
    """

    def __init__(self, file: Path | None, limits: Mapping[str, int], now: Callable[[], float] = time.time) -> None:
        self._path = file
        self._now = now
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
        self.corruptions = 0
        self._thread = ThreadPoolExecutor(1, "journal")
        self._busy = asyncio.Lock()
        self._lock: DirectoryLock | None = None
        self._file: File | None = None
        self._corrupt_because = ""  # why what lies at `file` is to be moved aside
        self._copied: set[int] = set()  # ids of the batches that lie in what takes its place
        self._upkeep: Future[None] | None = None
        self._pause = 0.0
        self._again = 0.0
        self._unread: dict[str, tuple[int, int]] = {}  # sink -> a batch that could not be read, and `commits` at that time

    @property
    def bytes_on_disk(self) -> int:
        return self._file.size if self._file else 0

    async def open(self) -> None:
        """Reads what is there. Raises JournalTaken when another process has it, and for nothing else that the disk does."""
        if self._path is None:
            return
        async with self._busy:
            try:
                await self._open()
                self._batch_index.from_memory = False
            except JournalTaken:
                await self._shut()
                raise
            except (Unavailable, Corrupt) as trouble:
                self._failing(str(trouble))

    async def close(self) -> None:
        """Does not commit: what is staged and not committed has not been."""
        async with self._busy:
            await self._shut()

    def queue(self, sink: str) -> Queue:
        return self.queues[sink]

    def account(self, stream: str, sink: str) -> Account:
        """What it counts is saved with the next commit."""
        return self._accounts.of(stream, sink)

    def streams(self) -> set[str]:
        """Those that have accounts."""
        return self._accounts.streams()

    def forget_stream(self, stream: str) -> bool:
        """Its accounts go. False, and nothing is done: forks of it still wait."""
        if any(queue.forks_of(stream) for queue in self.queues.values()):
            return False
        self._accounts.forget(stream)
        return True

    def table(self, name: str) -> Mapping[Key, bytes]:
        """What was kept at the last run, whatever was kept since. To be read before the first commit, which lets go of it."""
        if self._found is None:
            raise RuntimeError("what the last run kept is to be read before the first commit")
        return self._found.get(name, {})

    def put(self, table: str, key: Key, value: bytes | None) -> None:
        """An item for the next run; None takes it away. `key`: text, or 0 to 2**64 - 1."""
        if self._path is not None:
            self._state_tables.put(table, key, value)

    def clear(self, table: str) -> None:
        """All its items go."""
        if self._path is not None:
            self._state_tables.clear(table)

    async def commit(self) -> bool:
        """Saves all that was staged before, in one transaction. False: it could not, and all of it stays staged.

        Safe to cancel: what was begun is brought to its end.
        """
        self._found = None
        return await asyncio.shield(self._commit())

    async def _commit(self) -> bool:
        if self._path is None:
            return True
        async with self._busy:
            if time.monotonic() < self._again:
                return False
            for _ in range(2):  # once more, when the file had to be begun anew
                try:
                    if self._file is None:
                        await self._open()
                    await self._write()
                except Corrupt as damaged:
                    await self._replace_file(str(damaged))
                except Unavailable as away:
                    self._failing(str(away))
                    return False
                else:
                    self._works()
                    return True
            self._failing("what is written there does not last")
            return False

    async def _write(self) -> None:
        assert self._file is not None  # noqa: S101  the caller opened it
        if self._upkeep is not None:
            upkeep, self._upkeep = self._upkeep, None
            with suppress(Unavailable):  # it is done again after this commit
                await asyncio.wrap_future(upkeep)
        changes = Changes(*self._batch_index.take(), *self._accounts.take(), self._state_tables.take())
        began = time.monotonic()
        try:
            written = await self._run(self._file.write, changes, forced=self.trouble is not None)
        except BaseException:
            for staged in (self._batch_index, self._accounts, self._state_tables):
                staged.failed(changes)
            raise
        self._batch_index.committed(changes)
        self._state_tables.committed(changes)
        self.commits += written
        if written:
            self.durations.observe(time.monotonic() - began)
        self._upkeep = self._thread.submit(self._file.upkeep)

    def _works(self) -> None:
        if self.trouble is not None:
            log.info("the journal works again")
        self.trouble = None
        self._pause = self._again = 0.0
        self._batch_index.from_memory = False
        for queue in self.queues.values():
            queue.notify()

    def _failing(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.error("the journal: %s; what comes is held in memory", trouble)
        self.trouble = trouble
        self._pause = min(_PAUSE_S[1], self._pause * 2 or _PAUSE_S[0])
        self._again = time.monotonic() + self._pause
        self._batch_index.from_memory = True
        self._batch_index.relieve()
        for queue in self.queues.values():
            queue.notify()

    async def _open(self) -> None:
        """Raises Away, JournalTaken, Damaged (what was begun anew does not last either)."""
        content = await self._run(self._opened)
        queues = dict(self.queues)
        batches = [one for one in content.batches if one.id not in self._copied]
        entries = self._batch_index.found(queues, batches)
        for queue in queues.values():
            if mine := [entry for entry in entries if entry.queue is queue]:
                queue.found(mine)
        self._accounts.found(content.accounts)
        for one in batches:
            if one.sink not in queues:
                forks = Counter(dict(counts_of(one.forks)))
                self._accounts.of(one.stream, one.sink).lose("sink_removed", forks)
                self.removed.setdefault(one.sink, {}).setdefault(one.stream, Counter()).update(forks)
        for sink, streams in self.removed.items():
            left = sum(forks.total() for forks in streams.values())
            log.error("the journal: %d forks were left for %r, which is no sink any more: lost", left, sink)
        if self._found is not None:
            self._found = content.state_tables
            for name, items in content.state_tables.items():
                self._state_tables.found(name, items.keys())
        else:
            for name in content.state_tables:  # too late: all that was kept since is newer
                self._state_tables.outdated(name)

    def _opened(self) -> Content:
        """On the thread."""
        assert self._path is not None  # noqa: S101  without one nothing is opened
        if self._lock is not None and not self._lock.holds():
            self._lock.release()
            self._lock = None
        self._lock = self._lock or DirectoryLock(self._path.parent)
        if self._corrupt_because:
            self._move_aside()
        adopt_draft(self._path)
        try:
            return self._loaded(self._path)
        except Corrupt as damaged:
            self._corrupt_because = str(damaged)
            self._move_aside()
            return self._loaded(self._path)

    def _loaded(self, path: Path) -> Content:
        file = File(path)
        try:
            content = file.load()
        except BaseException:
            file.close()
            raise
        self._file = file
        return content

    def _move_aside(self) -> None:
        assert self._path is not None  # noqa: S101
        aside = move_aside(self._path, self._now())
        where = f"was moved aside to {aside.name}" if aside else "was begun anew"
        self.trouble = f"it {self._corrupt_because} and {where}"
        self._corrupt_because = ""
        self.corruptions += 1
        log.error("the journal: %s", self.trouble)

    async def _replace_file(self, why: str) -> None:
        """The file can't be trusted: another is begun, with what is in memory and what can still be read."""
        self._corrupt_because = why
        file, self._file, self._upkeep = self._file, None, None
        if file is None:
            return
        assert self._path is not None  # noqa: S101  it has a file
        for queue in self.queues.values():
            queue.hold()
        missing = [entry for queue in self.queues.values() for entry in queue if entry.batch is None]
        missing.sort(key=lambda entry: entry.since, reverse=True)  # when there is no time for all, the oldest go
        self._copied = await self._run(copy_readable, file, self._path, missing)
        for queue in self.queues.values():
            if gone := [entry for entry in queue if entry.batch is None and entry.id not in self._copied]:
                log.error("the journal: %d batches for %s are lost with it", len(gone), queue.sink)
                queue.lose(gone, "journal_corrupt")
        self._batch_index.restage((entry for queue in self.queues.values() for entry in queue), self._copied)
        self._accounts.restage()
        if self.rewrite is not None:
            self.rewrite()

    async def on_its_thread(self, call: Callable[[], None]) -> None:
        """For what each thread has to do for itself."""
        await self._run(call)

    async def _load(self, entry: Entry) -> Batch | None:
        """A body that is in the file only. None: look again."""
        file, queue = self._file, entry.queue
        if file is None:
            await asyncio.sleep(_PAUSE_S[0])
            return None
        why = "lacks a batch"
        try:
            if batch := await self._run(file.read, entry.id):
                return batch
        except Corrupt as damaged:
            why = str(damaged)
        except Unavailable as away:
            if self._unread.get(queue.sink, (0, self.commits))[0] != entry.id:
                log.error("the journal: a batch for %s can't be read: %s", queue.sink, away)
                self._unread[queue.sink] = entry.id, self.commits
            if self._unread[queue.sink][1] == self.commits:
                await asyncio.sleep(_PAUSE_S[1])
                return None
            # The disk has worked since: it is this body.
            if next(iter(queue), None) is entry:
                queue.lose([entry], "journal_corrupt")
            return None
        async with self._busy:
            # It may have gone, and its row with it, before it was looked for.
            if self._file is file and next(iter(queue), None) is entry:
                await self._replace_file(why)
        return None

    async def _shut(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            await self._run(file.close)
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *given, **named))
