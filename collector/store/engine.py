"""The engine behind a DSN: ClickHouse embedded in this process, or a server or cluster over HTTP; the same SQL for both."""

from __future__ import annotations

import re
import shutil
import tempfile
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import clickhouse_connect
from clickhouse_connect import common
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

__all__ = ["DATABASE", "Engine", "StoreUnavailable", "unavailable", "wrong_dsn"]

DATABASE: Final = "forklore"
# Of the embedded engine, which shares its machine with the collector; a server has its own. Bytes except for pools.
_OPTIONS: Final[dict[str, Any]] = {
    "mark_cache_size": 64 << 20,
    "primary_index_cache_size": 64 << 20,
    "index_mark_cache_size": 16 << 20,
    "query_condition_cache_size": 16 << 20,
    "background_pool_size": 1,  # merges at once; its ratio makes two of one
    "background_merges_mutations_concurrency_ratio": 2,
}
_SETTINGS: Final[dict[str, Any]] = {
    "max_threads": 2,
    "max_insert_threads": 1,
    # Rows and bytes from which two threads read: rows with bitmaps are few and long.
    "merge_tree_min_rows_for_concurrent_read": 256,
    "merge_tree_min_bytes_for_concurrent_read": 1 << 20,
    # Queries are short: to compile one, when it comes for the third time, takes longer than it would save.
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
    "max_memory_usage": 1_000_000_000,  # bytes of one query
    "max_bytes_before_external_group_by": 400_000_000,
    "max_bytes_before_external_sort": 400_000_000,
    # A view gets its rows even where its source table has them already: a writer may have died between the two.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "async_insert": 0,  # a server may have it on, which answers before the rows are safe
}
# Settings that a server of an older version may not know.
_EMBEDDED: Final[dict[str, Any]] = {
    # By default it uses one thread for each free gibibyte, and it may not have two in all (see `_memory`).
    "max_threads_min_free_memory_per_thread": 128 << 20,
    # All marks at once before reading, not one by one: a Bloom filter over a week takes two thirds of the time.
    "use_skip_indexes_on_data_read": 0,
}
_REMOTE: Final[dict[str, Any]] = {
    "distributed_foreground_insert": 1,  # an answer means that the shard has it, not that it is in a queue
    "distributed_product_mode": "global",  # a subquery is run on all shards, once
}
_REASONS: Final = {
    241: "there is not enough memory for it",
    243: "the disk is full",
    252: "too many parts: more batches come than can be merged",
    516: "user or password are wrong",
    497: "the user may not do that",
}


_MEMORY: Final = 1_500_000_000  # bytes of the engine, of all queries together, above which it refuses
_SHARE: Final = 0.75  # of the process's limit, so that the engine refuses a query before the kernel kills the process
_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class StoreUnavailable(Exception):
    """The store cannot be opened or does not answer; its text says why, and never a password."""


def wrong_dsn(dsn: str) -> str | None:
    """What is wrong with a store's address, or None."""
    scheme, colon, rest = dsn.partition(":")
    if dsn == "memory:":
        return None
    if scheme == "chdb" and colon:
        return (
            None
            if rest.startswith("///") and len(rest) > 3 and "?" not in rest
            else "an embedded store is chdb:///absolute/path"
        )
    if scheme in ("http", "https") and colon:
        try:
            parts = urllib.parse.urlsplit(dsn)
            fits = bool(parts.hostname) and (parts.port is None or parts.port > 0) and not parts.query and not parts.fragment
        except ValueError:
            fits = False
        return None if fits else "a ClickHouse server is https://user@host:8443/database"
    there = "chdb:///absolute/path, https://user@host:8443/database and memory:"
    return f"there is no store of the kind {scheme[:40]!r}; there are {there}"


def unavailable(error: BaseException, where: str = "") -> StoreUnavailable:
    """One sentence of the engine's long message, and what to do where it is known."""
    text = re.sub(r" with url: \S+", "", " ".join(str(error).split()))  # holds all settings, which would push out the reason
    code = getattr(error, "code", None)
    if isinstance(code, int) and code in _REASONS:
        text = f"{_REASONS[code]} ({text[:200]})"
    elif isinstance(error, ImportError):
        text = f"there is no embedded engine here, a ClickHouse server can be the store ({text[:200]})"
    elif "Cannot lock file" in text or "Error initializing EmbeddedServer: ." in text:
        text = "another process keeps this store; an embedded store has one collector"
    elif "already initialized with path" in text:
        text = "this process keeps another store; one at a time can be embedded"
    elif "No space left on device" in text:
        text = "the disk is full"
    return StoreUnavailable(f"{where}: {text[:500]}" if where else text[:500])


class Engine:
    """An open engine. `where`: its address without user and password. `connect` opens another connection; each, like
    `writer` and `reader`, serves one thread at a time."""

    def __init__(self, connect: Callable[[], Client], where: str, folder: Path | None, *, embedded: bool) -> None:
        self.connect, self.where, self._folder, self.embedded = connect, where, folder, embedded
        self.writer = connect()
        try:
            self.reader = connect()
        except BaseException:
            self.writer.close()
            raise

    @classmethod
    def open(cls, dsn: str, password: str | None = None) -> Engine:
        """Makes folder and database where there are none. Raises `StoreUnavailable`."""
        if mistake := wrong_dsn(dsn):
            raise StoreUnavailable(mistake)
        common.set_setting("autogenerate_session_id", False)  # a session would make a server answer one query at a time
        if dsn.startswith("http"):
            return cls._remote(dsn, password)
        folder = Path(tempfile.mkdtemp(prefix="forklore-")) if dsn == "memory:" else None
        path = folder or Path(dsn.removeprefix("chdb://"))
        try:
            _check_folder(path)
            return cls(lambda: _embedded(path), str(path), folder, embedded=True)
        except (ImportError, OSError, ClickHouseError) as error:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
            raise unavailable(error, str(path)) from error

    @classmethod
    def _remote(cls, dsn: str, password: str | None) -> Engine:
        parts = urllib.parse.urlsplit(dsn)
        database = urllib.parse.unquote(parts.path.strip("/")) or DATABASE
        where = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

        def connect(database: str | None = database) -> Client:
            return clickhouse_connect.get_client(
                interface=parts.scheme,
                host=parts.hostname or "",
                port=parts.port or (8443 if parts.scheme == "https" else 8123),
                username=urllib.parse.unquote(parts.username or "default"),
                password=password or urllib.parse.unquote(parts.password or ""),
                database=database,
                settings=_SETTINGS | _REMOTE,
                connect_timeout=5,
                send_receive_timeout=60,
                compress="zstd",
            )

        try:
            try:
                return cls(connect, where, None, embedded=False)
            except ClickHouseError as error:
                if getattr(error, "code", None) != 81:  # the database is not there yet
                    raise
            maker = connect(None)
            try:
                maker.command(f"CREATE DATABASE IF NOT EXISTS {_quoted(database)}")
            finally:
                maker.close()
            return cls(connect, where, None, embedded=False)
        except (OSError, ClickHouseError) as error:
            raise unavailable(error, where) from None  # its cause may hold the password

    def close(self) -> None:
        self.reader.close()
        self.writer.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _check_folder(path: Path) -> None:
    """Raises `StoreUnavailable` for a folder that holds something else than a store."""
    path.mkdir(parents=True, exist_ok=True)
    names = {entry.name for entry in path.iterdir()} - {"lost+found"}
    if names and not {"metadata", "store"} <= names:
        raise StoreUnavailable(f"{path}: is no store, and not empty: it holds {', '.join(sorted(names)[:3])}")


def _memory() -> int:
    """Bytes."""
    for limit in map(Path, _LIMITS):
        with suppress(OSError, ValueError):  # no limit is `max`, or a file that is not there
            return min(_MEMORY, int(int(limit.read_text()) * _SHARE))
    return _MEMORY


def _embedded(path: Path) -> Client:
    options = _OPTIONS | {"max_server_memory_usage": _memory()}
    client = clickhouse_connect.get_client(
        interface="chdb", path=str(path), chdb_options=options, settings=_SETTINGS | _EMBEDDED
    )
    try:
        client.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
    except BaseException:
        client.close()
        raise
    client.database = DATABASE
    return client


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
