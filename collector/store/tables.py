"""The tables and views of the store.

A write needs no read before it to be correct: every table takes the same row twice, in any order and from any collector, and
is the same in the end. Rows of an event are replaced by their equals; everything else is a greatest, a least or a union. The
exception is `stream.before` (see `commit`). Bitmaps of forks' numbers make their counts exact.

Rows of `fork` with the same key are replaced only within one partition (by `received`), and the key also holds cluster,
namespace, pod and time. A fork that came in two partitions, or under another name, stays twice: each query of `fork` drops
duplicates by itself, by stream, cpu and sequence.

The names of tables and columns are older than those of the code:

    fork.holder, gap.holder  cgroup that counted     holder.whose  RankedAttribution, the greatest (best) one
    holder                   CounterSource           stream.whose  StreamNode, the least (first received) one
    subject                  Attribution             stream.said   StreamSink: the name in the agent's requests
    made                     forked_by               stream.only   FirstSink: the only sink of the first heartbeat
    came                     ReceivedIds             stream.before FirstCount: forks delivered elsewhere before
    owner                    pod's id                made_in, came_in  what is inserted; views fill made and came

`time`, `start` and `end` are the sender's clock, `received` and `seen` the collector's, so that retention and partitions do
not depend on a node's clock: no sender can make more partitions than there are days.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from collector.model import TaskCounts

__all__ = ["EXPIRING", "STATEMENTS", "STORM_REASON", "VERSION", "Table", "View", "ttl"]

# Which version a database has is in its table `version`.
VERSION: Final = 3
GRACE: Final = 120  # seconds that what is too old stays on the disk, so that a sweep can count it
_NS: Final = "DateTime64(9, 'UTC')"
_COUNTS: Final = f"Array(UInt64) /* {', '.join(TaskCounts._fields)} */"
# How many inserts a replayed batch is compared with: an agent has one on its way, a journal's replay a few.
# One of STORM_REASONS; empty of an older store.
STORM_REASON: Final = "reason SimpleAggregateFunction(max, String)"
_ONCE: Final = "non_replicated_deduplication_window = 1000"
# A day's parts are deleted as a whole: nothing is rewritten.
_WHOLE: Final = "ttl_only_drop_parts = 1"
_SUMS: Final = ("processes", "threads", "suppressed", "lost")


class Table(NamedTuple):
    """`definition`: columns, engine and order. `expires`: by which column its rows do; None: it holds none, or keeps them
    without end.

    `received`: rows are deleted by age. `seen`: when no event of theirs has come for twice as long, so that rows of what is
    still alive are written again in time (see `retention`). Between the two no read sees them.
    """

    name: str
    definition: str
    settings: str = ""
    expires: Literal["received", "seen"] | None = None

    def create(self, retention: int) -> str:
        """Can be repeated. `retention` in seconds."""
        expiry = f" TTL {ttl(self.expires, retention)}" if self.expires else ""
        settings = f" SETTINGS {self.settings}" if self.settings else ""
        return f"CREATE TABLE IF NOT EXISTS {self.name} {self.definition}{expiry}{settings}"


class View(NamedTuple):
    """Fills the table `to` from what is inserted into the table that it selects from."""

    name: str
    to: str
    select: str

    def create(self, _retention: int) -> str:
        """Can be repeated."""
        return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {self.name} TO {self.to} AS\n    {self.select}"


def ttl(column: Literal["received", "seen"], retention: int) -> str:
    """`retention` in seconds."""
    return f"toDateTime({column}) + toIntervalSecond({retention * (2 if column == 'seen' else 1) + GRACE})"


STATEMENTS: Final[tuple[Table | View, ...]] = (
    Table("version", "(version UInt32, at DateTime DEFAULT now()) ENGINE = MergeTree ORDER BY version"),
    # Forks, by pod and time. From these columns a fork is put together exactly as it was sent (`collector.model.fork_columns`).
    # `holder`: the cgroup that counted it, -1 for the host. `namespace`, `pod`: as known when it was inserted (`row_ids`).
    Table(
        "fork",
        f"""(
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
    INDEX by_parent parent_entity TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_stream stream TYPE set(16), INDEX by_sequence sequence TYPE minmax
) ENGINE = ReplacingMergeTree PARTITION BY toStartOfInterval(received, toIntervalHour(4))
ORDER BY (cluster, namespace, pod, time, stream, cpu, sequence)""",
        f"{_ONCE}, {_WHOLE}, index_granularity = 2048, min_age_to_force_merge_seconds = 1800, "
        "min_age_to_force_merge_on_partition_only = 1",
        "received",
    ),
    # Attributions: cgroup, container and k8s of an event, stored once for thousands of events.
    Table(
        "subject",
        f"""(
    id UInt64, seen {_NS}, workload_kind LowCardinality(String), workload LowCardinality(String), labels Map(String, String),
    container String, body String CODEC(ZSTD(3))
) ENGINE = ReplacingMergeTree(seen) ORDER BY id""",
        f"{_ONCE}, index_granularity = 128",
        "seen",
    ),
    # Counter sources: a cgroup of a stream (-1: the stream's host) with its best attribution so far and its newest summary.
    # `newest`, which holds for every table with one: see `collector.store.newest.period`. `sum` -1: no summary yet.
    Table(
        "holder",
        f"""(
    stream LowCardinality(String), cgroup Int64,
    whose SimpleAggregateFunction(max, Tuple(rank UInt8, said Int64, owner UInt64, cluster String, node String,
        namespace String, pod String, uid String, subject UInt64)),
    newest SimpleAggregateFunction(max, Tuple(period Int64, sum Int64, end Int64, number Int64, start Int64,
        received Int64, counts {_COUNTS}, totals {_COUNTS})),
    first_seen SimpleAggregateFunction(min, Int64), last_seen SimpleAggregateFunction(max, Int64),
    seen SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree ORDER BY (stream, cgroup)""",
        f"{_ONCE}, index_granularity = 256",
        "seen",
    ),
    # The forks that each counter source counted, by the comm of the parent: the sizes of these sets are the counts. For the
    # numbers in them see `fork_number`. A row may be 100 KB and few rows are read at once, so marks are close.
    Table(
        "made",
        f"""(
    stream LowCardinality(String), cgroup Int64, kind LowCardinality(String), comm LowCardinality(Nullable(String)),
    numbers AggregateFunction(groupBitmap, UInt64), seen SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree ORDER BY (stream, cgroup, kind, comm)""",
        f"allow_nullable_key = 1, {_ONCE}, index_granularity = 4, min_compress_block_size = 4096, "
        "max_compress_block_size = 65536, min_age_to_force_merge_seconds = 900",
        "seen",
    ),
    Table(
        "made_in",
        """(stream LowCardinality(String), cgroup Int64, kind LowCardinality(String),
    comm LowCardinality(Nullable(String)), numbers Array(UInt64), seen DateTime64(9, 'UTC')) ENGINE = Null""",
    ),
    View(
        "made_of",
        "made",
        """SELECT stream, cgroup, kind, comm, groupBitmapState(number) AS numbers, max(at) AS seen
    FROM (SELECT stream, cgroup, kind, comm, arrayJoin(numbers) AS number, seen AS at FROM made_in)
    GROUP BY stream, cgroup, kind, comm""",
    ),
    # Ids of received events, written after all else of their batch: forks by CPU and number, other events by the rest of their
    # id (`lane`, with cpu -1) and its last part. 65,536 numbers a row, so a stream without holes is a handful of rows.
    Table(
        "came",
        f"""(
    stream LowCardinality(String), cpu Int32, lane String, block UInt64, numbers AggregateFunction(groupBitmap, UInt16),
    seen SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree ORDER BY (stream, cpu, lane, block)""",
        f"{_ONCE}, index_granularity = 128",
        "seen",
    ),
    Table(
        "came_in",
        """(stream LowCardinality(String), cpu Int32, lane String, first UInt64, last UInt64,
    seen DateTime64(9, 'UTC')) ENGINE = Null""",
    ),
    View(
        "came_of",
        "came",
        """SELECT stream, cpu, lane, bitShiftRight(number, 16) AS block,
    groupBitmapState(toUInt16(bitAnd(number, 65535))) AS numbers,
    max(at) AS seen FROM (SELECT stream, cpu, lane, seen AS at, arrayJoin(range(first, last + 1)) AS number FROM came_in)
    GROUP BY stream, cpu, lane, block""",
    ),
    # One program instance on one boot of one node: its newest heartbeat with how many numbers each CPU has given out, the node
    # that it belongs to (`bound`), what its agent calls this collector (as its newest request states, or else the first
    # heartbeat with a single sink), and the forks that this sink had received at the first heartbeat here. `captured` -1: none.
    Table(
        "stream",
        f"""(
    stream LowCardinality(String),
    newest SimpleAggregateFunction(max, Tuple(period Int64, captured Int64, end Int64, number Int64, start Int64,
        received Int64, cluster String, node String, heads Array(Tuple(cpu UInt32, given UInt64)), body String)),
    whose SimpleAggregateFunction(min, Tuple(received Int64, cluster String, node String)),
    bound SimpleAggregateFunction(min, Tuple(by UInt8, received Int64, cluster String, node String)),
    said SimpleAggregateFunction(max, Tuple(received Int64, sink String)),
    only SimpleAggregateFunction(min, Tuple(received Int64, sink String)),
    before SimpleAggregateFunction(min, Tuple(received Int64, forks UInt64)), seen SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree ORDER BY stream""",
        _ONCE,
        "seen",
    ),
    Table(
        "summary",
        f"""(
    stream LowCardinality(String), cgroup Int64, start Int64 CODEC(Delta, ZSTD(1)), end Int64 CODEC(Delta, ZSTD(1)),
    number Int64 CODEC(Delta, ZSTD(1)), received {_NS} CODEC(Delta, ZSTD(1)),
    {", ".join(f"{name} UInt64 CODEC(ZSTD(1)), total_{name} UInt64 CODEC(Delta, ZSTD(1))" for name in _SUMS)}
) ENGINE = ReplacingMergeTree PARTITION BY toDate(received)
ORDER BY (stream, cgroup, end, number)""",
        f"{_ONCE}, {_WHOLE}",
        "received",
    ),
    # Exact sums a minute: totals grow from the start of the program instance, so the greatest of a minute less the greatest
    # before it is what was forked in between, however often and in whatever order summaries came. `base_`: the total when the
    # minute's first interval began, for the first minute that is read. By cgroup, since its attribution may be known better
    # later.
    Table(
        "minute",
        f"""(
    stream LowCardinality(String), cgroup Int64, minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    {", ".join(f"total_{n} SimpleAggregateFunction(max, UInt64)" for n in _SUMS)},
    {", ".join(f"base_{n} SimpleAggregateFunction(min, UInt64)" for n in _SUMS)},
    received SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree PARTITION BY toDate(received) ORDER BY (stream, cgroup, minute)""",
        f"{_ONCE}, {_WHOLE}, allow_dimensions_outside_sorting_key = 1",
        "received",
    ),
    View(
        "minute_of",
        "minute",
        f"""SELECT stream, cgroup,
    toDateTime(intDiv(greatest(until, 1) - 1, 60000000000) * 60, 'UTC') AS minute,
    {", ".join(f"max(t_{n}) AS total_{n}, min(greatest(t_{n}, c_{n}) - c_{n}) AS base_{n}" for n in _SUMS)}, max(at) AS received
    FROM (SELECT stream, cgroup, end AS until, received AS at,
    {", ".join(f"total_{n} AS t_{n}, {n} AS c_{n}" for n in _SUMS)} FROM summary) GROUP BY stream, cgroup, minute""",
    ),
    # Ids that came again with other content, and a row with cpu -1 for those beyond what is listed of a stream. `times`: how
    # often; a batch that is sent again counts again. `first`, `last`: who sent the other content, and when.
    Table(
        "conflict",
        f"""(
    stream LowCardinality(String), cpu Int32, sequence UInt64, times SimpleAggregateFunction(sum, UInt64),
    first SimpleAggregateFunction(min, Tuple(received Int64, credential String, cluster String, node String)),
    last SimpleAggregateFunction(max, Tuple(received Int64, credential String, cluster String, node String)),
    seen SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree ORDER BY (stream, cpu, sequence)""",
        _ONCE,
        "seen",
    ),
    # Gaps as they were sent. `holder` -2: of no single cgroup; `owner` 0: of no pod; both: of a node as a whole. `source`: the
    # id without its number, which is how many are missing for this reason since the program instance began.
    Table(
        "gap",
        f"""(
    stream LowCardinality(String), id String, cluster LowCardinality(String), node LowCardinality(String), holder Int64,
    owner UInt64, namespace String, pod String, uid String, missing LowCardinality(String), reason LowCardinality(String),
    sink LowCardinality(String), source UInt64, amount UInt64, by_now UInt64, start Int64, end Int64, received {_NS}
) ENGINE = ReplacingMergeTree PARTITION BY toDate(received) ORDER BY (stream, id)""",
        f"{_ONCE}, {_WHOLE}",
        "received",
    ),
    # The sums of gaps, which outlive them: a hole is explained for as long as its stream is known.
    Table(
        "loss",
        f"""(
    stream LowCardinality(String), holder Int64, owner UInt64, missing LowCardinality(String), reason LowCardinality(String),
    sink LowCardinality(String), source UInt64, by_now SimpleAggregateFunction(max, UInt64),
    seen SimpleAggregateFunction(max, {_NS})
) ENGINE = AggregatingMergeTree ORDER BY (stream, holder, owner, missing, reason, sink, source)""",
        _ONCE,
        "seen",
    ),
    View(
        "loss_of",
        "loss",
        """SELECT stream, holder, owner, missing, reason, sink, source, max(n) AS by_now, max(received) AS seen
    FROM (SELECT *, greatest(by_now, amount) AS n FROM gap) GROUP BY stream, holder, owner, missing, reason, sink, source""",
    ),
    # Storms. A stop holds all that its start has. `cgroup` is the pod's own.
    Table(
        "storm",
        f"""(
    stream LowCardinality(String), cgroup Int64, number Int64,
    newest SimpleAggregateFunction(max, Tuple(is_over UInt8, end Int64, limit Int64, hold Int64, start Int64,
        counts {_COUNTS}, totals {_COUNTS})),
    whose SimpleAggregateFunction(max, Tuple(rank UInt8, owner UInt64, cluster String, node String, namespace String,
        pod String, uid String)), seen SimpleAggregateFunction(max, {_NS}), {STORM_REASON}
) ENGINE = AggregatingMergeTree ORDER BY (stream, cgroup, number)""",
        _ONCE,
        "seen",
    ),
)
EXPIRING: Final[dict[str, Literal["received", "seen"]]] = {
    one.name: one.expires for one in STATEMENTS if isinstance(one, Table) and one.expires
}
