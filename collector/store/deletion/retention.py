"""Retention: counting expired forks, and refreshing rows that must outlive the forks that they are about.

Reads leave out at once what is too old; the tables' TTL deletes it. The ids of received forks have to outlive the forks for as
long as events of their stream come in, so these rows are written again before their own TTL.
"""

from __future__ import annotations

from typing import Final

from clickhouse_connect.driver.client import Client

__all__ = ["count_expired", "refresh"]

# Of streams with events within the retention, the rows that are older than it. Several collectors may write the same again.
_ALIVE: Final = (
    "stream IN (SELECT stream FROM stream GROUP BY stream HAVING toUnixTimestamp64Nano(max(seen)) >= {before:Int64}) "
)
_OLD: Final = "HAVING toUnixTimestamp64Nano(max(seen)) < {before:Int64}"
_REFRESH: Final = (
    "INSERT INTO came SELECT stream, cpu, lane, block, groupBitmapMergeState(numbers), fromUnixTimestamp64Nano({now:Int64}) "
    f"FROM came WHERE {_ALIVE} GROUP BY stream, cpu, lane, block {_OLD}",
    "INSERT INTO made SELECT stream, cgroup, kind, comm, groupBitmapMergeState(numbers), "
    f"fromUnixTimestamp64Nano({{now:Int64}}) FROM made WHERE {_ALIVE} GROUP BY stream, cgroup, kind, comm {_OLD}",
    "INSERT INTO loss SELECT stream, holder, owner, missing, reason, sink, source, max(by_now), "
    f"fromUnixTimestamp64Nano({{now:Int64}}) FROM loss WHERE {_ALIVE} "
    f"GROUP BY stream, holder, owner, missing, reason, sink, source {_OLD}",
)


def count_expired(client: Client, after: int, before: int) -> int:
    """Forks received from `after` on and before `before` (ns)."""
    statement = (
        "SELECT count() FROM fork WHERE received >= fromUnixTimestamp64Nano({after:Int64}) "
        "AND received < fromUnixTimestamp64Nano({before:Int64})"
    )
    return int(client.query(statement, parameters={"after": after, "before": before}).result_rows[0][0])


def refresh(client: Client, before: int, now: int) -> None:
    """Writes rows older than `before` (ns) again, as of `now`, for streams with events since then. Raises ClickHouseError."""
    for statement in _REFRESH:
        client.command(statement, parameters={"before": before, "now": now})
