"""What may go wrong with the journal's file: it cannot be used now, or it is not what was written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["Corrupt", "JournalTaken", "Unavailable", "sqlite_errors"]


class Unavailable(Exception):
    """The disk cannot be read or written now; the journal tries again later. The text is one line for people."""


class JournalTaken(Unavailable):
    """Another process has the journal. The text names the directory and the process."""


class Corrupt(Exception):
    """The file is not what was written and never will be again. The text continues the words "the journal"."""


_UNAVAILABLE: Final = {
    sqlite3.SQLITE_FULL: "No space left on device",
    sqlite3.SQLITE_READONLY: "read-only file system",
    sqlite3.SQLITE_IOERR: "input/output error",
    sqlite3.SQLITE_CANTOPEN: "its file can't be opened",
    sqlite3.SQLITE_BUSY: "locked by another process",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_PERM: "permission denied",
    sqlite3.SQLITE_AUTH: "permission denied",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_INTERRUPT: "interrupted",
    sqlite3.SQLITE_PROTOCOL: "its locks do not work",
    sqlite3.SQLITE_NOLFS: "its file is too large for the disk",
}


@contextmanager
def sqlite_errors() -> Iterator[None]:
    """Raises Unavailable or Corrupt for what SQLite or the disk raises within."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            raise  # a wrong use of sqlite3, not damage
        if code == sqlite3.SQLITE_IOERR_CORRUPTFS or code & 0xFF not in _UNAVAILABLE:
            raise Corrupt(f"is corrupt ({error})") from error
        raise Unavailable(f"{_UNAVAILABLE[code & 0xFF]} ({error.sqlite_errorname})") from error
    except UnicodeDecodeError as error:  # SQLite quotes the bytes that it found, and sqlite3 cannot decode them
        raise Corrupt("is corrupt (its error message is not text)") from error
    except OSError as error:
        raise Unavailable(error.strerror or type(error).__name__) from error
