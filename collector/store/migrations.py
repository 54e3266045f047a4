"""Brings a database up to the tables of this version, and sets the retention of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from collector.store.tables import EXPIRING, STATEMENTS, VERSION, ttl

__all__ = ["WrongDatabase", "migrate", "set_retention"]

# Of an older version: the tables that are made anew, and how their rows are copied; no row does harm that is copied twice.
_COPIES: Final[dict[int, dict[str, str]]] = {
    1: {
        "fork": "SELECT * FROM fork_1",
        "subject": "SELECT * FROM subject_1",
        "holder": "SELECT * FROM holder_1",
        "came": "SELECT * FROM came_1",
        "made": "SELECT stream, cgroup, kind, comm, groupBitmapState(number), max(at) FROM (SELECT stream, cgroup, kind, comm, "
        "arrayJoin(bitmapToArray(numbers)) AS n, seen AS at, bitOr(bitOr(bitShiftLeft(bitShiftRight(n, 16), 29), "
        "bitShiftLeft(toUInt64(cpu), 16)), bitAnd(n, 65535)) AS number FROM made_1) GROUP BY stream, cgroup, kind, comm",
    }
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
    for table in _COPIES.get(VERSION - 1, {}):
        if f"{table}_{VERSION - 1}" in _engines(client):
            client.command(f"DROP TABLE {table}_{VERSION - 1} SETTINGS max_table_size_to_drop = 0")


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
    for table, rows in copies.items():
        client.command(f"INSERT INTO {table} {rows}", settings=_COPY_SETTINGS)
    client.insert("version", [[VERSION]], column_names=["version"])


def _engines(client: Client) -> dict[str, str]:
    """By table."""
    rows = client.query("SELECT name, engine FROM system.tables WHERE database = currentDatabase()").result_rows
    return {str(name): str(engine) for name, engine in rows}
