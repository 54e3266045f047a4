"""The SQLite file, as the journal's one thread uses it: opened, loaded, written in transactions, read, kept small.

Every error of SQLite or of the disk leaves here as Away or Damaged. Must not live here: asyncio, what is staged.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, LiteralString
from zlib import crc32

import zstandard

from agent.journal import rows
from agent.journal.directory import Corrupt, JournalTaken, Unavailable
from agent.journal.rows import AccountRow, Changes, Content, Key, NewBatch, Saved
from agent.model import Batch

__all__ = ["File"]

_CHECKPOINT: Final = 4 << 20  # bytes written between checkpoints, about: each costs two fsyncs
_LONGEST_LOG: Final = 64 << 20  # bytes; a log that still can't be played into the file then never will be
_SPARE: Final = 2048  # free pages (8 MiB) that stay for what comes next; what is more goes back to the disk,
_STEP: Final = 512  # so many pages at a time: some milliseconds
_PAGE: Final = 4096  # bytes; larger ones are no quicker, and an idle agent would write more for every small change
_COMMON: Final = 5 * _PAGE  # what a commit writes beside its rows, about

_PRAGMAS: Final = (
    "temp_store = MEMORY",  # there may be no other folder that can be written
    "synchronous = NORMAL",  # no fsync at each commit
    "wal_autocheckpoint = 0",  # `upkeep` does it, and hears of its errors
    f"journal_size_limit = {_CHECKPOINT}",  # the WAL keeps that much, so that deleting works on a full disk, too
    "secure_delete = OFF",  # Debian's default overwrites what it frees
    "cell_size_check = ON",
    "cache_size = -1024",  # KiB
)
_AWAY: Final = {
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
def _spoken() -> Iterator[None]:
    """Raises Away or Damaged for what SQLite or the disk says."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            raise  # wrongly used, not damaged
        if code == sqlite3.SQLITE_IOERR_CORRUPTFS or code & 0xFF not in _AWAY:
            raise Corrupt(f"is corrupt ({error})") from error
        raise Unavailable(f"{_AWAY[code & 0xFF]} ({error.sqlite_errorname})") from error
    except UnicodeDecodeError as error:  # SQLite quotes the noise that it found, and sqlite3 can't read that
        raise Corrupt("is corrupt (what it says is no text)") from error
    except OSError as error:
        raise Unavailable(error.strerror or type(error).__name__) from error


@dataclass
class _Held:
    """A file as it was left by the last call. `begun`: it begins as it should, with `magic`."""

    path: Path
    fd: int
    magic: bytes
    size: int = 0
    begun: bool = False

    def begins(self) -> bool:
        return os.pread(self.fd, len(self.magic), 0) == self.magic


class File:
    """`size`: what it takes on the disk, bytes, as of the last call."""

    def __init__(self, path: Path) -> None:
        """Opens it, or makes it. Raises Away; JournalTaken; Damaged: it is there, and no journal that this agent can read."""
        self._wal = path.with_name(path.name + "-wal")
        self._path = path
        self._written = 0
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self._decompress = zstandard.ZstdDecompressor().decompress
        self._held: list[_Held] = []  # itself, its WAL
        self._connection: sqlite3.Connection | None = None
        with _spoken():
            if not path.exists() and self._wal.exists() and self._wal.stat().st_size:
                raise Corrupt("has lost its first part")
            if path.exists() and not path.is_file():
                raise Corrupt("is no file")
            self._hold(path, b"SQLite format 3\0")
        try:
            with _spoken():
                self._sql = self._connect()
                self._hold(self._wal, b"\x37\x7f\x06")
                self._measure()
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        return sum(held.size for held in self._held)

    def load(self) -> Content:
        """Reads and checks all but the bodies: those may be hundreds of MiB, and are checked when they are read.

        Raises Damaged, Away.
        """
        with _spoken():
            for table in ("batches", "accounts", "shelves"):
                ((verdict,), *_) = self._sql.execute(f"PRAGMA quick_check('{table}')").fetchall()
                if verdict != "ok":
                    raise Corrupt(f"is corrupt ({table}: {verdict.splitlines()[-1][:100]})")
            streams: dict[bytes, str] = {}  # each is there once, not ten thousand times
            batches = []
            for row in self._checked("SELECT * FROM batches ORDER BY place"):
                number, place, sink, stream, _, since, _, events, size, forks, _ = row
                if stream not in streams:
                    streams[stream] = rows.text_of(stream)
                batches.append(Saved(number, place, rows.text_of(sink), streams[stream], since, events, size, forks))
            accounts = []
            for stream, sink, what, reason, cgroup, forks in self._checked("SELECT * FROM accounts"):
                names = (rows.text_of(stream), rows.text_of(sink), rows.text_of(what), rows.text_of(reason))
                accounts.append(AccountRow(*names, rows.from_signed(cgroup), forks))
            state_tables: dict[str, dict[Key, bytes]] = {}
            for table, key, value, total in self._sql.execute("SELECT * FROM shelves"):
                if not isinstance(value, bytes) or rows.value_sum(value, table, key) != total:
                    raise Corrupt("is corrupt (an item does not match its checksum)")
                state_tables.setdefault(rows.text_of(table), {})[rows.from_key(key)] = value
            return Content(batches, accounts, state_tables)

    def write(self, changes: Changes, *, forced: bool = False) -> bool:
        """One transaction: all of it or nothing. False: there was nothing to write.

        `forced`: writes then, too, to see whether it can. Raises Damaged, Away.
        """
        self._look()
        if not changes and not forced:
            return False
        with _spoken():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                self._apply(changes)
                if forced:
                    self._sql.execute(f"PRAGMA user_version = {rows.VERSION}")
                self._reserve()
                self._sql.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    if self._sql.in_transaction:
                        self._sql.execute("ROLLBACK")
                with suppress(sqlite3.Error):  # once the WAL is in the file, its room can be used anew
                    self._sql.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                raise
            finally:
                self._measure()
        return True

    def read(self, number: int) -> Batch | None:
        """A batch with its body; None: there is none of that id. Raises Damaged, Away."""
        with _spoken():
            found = self._sql.execute("SELECT * FROM batches WHERE id = ?", (number,)).fetchone()
            body = self._sql.execute("SELECT cgroups, body FROM bodies WHERE id = ?", (number,)).fetchone()
        if found is None or body is None:
            return None
        _, _, _, stream, name, since, uncompressed, events, _, _, body_sum, total = found
        sound = rows.row_sum(*found[:-1]) == total and all(isinstance(part, bytes) for part in body)
        if not sound or crc32(body[1], crc32(body[0])) != body_sum:
            raise Corrupt("is corrupt (a batch does not match its checksum)")
        cgroups = array("Q", self._decompress(body[0], max_output_size=8 * events))
        return Batch(rows.text_of(name), rows.text_of(stream), body[1], cgroups, since, uncompressed)

    def upkeep(self) -> None:
        """After a commit, so that the next one need not: the WAL into the file, freed room back to the disk.

        Raises Damaged, Away.
        """
        self._look()
        try:
            with _spoken():
                if self._sql.execute("PRAGMA freelist_count").fetchone()[0] > _SPARE:
                    # A script: its rows have no columns, so a cursor takes it for done after the first page.
                    self._sql.executescript(f"PRAGMA incremental_vacuum({_STEP})")
                    self._written += _STEP * _PAGE // 2  # the rest is cut off, not moved
                if self._written >= _CHECKPOINT:
                    self._sql.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                    self._written = 0
        except Unavailable as away:
            if self._held[1].size > _LONGEST_LOG:
                raise Corrupt(f"can't take in its log any more ({away})") from away
            raise
        finally:
            self._measure()

    def close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        # After SQLite: POSIX locks of a file go when any descriptor of it is closed.
        for held in self._held:
            os.close(held.fd)
        self._held.clear()

    def _hold(self, path: Path, magic: bytes) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._held.append(_Held(path, fd, magic))

    def _connect(self) -> sqlite3.Connection:
        sql = self._connection = sqlite3.connect(self._path, timeout=0.5, isolation_level=None, check_same_thread=False)
        sql.text_factory = lambda text: text.decode(errors="replace")  # noise is no Unicode, and no reason to raise

        def one(pragma: LiteralString) -> Any:  # noqa: ANN401  text or number
            return sql.execute(f"PRAGMA {pragma}").fetchone()[0]

        try:
            one("locking_mode = EXCLUSIVE")  # before anything is read: then no -shm is needed
            application, version = one("application_id"), one("user_version")
            tables = {row[0] for row in sql.execute("SELECT sql FROM sqlite_schema")}
            fresh = not (application or version or tables)
            if not fresh and application != rows.APPLICATION:
                raise Corrupt("is another program's SQLite file")
            if not fresh and version != rows.VERSION:
                raise Corrupt(f"is of version {version}, which this agent can't read")
            if not fresh and (tables != set(rows.SCHEMA) or one("auto_vacuum") != 2):
                raise Corrupt("has not the tables of a journal")
            for pragma in (f"page_size = {_PAGE}", "auto_vacuum = INCREMENTAL", "journal_mode = WAL", *_PRAGMAS):
                sql.execute(f"PRAGMA {pragma}").fetchall()
            if one("journal_mode") != "wal":
                raise Unavailable("its disk has no room for a write-ahead log")
            sql.execute("BEGIN EXCLUSIVE")
            for statement in rows.SCHEMA if fresh else ():
                sql.execute(statement)
            if fresh:
                sql.execute(f"PRAGMA application_id = {rows.APPLICATION}")
                sql.execute(f"PRAGMA user_version = {rows.VERSION}")
            sql.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise JournalTaken(f"{self._path} is in use by another process") from error
            raise
        return sql

    def _reserve(self) -> None:
        """Takes the disk's room for what the WAL will one day bring into the file, and for the WAL to go on with.

        So on a full disk the WAL can be emptied and used anew, and what is delivered can be deleted. Raises OSError.
        """
        pages = self._sql.execute("PRAGMA page_count").fetchone()[0]
        for held, size in zip(self._held, (pages * _PAGE, _CHECKPOINT), strict=True):
            if held.begun and size > held.size:
                try:
                    os.posix_fallocate(held.fd, 0, size)
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                        raise
                    # else this file system can't

    def _look(self) -> None:
        """Whether the files are still those that were written. Costs some microseconds. Raises Damaged, Away."""
        with _spoken():
            for held in self._held:
                there = os.fstat(held.fd)
                try:
                    if not os.path.samestat(there, held.path.stat()):
                        raise Corrupt("was replaced")
                except FileNotFoundError:
                    raise Corrupt("was deleted") from None
                if there.st_size < held.size:
                    raise Corrupt("was cut short")
                if held.begun and not held.begins():
                    raise Corrupt("was overwritten")

    def _measure(self) -> None:
        for held in self._held:
            held.size = os.fstat(held.fd).st_size
            held.begun = held.begun or held.begins()

    def _checked(self, select: LiteralString) -> Iterator[tuple[Any, ...]]:
        for row in self._sql.execute(select):
            if rows.row_sum(*row[:-1]) != row[-1]:
                raise Corrupt("is corrupt (a row does not match its checksum)")
            yield row[:-1]

    def _apply(self, changes: Changes) -> None:
        many = self._sql.executemany
        many("DELETE FROM batches WHERE id = ?", ((number,) for number in changes.gone))
        many("DELETE FROM bodies WHERE id = ?", ((number,) for number in changes.gone))
        for new in changes.batches:
            self._insert(new)
        many("DELETE FROM accounts WHERE stream = ?", ((rows.as_text(stream),) for stream in changes.forgotten))
        counts = [(*map(rows.as_text, row[:4]), rows.to_signed(row.cgroup), int(row.forks)) for row in changes.accounts]
        many(
            "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((*row, rows.row_sum(*row)) for row in counts if row[-1]),
        )
        many(
            "DELETE FROM accounts WHERE stream = ? AND sink = ? AND what = ? AND reason = ? AND cgroup = ?",
            (row[:-1] for row in counts if not row[-1]),
        )
        for name, (cleared, items) in changes.state_tables.items():
            table = rows.as_text(name)
            if cleared:
                self._sql.execute("DELETE FROM shelves WHERE shelf = ?", (table,))
            many(
                "DELETE FROM shelves WHERE shelf = ? AND key = ?",
                ((table, rows.to_key(key)) for key, value in items.items() if value is None),
            )
            many(
                "INSERT OR REPLACE INTO shelves VALUES (?, ?, ?, ?)",
                (_item(table, rows.to_key(key), value) for key, value in items.items() if value is not None),
            )
        shelved = sum(512 + len(value or b"") for _, items in changes.state_tables.values() for value in items.values())
        self._written += _COMMON + 256 * len(counts) + shelved

    def _insert(self, new: NewBatch) -> None:
        batch = new.batch
        cgroups = self._compress(batch.cgroups.tobytes())
        row = (
            new.id,
            new.place,
            rows.as_text(new.sink),
            rows.as_text(batch.stream),
            rows.as_text(batch.id),
            float(batch.since),
            int(batch.uncompressed),
            batch.events,
            len(batch.body),
            new.forks,
            crc32(batch.body, crc32(cgroups)),
        )
        self._sql.execute(
            "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, rows.row_sum(*row))
        )
        self._sql.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?, ?)", (new.id, cgroups, batch.body))
        self._written += len(batch.body) + len(cgroups) + _PAGE


def _item(table: bytes, key: int | bytes, value: bytes) -> tuple[bytes, int | bytes, bytes, int]:
    return table, key, value, rows.value_sum(value, table, key)
