"""The folder of the journal: who has it, and a file in it that can't be used, moved aside.

Must not live here: SQLite.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Final

__all__ = ["BESIDE", "Corrupt", "DirectoryLock", "JournalTaken", "Unavailable", "move_aside"]

BESIDE: Final = ("", "-wal", "-journal", "-shm")  # what SQLite calls its files, after the journal's own name


class Unavailable(Exception):
    """The disk can't do it now. It is asked again. The text is one line for people."""


class JournalTaken(Unavailable):
    """Another process has the journal. The text names folder and process."""


class Corrupt(Exception):
    """The file is not what was written, and will not be again. The text goes on from "the journal "."""


class DirectoryLock:
    """`<folder>/lock`, held for life: two agents with one journal would take each other's batches."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder. Raises JournalTaken, Away."""
        self._path = folder / "lock"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(error.strerror) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            process = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip() or "?"
            self.release()
            raise JournalTaken(f"{folder} is in use by another agent, process {process}") from error
        except OSError as error:
            self.release()
            raise Unavailable(error.strerror) from error
        with suppress(OSError):  # whose it is, for the one who is refused: a full disk may leave that out
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def holds(self) -> bool:
        """Whether the file is still there for others to see."""
        try:
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        except OSError:
            return False

    def release(self) -> None:
        os.close(self._fd)


def move_aside(path: Path, now: float) -> Path | None:
    """Moves it to `<name>.corrupt-<UTC stamp>` with what lies beside it; only the newest is kept. None: there was nothing.

    Raises Away.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    moved = False
    try:
        # The WAL too, in any case: SQLite would play one that is left over into the new file.
        for suffix in BESIDE:
            beside = path.with_name(path.name + suffix)
            if os.path.lexists(beside):
                beside.rename(aside.with_name(aside.name + suffix))
                moved = True
        for older in path.parent.glob(f"{escape(path.name)}.corrupt-*"):
            if moved and not older.name.startswith(aside.name):
                with suppress(OSError):
                    older.unlink()
    except OSError as error:
        raise Unavailable(error.strerror) from error
    return aside if moved else None
