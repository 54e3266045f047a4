"""The journal's SQLite file, as its one thread uses it: loaded, written in transactions, read, kept small.

Every error of SQLite or of the disk is raised as Unavailable or Corrupt.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, LiteralString
from zlib import crc32

import zstandard

from agent.journal import rows
from agent.journal.connection import CHECKPOINT_BYTES, PAGE_BYTES, connect
from agent.journal.directory import DiskFile
from agent.journal.errors import Corrupt, Unavailable, sqlite_errors
from agent.journal.rows import AccountRow, Changes, Content, Key, NewBatch, SavedBatch
from agent.model import Batch

__all__ = ["File"]

_CHECKPOINT: Final = CHECKPOINT_BYTES
_LONGEST_LOG: Final = 64 << 20  # bytes; a WAL that cannot be checkpointed by then never will be
_SPARE: Final = 2048  # free pages (8 MiB) that stay for the next rows; more than that is given back to the disk,
_STEP: Final = 512  # so many pages at a time: some milliseconds
_COMMIT_BYTES: Final = 5 * PAGE_BYTES  # that a commit writes beside its rows, about


class File:
    """`size`: bytes on the disk, as of the last call."""

    def __init__(self, path: Path) -> None:
        """Opens it, or makes it. Raises Unavailable; JournalTaken; Corrupt: it is not a journal that this agent can read."""
        wal = path.with_name(path.name + "-wal")
        self._written = 0  # bytes since the last checkpoint, about
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self._decompress = zstandard.ZstdDecompressor().decompress
        self._files: list[DiskFile] = []
        with ExitStack() as opened, sqlite_errors():
            opened.callback(self._close_files)  # after SQLite: POSIX locks of a file end when any descriptor of it is closed
            if not path.exists() and wal.exists() and wal.stat().st_size:
                raise Corrupt("has lost its first part")
            if path.exists() and not path.is_file():
                raise Corrupt("is not a file")
            self._files.append(DiskFile(path, b"SQLite format 3\0"))
            self._sql = connect(path)
            opened.callback(self._close_sql)
            self._wal = DiskFile(wal, b"\x37\x7f\x06")
            self._files.append(self._wal)
            self._measure()
            self._opened = opened.pop_all()

    @property
    def size(self) -> int:
        return sum(file.size for file in self._files)

    def load(self) -> Content:
        """Reads and checks everything but the bodies: those may be hundreds of MiB, and are checked when they are read.

        Raises Corrupt, Unavailable.
        """
        with sqlite_errors():
            for table in ("batches", "accounts", "shelves"):
                ((verdict,), *_) = self._sql.execute(f"PRAGMA quick_check('{table}')").fetchall()
                if verdict != "ok":
                    raise Corrupt(f"is corrupt ({table}: {verdict.splitlines()[-1][:100]})")
            return Content(list(self._batches()), list(self._accounts()), self._state_tables())

    def _batches(self) -> Iterator[SavedBatch]:
        streams: dict[bytes, str] = {}  # so that each name is in memory once, not ten thousand times
        for row in self._checked("SELECT * FROM batches ORDER BY place"):
            number, position, sink, stream, _, since, _, events, size, forks, _ = row
            if stream not in streams:
                streams[stream] = rows.to_text(stream)
            yield SavedBatch(number, position, rows.to_text(sink), streams[stream], since, events, size, forks)

    def _accounts(self) -> Iterator[AccountRow]:
        for stream, sink, outcome, reason, cgroup, forks in self._checked("SELECT * FROM accounts"):
            names = (rows.to_text(stream), rows.to_text(sink), rows.to_text(outcome), rows.to_text(reason))
            yield AccountRow(*names, rows.to_unsigned(cgroup), forks)

    def _state_tables(self) -> dict[str, dict[Key, bytes]]:
        state_tables: dict[str, dict[Key, bytes]] = {}
        for table, key, value, checksum in self._sql.execute("SELECT * FROM shelves"):
            if not isinstance(value, bytes) or rows.value_sum(value, table, key) != checksum:
                raise Corrupt("is corrupt (an item does not match its checksum)")
            state_tables.setdefault(rows.to_text(table), {})[rows.from_stored_key(key)] = value
        return state_tables

    def write(self, changes: Changes, *, forced: bool = False) -> bool:
        """One transaction: all of it or nothing. False: there was nothing to write.

        `forced`: writes even then, to find out whether it can. Raises Corrupt, Unavailable.
        """
        self._check()
        if not changes and not forced:
            return False
        with sqlite_errors():
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
                with suppress(sqlite3.Error):  # once the WAL is in the file, its space can be used again
                    self._sql.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                raise
            finally:
                self._measure()
        return True

    def read(self, number: int) -> Batch | None:
        """A batch with its body. None: there is none with that id. Raises Corrupt, Unavailable."""
        with sqlite_errors():
            row = self._sql.execute("SELECT * FROM batches WHERE id = ?", (number,)).fetchone()
            parts = self._sql.execute("SELECT cgroups, body FROM bodies WHERE id = ?", (number,)).fetchone()
        if row is None or parts is None:
            return None
        *values, checksum = row
        _, _, _, stream, name, since, uncompressed, events, _, _, body_sum = values
        cgroups, body = parts
        is_sound = rows.row_sum(*values) == checksum and isinstance(cgroups, bytes) and isinstance(body, bytes)
        if not is_sound or crc32(body, crc32(cgroups)) != body_sum:
            raise Corrupt("is corrupt (a batch does not match its checksum)")
        numbers = array("Q", self._decompress(cgroups, max_output_size=8 * events))
        return Batch(rows.to_text(name), rows.to_text(stream), body, numbers, since, uncompressed)

    def upkeep(self) -> None:
        """After a commit, so that the next one need not: moves the WAL into the file, and freed pages back to the disk.

        Raises Corrupt, Unavailable.
        """
        self._check()
        try:
            with sqlite_errors():
                ((free_pages,),) = self._sql.execute("PRAGMA freelist_count").fetchall()
                if free_pages > _SPARE:
                    # As a script: the pragma's rows have no columns, and a cursor would stop after the first page.
                    self._sql.executescript(f"PRAGMA incremental_vacuum({_STEP})")
                    self._written += _STEP * PAGE_BYTES // 2  # the other half is cut off, not moved
                if self._written >= _CHECKPOINT:
                    self._sql.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                    self._written = 0
        except Unavailable as unavailable:
            if self._wal.size > _LONGEST_LOG:
                raise Corrupt(f"can't be brought up to date with its log any more ({unavailable})") from unavailable
            raise
        finally:
            self._measure()

    def close(self) -> None:
        self._opened.close()

    def _close_sql(self) -> None:
        with suppress(sqlite3.Error):
            self._sql.close()

    def _close_files(self) -> None:
        for file in self._files:
            file.close()

    def _check(self) -> None:
        with sqlite_errors():
            for file in self._files:
                file.check()

    def _measure(self) -> None:
        for file in self._files:
            file.measure()

    def _reserve(self) -> None:
        """Reserves disk space for what a checkpoint will write into the file, and for the next WAL. Raises OSError.

        So on a full disk the WAL can still be checkpointed and used again, and delivered batches can be deleted.
        """
        ((pages,),) = self._sql.execute("PRAGMA page_count").fetchall()
        for file, size in zip(self._files, (pages * PAGE_BYTES, _CHECKPOINT), strict=True):
            file.reserve(size)

    def _checked(self, select: LiteralString) -> Iterator[tuple[Any, ...]]:
        """The rows without their checksums."""
        for *values, checksum in self._sql.execute(select):
            if rows.row_sum(*values) != checksum:
                raise Corrupt("is corrupt (a row does not match its checksum)")
            yield tuple(values)

    def _apply(self, changes: Changes) -> None:
        many = self._sql.executemany
        many("DELETE FROM batches WHERE id = ?", ((number,) for number in changes.removed))
        many("DELETE FROM bodies WHERE id = ?", ((number,) for number in changes.removed))
        for new in changes.batches:
            self._insert(new)
        self._apply_accounts(changes)
        for name, (cleared, items) in changes.state_tables.items():
            table = rows.to_bytes(name)
            if cleared:
                self._sql.execute("DELETE FROM shelves WHERE shelf = ?", (table,))
            many(
                "DELETE FROM shelves WHERE shelf = ? AND key = ?",
                ((table, rows.to_stored_key(key)) for key, value in items.items() if value is None),
            )
            many(
                "INSERT OR REPLACE INTO shelves VALUES (?, ?, ?, ?)",
                (rows.state_row(table, key, value) for key, value in items.items() if value is not None),
            )
            self._written += sum(512 + len(value or b"") for value in items.values())
        self._written += _COMMIT_BYTES

    def _apply_accounts(self, changes: Changes) -> None:
        many = self._sql.executemany
        many("DELETE FROM accounts WHERE stream = ?", ((rows.to_bytes(stream),) for stream in changes.forgotten))
        counts = [rows.account_row(row) for row in changes.accounts]
        many(
            "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((*key, forks, rows.row_sum(*key, forks)) for key, forks in counts if forks),
        )
        many(
            "DELETE FROM accounts WHERE stream = ? AND sink = ? AND what = ? AND reason = ? AND cgroup = ?",
            (key for key, forks in counts if not forks),
        )
        self._written += 256 * len(counts)

    def _insert(self, new: NewBatch) -> None:
        cgroups = self._compress(new.batch.cgroups.tobytes())
        row = rows.batch_row(new, crc32(new.batch.body, crc32(cgroups)))
        self._sql.execute(
            "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, rows.row_sum(*row))
        )
        self._sql.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?, ?)", (new.id, cgroups, new.batch.body))
        self._written += len(new.batch.body) + len(cgroups) + PAGE_BYTES
