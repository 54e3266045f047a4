"""Opens the SQLite database of the journal: pragmas, and the check that it is a journal of this version."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, LiteralString

from agent.journal import rows
from agent.journal.errors import Corrupt, JournalTaken, Unavailable

__all__ = ["CHECKPOINT_BYTES", "PAGE_BYTES", "connect"]

CHECKPOINT_BYTES: Final = 4 << 20  # written between checkpoints, about: each costs two fsyncs
PAGE_BYTES: Final = 4096  # larger pages are not faster, and an idle agent would write more for every small change

_PRAGMAS: Final = (
    "temp_store = MEMORY",  # there may be no other directory that can be written
    "synchronous = NORMAL",  # no fsync at each commit
    "wal_autocheckpoint = 0",  # `File.upkeep` does it, and so gets its errors
    f"journal_size_limit = {CHECKPOINT_BYTES}",  # the WAL keeps that much, so that deleting works on a full disk, too
    "secure_delete = OFF",  # Debian's default overwrites what it frees
    "cell_size_check = ON",
    "cache_size = -1024",  # KiB
)


def connect(path: Path) -> sqlite3.Connection:
    """Opens or makes the database, with exclusive locks. Raises Corrupt, JournalTaken, Unavailable, sqlite3.Error."""
    sql = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
    sql.text_factory = lambda text: text.decode(errors="replace")  # damaged text must not raise
    try:
        _prepare(sql)
    except BaseException as error:
        with suppress(sqlite3.Error):
            sql.close()
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise JournalTaken(f"{path} is in use by another process") from error
        raise
    return sql


def _prepare(sql: sqlite3.Connection) -> None:
    def pragma(name: LiteralString) -> Any:  # noqa: ANN401  text or number
        return sql.execute(f"PRAGMA {name}").fetchone()[0]

    pragma("locking_mode = EXCLUSIVE")  # before anything is read: then no -shm file is needed
    application, version = pragma("application_id"), pragma("user_version")
    tables = {statement for (statement,) in sql.execute("SELECT sql FROM sqlite_schema")}
    is_new = not (application or version or tables)
    if not is_new and application != rows.APPLICATION:
        raise Corrupt("is another program's SQLite file")
    if not is_new and version != rows.VERSION:
        raise Corrupt(f"is of version {version}, which this agent can't read")
    if not is_new and (tables != set(rows.SCHEMA) or pragma("auto_vacuum") != 2):
        raise Corrupt("lacks the tables of a journal")
    for statement in (f"page_size = {PAGE_BYTES}", "auto_vacuum = INCREMENTAL", "journal_mode = WAL", *_PRAGMAS):
        sql.execute(f"PRAGMA {statement}").fetchall()
    if pragma("journal_mode") != "wal":
        raise Unavailable("its disk has no space for a write-ahead log")
    sql.execute("BEGIN EXCLUSIVE")
    if is_new:
        for statement in rows.SCHEMA:
            sql.execute(statement)
        sql.execute(f"PRAGMA application_id = {rows.APPLICATION}")
        sql.execute(f"PRAGMA user_version = {rows.VERSION}")
    sql.execute("COMMIT")
