"""The tables, and how a database is brought up to them.

Nothing that is written here depends on what was read before: every table takes the same row twice, in any order and from any
collector, and is the same in the end. Rows of an event are replaced by their equals; everything else is a greatest, a least or
a union, none of which cares how often it is told. What makes a set of forks exact is bitmaps of their numbers.

`time`, `start` and `end` are the sender's clock, `received` and `seen` the collector's, so that retention and partitions do not
hang on a node's clock: no sender can make more partitions than there are days. Must not live here: queries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from collector.model import TaskCounts

__all__ = ["NEVER", "TABLES", "VERSION", "Stale", "prepare", "retain", "whole"]

GRACE: Final = 120  # seconds that what is too old stays on the disk, so that a sweep can count it
NEVER: Final = 2**63 - 1  # ns: later than anything, where the earliest is kept
_NS: Final = "DateTime64(9, 'UTC')"
_TALLY: Final = f"Array(UInt64) /* {', '.join(TaskCounts._fields)} */"
# What a replayed batch is known by, for as many batches: an agent has one on its way, a journal's replay a few.
_ONCE: Final = "non_replicated_deduplication_window = 1000"
# A day's parts go as a whole: nothing is rewritten to forget.
_WHOLE: Final = "ttl_only_drop_parts = 1"
_SUMS: Final = ("processes", "threads", "suppressed", "lost")

STATEMENTS: Final = (
    # Forks, by pod and time. A fork is put together out of these columns again exactly as it was sent (see `packing`).
    # `holder`: the cgroup that counted it, -1 for the host; `namespace`, `pod` as known when it was filed, see `naming`.
    f"""CREATE TABLE fork (
    cluster LowCardinality(String), namespace LowCardinality(String), pod LowCardinality(String),
    time {_NS} CODEC(Delta, ZSTD(1)),
    stream LowCardinality(String), cpu UInt16 CODEC(ZSTD(1)), sequence UInt64 CODEC(Delta, ZSTD(1)),
    received {_NS} CODEC(Delta, ZSTD(1)), node LowCardinality(String),
    holder Int64 CODEC(ZSTD(1)), subject UInt64 CODEC(ZSTD(1)),
    kind LowCardinality(String), comm LowCardinality(Nullable(String)), parent_comm LowCardinality(Nullable(String)),
    pid Nullable(UInt32) CODEC(ZSTD(1)), ns_pid Nullable(UInt32) CODEC(ZSTD(1)),
    parent_pid Nullable(UInt32) CODEC(ZSTD(1)), parent_ns_pid Nullable(UInt32) CODEC(ZSTD(1)),
    entity Nullable(UInt64) CODEC(ZSTD(1)), parent_entity Nullable(UInt64) CODEC(ZSTD(1)),
    age Nullable(Int64) CODEC(ZSTD(1)), parent_start Nullable(Int64) CODEC(ZSTD(1)),
    context LowCardinality(String), rest String CODEC(ZSTD(1)),
    INDEX by_time time TYPE minmax, INDEX by_received received TYPE minmax,
    INDEX by_entity entity TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_parent parent_entity TYPE bloom_filter(0.01) GRANULARITY 4
) ENGINE = ReplacingMergeTree PARTITION BY toStartOfInterval(received, toIntervalHour(4))
ORDER BY (cluster, namespace, pod, time, stream, cpu, sequence) SETTINGS {_ONCE}, {_WHOLE}, index_granularity = 2048,
min_age_to_force_merge_seconds = 1800, min_age_to_force_merge_on_partition_only = 1""",
    # cgroup, container and k8s of an event, told once and pointed at by thousands.
    f"""CREATE TABLE subject (
    id UInt64, seen {_NS}, workload_kind LowCardinality(String), workload LowCardinality(String), labels Map(String, String),
    container String, body String CODEC(ZSTD(3))
) ENGINE = ReplacingMergeTree(seen) ORDER BY id SETTINGS {_ONCE}, index_granularity = 128""",
    # One cgroup of one stream (-1: the stream's host): whose it is by the best that was ever said of it, and its newest
    # summary. Totals only grow, so the greatest are the newest: neither a clock that was set back nor a summary that comes late
    # can hide them. Where nothing was forked in between, the time decides, and the number. `sum` -1: no summary yet.
    f"""CREATE TABLE holder (
    stream LowCardinality(String), cgroup Int64,
    whose SimpleAggregateFunction(max, Tuple(rank UInt8, said Int64, owner UInt64, cluster String, node String,
        namespace String, pod String, uid String, subject UInt64)),
    newest SimpleAggregateFunction(max, Tuple(sum Int64, end Int64, number Int64, start Int64, received Int64,
        counts {_TALLY}, totals {_TALLY})),
    first_seen SimpleAggregateFunction(min, Int64), last_seen SimpleAggregateFunction(max, Int64),
    seen SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree ORDER BY (stream, cgroup) SETTINGS {_ONCE}, index_granularity = 256""",
    # Which forks each holder made, by the comm of who forked: the sizes of these sets are the counts. For the numbers in them
    # see `numbered`. A row may be 100 KB and few rows are wanted at once, so marks are close.
    f"""CREATE TABLE made (
    stream LowCardinality(String), cgroup Int64, kind LowCardinality(String), comm LowCardinality(Nullable(String)),
    numbers AggregateFunction(groupBitmap, UInt64), seen SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree ORDER BY (stream, cgroup, kind, comm) SETTINGS allow_nullable_key = 1, {_ONCE},
index_granularity = 4, min_compress_block_size = 4096, max_compress_block_size = 65536, min_age_to_force_merge_seconds = 900""",
    """CREATE TABLE made_in (stream LowCardinality(String), cgroup Int64, kind LowCardinality(String),
    comm LowCardinality(Nullable(String)), numbers Array(UInt64), seen DateTime64(9, 'UTC')) ENGINE = Null""",
    """CREATE MATERIALIZED VIEW made_of TO made AS
    SELECT stream, cgroup, kind, comm, groupBitmapState(number) AS numbers, max(at) AS seen
    FROM (SELECT stream, cgroup, kind, comm, arrayJoin(numbers) AS number, seen AS at FROM made_in)
    GROUP BY stream, cgroup, kind, comm""",
    # What has come, written after all else of its batch: forks by CPU and number, other events by the rest of their id (`lane`,
    # with cpu -1) and its last part. 65,536 numbers a row, so a stream without holes is a handful of rows.
    f"""CREATE TABLE came (
    stream LowCardinality(String), cpu Int32, lane String, block UInt64, numbers AggregateFunction(groupBitmap, UInt16),
    seen SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree ORDER BY (stream, cpu, lane, block) SETTINGS {_ONCE}, index_granularity = 128""",
    """CREATE TABLE came_in (stream LowCardinality(String), cpu Int32, lane String, first UInt64, last UInt64,
    seen DateTime64(9, 'UTC')) ENGINE = Null""",
    """CREATE MATERIALIZED VIEW came_of TO came AS
    SELECT stream, cpu, lane, bitShiftRight(number, 16) AS block, groupBitmapState(toUInt16(bitAnd(number, 65535))) AS numbers,
    max(at) AS seen FROM (SELECT stream, cpu, lane, seen AS at, arrayJoin(range(first, last + 1)) AS number FROM came_in)
    GROUP BY stream, cpu, lane, block""",
    # One load of the probe on one boot of one node: its newest heartbeat, how many numbers each CPU has given out, what its
    # agent calls us (the newest word, or else the first that named no other), and the forks that this sink had taken when we
    # first heard a heartbeat of it. `captured` -1: no heartbeat yet.
    f"""CREATE TABLE stream (
    stream LowCardinality(String),
    newest SimpleAggregateFunction(max, Tuple(captured Int64, end Int64, number Int64, start Int64, received Int64,
        cluster String, node String, body String)),
    heads SimpleAggregateFunction(maxMap, Map(UInt32, UInt64)),
    whose SimpleAggregateFunction(min, Tuple(received Int64, cluster String, node String)),
    said SimpleAggregateFunction(max, Tuple(received Int64, sink String)),
    only SimpleAggregateFunction(min, Tuple(received Int64, sink String)),
    before SimpleAggregateFunction(min, Tuple(received Int64, forks UInt64)), seen SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree ORDER BY stream SETTINGS {_ONCE}""",
    f"""CREATE TABLE summary (
    stream LowCardinality(String), cgroup Int64, start Int64 CODEC(Delta, ZSTD(1)), end Int64 CODEC(Delta, ZSTD(1)),
    number Int64 CODEC(Delta, ZSTD(1)), received {_NS} CODEC(Delta, ZSTD(1)),
    {", ".join(f"{name} UInt64 CODEC(ZSTD(1)), total_{name} UInt64 CODEC(Delta, ZSTD(1))" for name in _SUMS)}
) ENGINE = ReplacingMergeTree PARTITION BY toDate(received)
ORDER BY (stream, cgroup, end, number) SETTINGS {_ONCE}, {_WHOLE}""",
    # Exact sums a minute: totals count up since the probe's epoch, so the greatest of a minute less the greatest before it is
    # what was forked in between, however often and in whatever order summaries came. `base_`: the total when the minute's first
    # interval began, for the first minute that is asked for. By cgroup, since whose a cgroup is may be known better later.
    f"""CREATE TABLE minute (
    stream LowCardinality(String), cgroup Int64, minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    {", ".join(f"total_{n} SimpleAggregateFunction(max, UInt64)" for n in _SUMS)},
    {", ".join(f"base_{n} SimpleAggregateFunction(min, UInt64)" for n in _SUMS)},
    received SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree PARTITION BY toDate(received) ORDER BY (stream, cgroup, minute)
SETTINGS {_ONCE}, {_WHOLE}, allow_dimensions_outside_sorting_key = 1""",
    f"""CREATE MATERIALIZED VIEW minute_of TO minute AS
    SELECT stream, cgroup, toDateTime(intDiv(greatest(until, 1) - 1, 60000000000) * 60, 'UTC') AS minute,
    {", ".join(f"max(t_{n}) AS total_{n}, min(greatest(t_{n}, c_{n}) - c_{n}) AS base_{n}" for n in _SUMS)}, max(at) AS received
    FROM (SELECT stream, cgroup, end AS until, received AS at,
    {", ".join(f"total_{n} AS t_{n}, {n} AS c_{n}" for n in _SUMS)} FROM summary) GROUP BY stream, cgroup, minute""",
    # A gap as it was told. `holder` -2: of no single cgroup; `owner` 0: of no pod; both: of a node as a whole. `source`: the id
    # without its number, which is how many are missing for this reason since the epoch.
    f"""CREATE TABLE gap (
    stream LowCardinality(String), id String, cluster LowCardinality(String), node LowCardinality(String), holder Int64,
    owner UInt64, namespace String, pod String, uid String, missing LowCardinality(String), reason LowCardinality(String),
    sink LowCardinality(String), source UInt64, amount UInt64, by_now UInt64, start Int64, end Int64, received {_NS}
) ENGINE = ReplacingMergeTree PARTITION BY toDate(received) ORDER BY (stream, id) SETTINGS {_ONCE}, {_WHOLE}""",
    # The sums of gaps, which outlive them: a hole is explained for as long as its stream is known.
    f"""CREATE TABLE loss (
    stream LowCardinality(String), holder Int64, owner UInt64, missing LowCardinality(String), reason LowCardinality(String),
    sink LowCardinality(String), source UInt64, by_now SimpleAggregateFunction(max, UInt64),
    seen SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree ORDER BY (stream, holder, owner, missing, reason, sink, source) SETTINGS {_ONCE}""",
    """CREATE MATERIALIZED VIEW loss_of TO loss AS
    SELECT stream, holder, owner, missing, reason, sink, source, max(n) AS by_now, max(received) AS seen
    FROM (SELECT *, greatest(by_now, amount) AS n FROM gap) GROUP BY stream, holder, owner, missing, reason, sink, source""",
    # A storm: a stop holds all that its start said. `cgroup` is the pod's own.
    f"""CREATE TABLE storm (
    stream LowCardinality(String), cgroup Int64, number Int64,
    newest SimpleAggregateFunction(max, Tuple(is_over UInt8, end Int64, limit Int64, hold Int64, start Int64,
        counts {_TALLY}, totals {_TALLY})),
    whose SimpleAggregateFunction(max, Tuple(rank UInt8, owner UInt64, cluster String, node String, namespace String,
        pod String, uid String)), seen SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree ORDER BY (stream, cgroup, number) SETTINGS {_ONCE}""",
)
# Which one a database has is in its table `version`.
VERSION: Final = 2
# Of an older version: the tables that are made anew, and how their rows come over; no row does harm that comes twice.
_MOVES: Final[dict[int, dict[str, str]]] = {
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
# What stands in the way of these, and holds nothing.
_GONE: Final[dict[int, tuple[str, ...]]] = {1: ("made_of", "came_of", "made_in")}
# Rows with bitmaps are long, and a fork's partitions may be many.
_MOVING: Final[dict[str, Any]] = {"max_block_size": 1024, "max_partitions_per_insert_block": 0}

# What leaves by its age alone, and what leaves when nobody has spoken of it: twice as late, so that what is still alive is told
# again in time (see `sweeping`). Between the two it is hidden from every look.
_BY_AGE: Final = ("fork", "summary", "minute", "gap")
_BY_WORD: Final = ("subject", "holder", "made", "came", "stream", "loss", "storm")
TABLES: Final = (*_BY_AGE, *_BY_WORD)


class Stale(Exception):
    """The database is no store of this version."""


def prepare(client: Client, retention: int) -> None:
    """Makes the tables, or brings those of an older version up to this one. `retention` in seconds. Raises `Stale` for a
    database of someone else's or of a newer version."""
    engines = _engines(client)
    version = 0
    if "version" in engines:
        version = int(client.query("SELECT max(version) FROM version").result_rows[0][0])
    elif engines:
        raise Stale(f"holds tables that are no collector's: {', '.join(sorted(engines)[:5])}")
    else:
        # IF NOT EXISTS: another collector may have found the database as empty, just now.
        client.command(
            "CREATE TABLE IF NOT EXISTS version (version UInt32, at DateTime DEFAULT now()) ENGINE = MergeTree ORDER BY version"
        )
    if version > VERSION:
        raise Stale(f"holds tables of version {version}, this collector keeps version {VERSION}")
    if version < VERSION:
        if engines.get("fork") == "Distributed":
            raise Stale(f"holds a cluster's tables of version {version}: make those of version {VERSION}, see docs/store")
        _make(client, version, engines, retention)
    for table in _MOVES.get(VERSION - 1, {}):
        if f"{table}_{VERSION - 1}" in _engines(client):
            client.command(f"DROP TABLE {table}_{VERSION - 1} SETTINGS max_table_size_to_drop = 0")


def _make(client: Client, version: int, engines: Mapping[str, str], retention: int) -> None:
    """Can be cut off anywhere and begun again."""
    for name in _GONE.get(version, ()):
        client.command(f"DROP TABLE IF EXISTS {name}")
    moves = _MOVES.get(version, {})
    for table in moves:
        if f"{table}_{version}" not in engines:
            client.command(f"RENAME TABLE {table} TO {table}_{version}")
    for statement in STATEMENTS:
        client.command(whole(statement, retention))
    for table, rows in moves.items():
        client.command(f"INSERT INTO {table} {rows}", settings=_MOVING)
    client.insert("version", [[VERSION]], column_names=["version"])


def _engines(client: Client) -> dict[str, str]:
    """By table."""
    rows = client.query("SELECT name, engine FROM system.tables WHERE database = currentDatabase()").result_rows
    return {str(name): str(engine) for name, engine in rows}


def whole(statement: str, retention: int) -> str:
    """With its TTL, and so that a step that was cut off can be begun again."""
    made, kind, name, rest = re.fullmatch(r"(CREATE) (TABLE|MATERIALIZED VIEW) (\w+)(.*)", statement, re.DOTALL).groups()  # type: ignore[union-attr]
    if name in TABLES:
        rest = rest.replace(" SETTINGS ", f" TTL {_ttl(name, retention)} SETTINGS ").replace(
            "\nSETTINGS ", f" TTL {_ttl(name, retention)} SETTINGS "
        )
    return f"{made} {kind} IF NOT EXISTS {name}{rest}"


def _ttl(table: str, retention: int) -> str:
    if table in _BY_AGE:
        return f"toDateTime(received) + toIntervalSecond({retention + GRACE})"
    return f"toDateTime(seen) + toIntervalSecond({2 * retention + GRACE})"


def retain(client: Client, retention: int) -> None:
    """Sets the tables' TTL where it is another. Where they are `Distributed` it is the operator's, with the DDL."""
    rows = client.query(
        "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    ).result_rows
    for table, engine in rows:
        if table in TABLES and _ttl(table, retention) not in engine:
            # Parts that are there already are looked at when they merge; a new TTL rewrites nothing.
            client.command(
                f"ALTER TABLE {table} MODIFY TTL {_ttl(table, retention)}", settings={"materialize_ttl_after_modify": 0}
            )
