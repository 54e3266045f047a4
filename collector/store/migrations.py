"""Brings a database up to the tables of this version, and sets the retention of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from collector.store.newest import PERIOD
from collector.store.tables import EXPIRING, STATEMENTS, STORM_REASON, VERSION, ttl

__all__ = ["WrongDatabase", "migrate", "set_retention"]

# Times (ns) that a made-up event left in a table of version 1 or 2: later than this, they would outlast all later events.
_LATEST: Final = "toUnixTimestamp64Nano(now64(9)) + 300000000000"
_PERIOD: Final = f"intDiv(newest.received, {PERIOD})"


def _copy_counter_sources(table: str) -> str:
    newest = f"{_PERIOD}, newest.sum, newest.end, newest.number, newest.start, newest.received, newest.counts, newest.totals"
    attribution = "whose.owner, whose.cluster, whose.node, whose.namespace, whose.pod, whose.uid, whose.subject"
    return (
        f"SELECT stream, cgroup, tuple(whose.rank, least(whose.said, {_LATEST}), {attribution}), "
        f"if(newest.end > {_LATEST}, tuple(-1, -1, 0, 0, 0, 0, [], []), tuple({newest})), first_seen, "
        f"least(last_seen, {_LATEST}), seen FROM {table}"
    )


def _copy_streams(table: str) -> str:
    """A stream belongs to the node that it is stored with."""
    heads = "CAST(heads AS Array(Tuple(UInt32, UInt64)))"
    newest = (
        f"{_PERIOD}, newest.captured, newest.end, newest.number, newest.start, newest.received, newest.cluster, newest.node, "
        f"{heads}, newest.body"
    )
    return (
        f"SELECT stream, if(newest.end > {_LATEST}, tuple(-1, -1, 0, 0, 0, 0, '', '', [], ''), tuple({newest})), whose, "
        f"tuple(1, whose.received, whose.cluster, whose.node), said, only, before, seen FROM {table}"
    )


# Of an older version: the tables that are made anew, and how their rows are copied; no row does harm that is copied twice.
_COPIES: Final[dict[int, dict[str, str]]] = {
    2: {"holder": _copy_counter_sources("holder_2"), "stream": _copy_streams("stream_2")},
    1: {
        "fork": "SELECT * FROM fork_1",
        "subject": "SELECT * FROM subject_1",
        "holder": _copy_counter_sources("holder_1"),
        "stream": _copy_streams("stream_1"),
        "came": "SELECT * FROM came_1",
        "made": "SELECT stream, cgroup, kind, comm, groupBitmapState(number), max(at) FROM (SELECT stream, cgroup, kind, comm, "
        "arrayJoin(bitmapToArray(numbers)) AS n, seen AS at, bitOr(bitOr(bitShiftLeft(bitShiftRight(n, 16), 29), "
        "bitShiftLeft(toUInt64(cpu), 16)), bitAnd(n, 65535)) AS number FROM made_1) GROUP BY stream, cgroup, kind, comm",
    },
}
_WITH_REASON: Final = f"ALTER TABLE storm ADD COLUMN IF NOT EXISTS {STORM_REASON}"
# What tables that are kept get. Parts that are there get an index in the background.
_ALTERED: Final[dict[int, tuple[str, ...]]] = {
    2: (
        "ALTER TABLE fork ADD INDEX IF NOT EXISTS by_stream stream TYPE set(16)",
        "ALTER TABLE fork ADD INDEX IF NOT EXISTS by_sequence sequence TYPE minmax",
        "ALTER TABLE fork MATERIALIZE INDEX by_stream",
        "ALTER TABLE fork MATERIALIZE INDEX by_sequence",
        _WITH_REASON,
    ),
    1: (_WITH_REASON,),
}
# Views and tables of an older version that are in the way of these, and hold no rows.
_DROPPED: Final[dict[int, tuple[str, ...]]] = {1: ("made_of", "came_of", "made_in")}
# Rows with bitmaps are long, and a fork's partitions may be many.
_COPY_SETTINGS: Final[dict[str, Any]] = {"max_block_size": 1024, "max_partitions_per_insert_block": 0}


class WrongDatabase(Exception):
    """The database is not a store that this version can use."""


def migrate(client: Client, retention: int) -> None:
    """Makes the tables, or brings those of an older version up to this one. `retention` in seconds. Raises `WrongDatabase` for
    a database of another program or of a newer version."""
    engines = _engines(client)
    version = 0
    if "version" in engines:
        ((newest,),) = client.query("SELECT max(version) FROM version").result_rows
        version = int(newest)
    elif engines:
        raise WrongDatabase(f"holds tables that are no collector's: {', '.join(sorted(engines)[:5])}")
    else:
        client.command(STATEMENTS[0].create(retention))  # the table `version`, which another collector may be making as well
    if version > VERSION:
        raise WrongDatabase(f"holds tables of version {version}, this collector keeps version {VERSION}")
    if version < VERSION:
        if engines.get("fork") == "Distributed":
            raise WrongDatabase(
                f"holds a cluster's tables of version {version}: make those of version {VERSION}, see docs/store"
            )
        _make(client, version, engines, retention)
    copied = {f"{table}_{older}" for older, tables in _COPIES.items() for table in tables}
    for table in sorted(copied & _engines(client).keys()):
        client.command(f"DROP TABLE {table} SETTINGS max_table_size_to_drop = 0")


def set_retention(client: Client, retention: int) -> None:
    """Sets the tables' TTL where it is another, in seconds. Where tables are `Distributed` it is the operator's, with the
    DDL."""
    rows = client.query(
        "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    ).result_rows
    for table, engine in rows:
        if table in EXPIRING and ttl(EXPIRING[table], retention) not in engine:
            # Existing parts get it when they merge: a new TTL rewrites nothing.
            client.command(
                f"ALTER TABLE {table} MODIFY TTL {ttl(EXPIRING[table], retention)}",
                settings={"materialize_ttl_after_modify": 0},
            )


def _make(client: Client, version: int, engines: Mapping[str, str], retention: int) -> None:
    """Can be cut off anywhere and begun again."""
    for name in _DROPPED.get(version, ()):
        client.command(f"DROP TABLE IF EXISTS {name}")
    copies = _COPIES.get(version, {})
    for table in copies:
        if f"{table}_{version}" not in engines:
            client.command(f"RENAME TABLE {table} TO {table}_{version}")
    for one in STATEMENTS:
        client.command(one.create(retention))
    for statement in _ALTERED.get(version, ()):
        client.command(statement)
    for table, rows in copies.items():
        client.command(f"INSERT INTO {table} {rows}", settings=_COPY_SETTINGS)
    client.insert("version", [[VERSION]], column_names=["version"])


def _engines(client: Client) -> dict[str, str]:
    """By table."""
    rows = client.query("SELECT name, engine FROM system.tables WHERE database = currentDatabase()").result_rows
    return {str(name): str(engine) for name, engine in rows}
