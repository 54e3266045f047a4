"""The journal's file on the disk, used on one thread of its own: locked, opened, written, and replaced when it is corrupt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from agent.journal.batch_index import QueuedBatch
from agent.journal.directory import DirectoryLock, move_aside
from agent.journal.errors import Corrupt, Unavailable
from agent.journal.file import File
from agent.journal.rebuild import adopt_draft, copy_readable
from agent.journal.rows import Changes, Content, Key

__all__ = ["Storage", "Unreadable"]

log = logging.getLogger(__name__)
Unreadable = Callable[[Mapping[str, Mapping[Key, bytes]]], str | None]
Given = ParamSpec("Given")
Result = TypeVar("Result")


class Storage:
    """`now`: the wall clock, seconds. `unreadable`: as of `Journal`. `file` None: not open.

    `replaced`: one line for people when the last `open` had to begin a new file, else None. `corruptions`: how often it had to.
    """

    def __init__(self, path: Path, now: Callable[[], float], unreadable: Unreadable) -> None:
        self._unreadable = unreadable
        self.file: File | None = None
        self.replaced: str | None = None
        self.corruptions = 0
        self._path = path
        self._now = now
        self._thread = ThreadPoolExecutor(1, "journal")
        self._lock: DirectoryLock | None = None
        self._corrupt_because = ""  # why what is at `path` is to be moved aside
        self._upkeep: Future[None] | None = None

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self.file.size if self.file else 0

    async def open(self) -> Content:
        """Raises Unavailable, JournalTaken; Corrupt: the new file was not written as it should be either."""
        self.replaced = None
        return await self.run(self._open)

    async def write(self, changes: Changes, *, forced: bool) -> bool:
        """As File.write. Starts the upkeep of the file afterwards, without waiting for it."""
        assert self.file is not None  # noqa: S101  the caller opened it
        written = await self.run(self.file.write, changes, forced=forced)
        self._upkeep = self._thread.submit(self.file.upkeep)
        return written

    async def upkeep_done(self) -> None:
        """Raises Corrupt. Where the disk was unavailable, the upkeep after the next commit does it again."""
        if self._upkeep is not None:
            upkeep, self._upkeep = self._upkeep, None
            with suppress(Unavailable):
                await asyncio.wrap_future(upkeep)

    async def abandon(self, why: str, wanted: Sequence[QueuedBatch]) -> set[int]:
        """The file is corrupt: closes it; the next `open` moves it aside and begins another.

        Returns the ids of those of the wanted batches that will be in the new file.
        """
        self._corrupt_because = why
        file, self.file, self._upkeep = self.file, None, None
        return set() if file is None else await self.run(copy_readable, file, self._path, wanted)

    async def close(self) -> None:
        file, self.file = self.file, None
        if file is not None:
            await self.run(file.close)
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._thread.shutdown(wait=False)

    async def run(self, call: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
        """On the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *given, **named))

    def _open(self) -> Content:
        if self._lock is not None and not self._lock.is_held():
            self._lock.release()
            self._lock = None
        self._lock = self._lock or DirectoryLock(self._path.parent)
        if self._corrupt_because:
            self._move_aside()
        adopt_draft(self._path)
        try:
            return self._load()
        except Corrupt as corrupt:
            self._corrupt_because = str(corrupt)
            self._move_aside()
            return self._load()

    def _load(self) -> Content:
        file = File(self._path)
        try:
            content = file.load()
            if record := self._unreadable(content.state_tables):
                raise Corrupt(f"has a record that this agent can't read ({record})")
        except BaseException:
            file.close()
            raise
        self.file = file
        return content

    def _move_aside(self) -> None:
        aside = move_aside(self._path, self._now())
        outcome = f"was moved aside to {aside.name}" if aside else "a new one was begun"
        self.replaced = f"it {self._corrupt_because} and {outcome}"
        self._corrupt_because = ""
        self.corruptions += 1
        log.error("the journal: %s", self.replaced)
