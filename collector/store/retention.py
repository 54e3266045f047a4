"""Forgetting, and keeping in mind what must outlive its age.

What is too old is hidden from every look at once; the tables' TTL takes it off the disk. What says which forks have come has to
outlive them for as long as their stream is spoken of, so it is told again before its own TTL comes.

Must not live here: when it is done (`server`), what retention is (`settings`).
"""

from __future__ import annotations

from typing import Final

from clickhouse_connect.driver.client import Client

from collector.store.engine import StoreUnavailable

__all__ = ["forgotten", "tell_again", "try_writing"]

ROOM: Final = 64 << 20  # bytes: some merges of small parts
# Of streams that are spoken of, what nobody has spoken of for the retention; a union of itself, whoever else does the same.
_ALIVE: Final = (
    "stream IN (SELECT stream FROM stream GROUP BY stream HAVING toUnixTimestamp64Nano(max(seen)) >= {before:Int64}) "
)
_OLD: Final = "HAVING toUnixTimestamp64Nano(max(seen)) < {before:Int64}"
_AGAIN: Final = (
    "INSERT INTO came SELECT stream, cpu, lane, block, groupBitmapMergeState(numbers), fromUnixTimestamp64Nano({now:Int64}) "
    f"FROM came WHERE {_ALIVE} GROUP BY stream, cpu, lane, block {_OLD}",
    "INSERT INTO made SELECT stream, cgroup, kind, comm, groupBitmapMergeState(numbers), "
    f"fromUnixTimestamp64Nano({{now:Int64}}) FROM made WHERE {_ALIVE} GROUP BY stream, cgroup, kind, comm {_OLD}",
    "INSERT INTO loss SELECT stream, holder, owner, missing, reason, sink, source, max(by_now), "
    f"fromUnixTimestamp64Nano({{now:Int64}}) FROM loss WHERE {_ALIVE} "
    f"GROUP BY stream, holder, owner, missing, reason, sink, source {_OLD}",
)


def forgotten(client: Client, after: int, before: int) -> int:
    """Forks received from `after` on and before `before` (ns)."""
    question = (
        "SELECT count() FROM fork WHERE received >= fromUnixTimestamp64Nano({after:Int64}) "
        "AND received < fromUnixTimestamp64Nano({before:Int64})"
    )
    return int(client.query(question, parameters={"after": after, "before": before}).result_rows[0][0])


def tell_again(client: Client, before: int, now: int) -> None:
    """What was last told before `before`, of streams that were spoken of since. Raises ClickHouseError."""
    for statement in _AGAIN:
        client.command(statement, parameters={"before": before, "now": now})


def try_writing(client: Client) -> None:
    """Raises `StoreUnavailable`, or ClickHouseError, when a batch would not find a place."""
    ((free,),) = client.query("SELECT min(free_space) FROM system.disks WHERE type = 'Local'").result_rows
    if free is not None and free < ROOM:
        raise StoreUnavailable(f"the disk is full: {free} bytes are free, at least {ROOM} are wanted")
