"""The volume of a store: whether it can take a batch; the oldest rows of an embedded one, deleted before their time when it is
nearly full, and the record of what was deleted.

A server's disk is its operator's: other databases are on it, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from clickhouse_connect.driver.client import Client

from collector.model import DeletedEarly
from collector.store.engine import StoreUnavailable

__all__ = ["FULL", "DiskUse", "Partition", "check_writable", "deleted_early", "disk_use", "drop_oldest", "make_record"]

FULL: Final = 0.9  # of the volume in use: above it the oldest rows go. Merges need the rest, since they write before they free
FREE: Final = 64 << 20  # bytes: some merges of small parts
# In the order in which they go: forks are nearly all of the bytes, and sums stay exact without them.
_TABLES: Final = ("fork", "summary", "minute", "gap")
_SIZES: Final = {10: timedelta(days=1), 19: timedelta(hours=4)}  # of partitions, by how many characters their names have
_RECORD: Final = (
    "CREATE TABLE IF NOT EXISTS deleted_early (name LowCardinality(String), partition String, until DateTime64(9, 'UTC'), "
    "rows UInt64, bytes UInt64, at DateTime64(9, 'UTC')) ENGINE = ReplacingMergeTree ORDER BY (name, partition, rows)"
)
_PARTITIONS: Final = (
    "SELECT table, partition, partition_id, sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active "
    "AND database = currentDatabase() AND table IN {tables:Array(String)} GROUP BY table, partition, partition_id"
)
# Of parts that were dropped or merged, whose files the engine removes later.
_LEAVING: Final = "SELECT sum(bytes_on_disk) FROM system.parts WHERE NOT active AND database = currentDatabase()"
_DELETED: Final = (
    "SELECT name, sum(rows), sum(bytes), toUnixTimestamp64Nano(max(until)), toUnixTimestamp64Nano(max(at)) "
    "FROM deleted_early FINAL WHERE until >= fromUnixTimestamp64Nano({since:Int64}) GROUP BY name ORDER BY name"
)


class DiskUse(NamedTuple):
    """Of the volume, bytes. `total` 0: unknown."""

    total: int
    free: int

    @property
    def ratio(self) -> float:
        return 1 - self.free / self.total if self.total else 0.0


class Partition(NamedTuple):
    """Of a table: rows that were received before `end`, in UTC."""

    table: str
    name: str
    id: str
    rows: int
    bytes: int

    @property
    def end(self) -> datetime:
        return datetime.fromisoformat(self.name).replace(tzinfo=UTC) + _SIZES[len(self.name)]


def make_record(client: Client) -> None:
    """Of what is deleted early. It is no table of the schema: a server has none."""
    client.command(_RECORD)


def disk_use(client: Client) -> DiskUse:
    rows = client.query("SELECT total_space, free_space FROM system.disks WHERE type = 'Local'").result_rows
    return min((DiskUse(int(total), int(free)) for total, free in rows), key=lambda use: use.free, default=DiskUse(0, 0))


def check_writable(client: Client) -> None:
    """Raises `StoreUnavailable`, or ClickHouseError, when a batch could not be written."""
    use = disk_use(client)
    if use.total and use.free < FREE:
        raise StoreUnavailable(f"the disk is full: {use.free} bytes are free, at least {FREE} are needed")


def drop_oldest(client: Client, now: int) -> list[Partition]:
    """Drops the oldest partitions, as few as bring the volume below `FULL`; never what is received now. `now` in ns. Raises
    ClickHouseError."""
    use = disk_use(client)
    ((leaving,),) = client.query(_LEAVING).result_rows
    excess = use.total - use.free - int(FULL * use.total) - int(leaving)
    dropped: list[Partition] = []
    for partition in _oldest(client, datetime.fromtimestamp(now / 1e9, UTC)):
        if excess < 0 or not use.total:
            break
        _drop(client, partition, now)
        dropped.append(partition)
        excess -= partition.bytes
    return dropped


def deleted_early(client: Client, since: int) -> list[DeletedEarly]:
    """By table, of the rows that would be here without it: received at `since` (ns) or later."""
    return [DeletedEarly(*row) for row in client.query(_DELETED, parameters={"since": since}).result_rows]


def _oldest(client: Client, now: datetime) -> Iterator[Partition]:
    rows = client.query(_PARTITIONS, parameters={"tables": [*_TABLES]}).result_rows
    partitions = [one for one in (Partition(*row) for row in rows) if one.end <= now]
    yield from sorted(partitions, key=lambda one: (_TABLES.index(one.table), one.end))


def _drop(client: Client, partition: Partition, now: int) -> None:
    """The record first: whoever dies in between has deleted nothing that is not recorded."""
    until = int(partition.end.timestamp()) * 1_000_000_000
    client.command(
        "INSERT INTO deleted_early SELECT {name:String}, {partition:String}, fromUnixTimestamp64Nano({until:Int64}), "
        "{rows:UInt64}, {bytes:UInt64}, fromUnixTimestamp64Nano({now:Int64})",
        parameters={
            "name": partition.table,
            "partition": partition.name,
            "until": until,
            "rows": partition.rows,
            "bytes": partition.bytes,
            "now": now,
        },
    )
    client.command(
        f"ALTER TABLE {partition.table} DROP PARTITION ID {{id:String}}",
        parameters={"id": partition.id},
        settings={"max_partition_size_to_drop": 0},
    )
