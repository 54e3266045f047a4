"""The journal's directory and the files in it: the lock, corrupt files that are moved aside, files that others may touch."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Final

from agent.journal.errors import Corrupt, JournalTaken, Unavailable

__all__ = ["SUFFIXES", "DirectoryLock", "DiskFile", "beside", "move_aside"]

SUFFIXES: Final = ("", "-wal", "-journal", "-shm")  # of SQLite's files, after the journal's own name


class DirectoryLock:
    """`<directory>/lock`, held until `release`: two agents with one journal would take each other's batches."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory. Raises JournalTaken, Unavailable."""
        self._path = directory / "lock"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(error.strerror) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            process = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip() or "?"
            self.release()
            raise JournalTaken(f"{directory} is in use by another agent, process {process}") from error
        except OSError as error:
            self.release()
            raise Unavailable(error.strerror) from error
        with suppress(OSError):  # for the message above, in another process; a full disk may prevent it
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def is_held(self) -> bool:
        """Whether the file is still there for others to see."""
        try:
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        except OSError:
            return False

    def release(self) -> None:
        os.close(self._fd)


class DiskFile:
    """A file that SQLite writes, with a descriptor of our own. `size`: bytes, as of the last `measure`."""

    def __init__(self, path: Path, magic: bytes) -> None:
        """Makes the file if there is none. `magic`: its first bytes, once SQLite has written it. Raises OSError."""
        self.size = 0
        self._path = path
        self._magic = magic
        self._has_magic = False
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def measure(self) -> None:
        """To be called after each write."""
        self.size = os.fstat(self._fd).st_size
        self._has_magic = self._has_magic or self._reads_magic()

    def check(self) -> None:
        """Raises Corrupt when the file is no longer the one that was written; OSError. Takes some microseconds."""
        now = os.fstat(self._fd)
        try:
            if not os.path.samestat(now, self._path.stat()):
                raise Corrupt("was replaced")
        except FileNotFoundError:
            raise Corrupt("was deleted") from None
        if now.st_size < self.size:
            raise Corrupt("was cut short")
        if self._has_magic and not self._reads_magic():
            raise Corrupt("was overwritten")

    def reserve(self, size: int) -> None:
        """Allocates disk space up to `size`, if the file system can. Raises OSError when there is not enough."""
        if self._has_magic and size > self.size:
            try:
                os.posix_fallocate(self._fd, 0, size)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise

    def close(self) -> None:
        os.close(self._fd)

    def _reads_magic(self) -> bool:
        return os.pread(self._fd, len(self._magic), 0) == self._magic


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def move_aside(path: Path, now: float) -> Path | None:
    """Renames the journal and SQLite's files beside it to `<name>.corrupt-<UTC stamp>`; only the newest of these is kept.

    None: there was nothing to rename. Raises Unavailable.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = beside(path, f".corrupt-{stamp}")
    moved = False
    try:
        # The WAL in any case: SQLite would play one that is left over into the new file.
        for suffix in SUFFIXES:
            if os.path.lexists(beside(path, suffix)):
                beside(path, suffix).rename(beside(aside, suffix))
                moved = True
        for older in path.parent.glob(f"{escape(path.name)}.corrupt-*"):
            if moved and not older.name.startswith(aside.name):
                with suppress(OSError):
                    older.unlink()
    except OSError as error:
        raise Unavailable(error.strerror) from error
    return aside if moved else None
