-- forklore's tables, version 3, on a replicated, sharded ClickHouse cluster.
-- Made by `python -m dev.generate.store_sql`.
--
-- Here the cluster is called `forklore` (in ON CLUSTER and Distributed), and `retention` is 7d: its seconds, and twice as
-- many, with two minutes of grace, are in the TTLs. {shard} and {replica} are macros of each server's settings. Run it
-- once, from any server:
--     clickhouse-client --multiquery < cluster.sql

CREATE DATABASE IF NOT EXISTS forklore ON CLUSTER forklore;

CREATE TABLE IF NOT EXISTS forklore.version ON CLUSTER forklore (version UInt32, at DateTime DEFAULT now()) ENGINE = ReplicatedMergeTree('/clickhouse/tables/all/forklore/version', '{shard}-{replica}') ORDER BY version;

CREATE TABLE IF NOT EXISTS forklore.fork_local ON CLUSTER forklore (
    cluster LowCardinality(String), namespace LowCardinality(String), pod LowCardinality(String),
    time DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    stream LowCardinality(String), cpu UInt16 CODEC(ZSTD(1)), sequence UInt64 CODEC(Delta, ZSTD(1)),
    received DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)), node LowCardinality(String),
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
) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/forklore/fork', '{replica}') PARTITION BY toStartOfInterval(received, toIntervalHour(4))
ORDER BY (cluster, namespace, pod, time, stream, cpu, sequence) TTL toDateTime(received) + toIntervalSecond(604920) SETTINGS replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, index_granularity = 2048, min_age_to_force_merge_seconds = 1800, min_age_to_force_merge_on_partition_only = 1;

CREATE TABLE IF NOT EXISTS forklore.fork ON CLUSTER forklore AS forklore.fork_local
ENGINE = Distributed(forklore, forklore, fork_local, cityHash64(stream));

CREATE TABLE IF NOT EXISTS forklore.subject ON CLUSTER forklore (
    id UInt64, seen DateTime64(9, 'UTC'), workload_kind LowCardinality(String), workload LowCardinality(String), labels Map(String, String),
    container String, body String CODEC(ZSTD(3))
) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/all/forklore/subject', '{shard}-{replica}', seen) ORDER BY id TTL toDateTime(seen) + toIntervalSecond(1209720) SETTINGS replicated_deduplication_window = 10000, index_granularity = 128;

CREATE TABLE IF NOT EXISTS forklore.holder_local ON CLUSTER forklore (
    stream LowCardinality(String), cgroup Int64,
    whose SimpleAggregateFunction(max, Tuple(rank UInt8, said Int64, owner UInt64, cluster String, node String,
        namespace String, pod String, uid String, subject UInt64)),
    newest SimpleAggregateFunction(max, Tuple(period Int64, sum Int64, end Int64, number Int64, start Int64,
        received Int64, counts Array(UInt64) /* processes, threads, emitted, filtered, suppressed, lost, entered */, totals Array(UInt64) /* processes, threads, emitted, filtered, suppressed, lost, entered */)),
    first_seen SimpleAggregateFunction(min, Int64), last_seen SimpleAggregateFunction(max, Int64),
    seen SimpleAggregateFunction(max, DateTime64(9, 'UTC'))
) ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/forklore/holder', '{replica}') ORDER BY (stream, cgroup) TTL toDateTime(seen) + toIntervalSecond(1209720) SETTINGS replicated_deduplication_window = 10000, index_granularity = 256;

CREATE TABLE IF NOT EXISTS forklore.holder ON CLUSTER forklore AS forklore.holder_local
ENGINE = Distributed(forklore, forklore, holder_local, cityHash64(stream));

CREATE TABLE IF NOT EXISTS forklore.made_local ON CLUSTER forklore (
    stream LowCardinality(String), cgroup Int64, kind LowCardinality(String), comm LowCardinality(Nullable(String)),
    numbers AggregateFunction(groupBitmap, UInt64), seen SimpleAggregateFunction(max, DateTime64(9, 'UTC'))
) ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/forklore/made', '{replica}') ORDER BY (stream, cgroup, kind, comm) TTL toDateTime(seen) + toIntervalSecond(1209720) SETTINGS allow_nullable_key = 1, replicated_deduplication_window = 10000, index_granularity = 4, min_compress_block_size = 4096, max_compress_block_size = 65536, min_age_to_force_merge_seconds = 900;

CREATE TABLE IF NOT EXISTS forklore.made ON CLUSTER forklore AS forklore.made_local
ENGINE = Distributed(forklore, forklore, made_local, cityHash64(stream));

CREATE TABLE IF NOT EXISTS forklore.made_in_local ON CLUSTER forklore (stream LowCardinality(String), cgroup Int64, kind LowCardinality(String),
    comm LowCardinality(Nullable(String)), numbers Array(UInt64), seen DateTime64(9, 'UTC')) ENGINE = Null;

CREATE TABLE IF NOT EXISTS forklore.made_in ON CLUSTER forklore AS forklore.made_in_local
ENGINE = Distributed(forklore, forklore, made_in_local, cityHash64(stream));

CREATE MATERIALIZED VIEW IF NOT EXISTS forklore.made_of ON CLUSTER forklore TO forklore.made_local AS
    SELECT stream, cgroup, kind, comm, groupBitmapState(number) AS numbers, max(at) AS seen
    FROM (SELECT stream, cgroup, kind, comm, arrayJoin(numbers) AS number, seen AS at FROM forklore.made_in_local)
    GROUP BY stream, cgroup, kind, comm;

CREATE TABLE IF NOT EXISTS forklore.came_local ON CLUSTER forklore (
    stream LowCardinality(String), cpu Int32, lane String, block UInt64, numbers AggregateFunction(groupBitmap, UInt16),
    seen SimpleAggregateFunction(max, DateTime64(9, 'UTC'))
) ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/forklore/came', '{replica}') ORDER BY (stream, cpu, lane, block) TTL toDateTime(seen) + toIntervalSecond(1209720) SETTINGS replicated_deduplication_window = 10000, index_granularity = 128;

CREATE TABLE IF NOT EXISTS forklore.came ON CLUSTER forklore AS forklore.came_local
ENGINE = Distributed(forklore, forklore, came_local, cityHash64(stream));

CREATE TABLE IF NOT EXISTS forklore.came_in_local ON CLUSTER forklore (stream LowCardinality(String), cpu Int32, lane String, first UInt64, last UInt64,
    seen DateTime64(9, 'UTC')) ENGINE = Null;

CREATE TABLE IF NOT EXISTS forklore.came_in ON CLUSTER forklore AS forklore.came_in_local
ENGINE = Distributed(forklore, forklore, came_in_local, cityHash64(stream));

CREATE MATERIALIZED VIEW IF NOT EXISTS forklore.came_of ON CLUSTER forklore TO forklore.came_local AS
    SELECT stream, cpu, lane, bitShiftRight(number, 16) AS block,
    groupBitmapState(toUInt16(bitAnd(number, 65535))) AS numbers,
    max(at) AS seen FROM (SELECT stream, cpu, lane, seen AS at, arrayJoin(range(first, last + 1)) AS number FROM forklore.came_in_local)
    GROUP BY stream, cpu, lane, block;

CREATE TABLE IF NOT EXISTS forklore.stream_local ON CLUSTER forklore (
    stream LowCardinality(String),
    newest SimpleAggregateFunction(max, Tuple(period Int64, captured Int64, end Int64, number Int64, start Int64,
        received Int64, cluster String, node String, heads Array(Tuple(cpu UInt32, given UInt64)), body String)),
    whose SimpleAggregateFunction(min, Tuple(received Int64, cluster String, node String)),
    bound SimpleAggregateFunction(min, Tuple(by UInt8, received Int64, cluster String, node String)),
    said SimpleAggregateFunction(max, Tuple(received Int64, sink String)),
    only SimpleAggregateFunction(min, Tuple(received Int64, sink String)),
    before SimpleAggregateFunction(min, Tuple(received Int64, forks UInt64)), seen SimpleAggregateFunction(max, DateTime64(9, 'UTC'))
) ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/forklore/stream', '{replica}') ORDER BY stream TTL toDateTime(seen) + toIntervalSecond(1209720) SETTINGS replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS forklore.stream ON CLUSTER forklore AS forklore.stream_local
ENGINE = Distributed(forklore, forklore, stream_local, cityHash64(stream));

CREATE TABLE IF NOT EXISTS forklore.summary_local ON CLUSTER forklore (
    stream LowCardinality(String), cgroup Int64, start Int64 CODEC(Delta, ZSTD(1)), end Int64 CODEC(Delta, ZSTD(1)),
    number Int64 CODEC(Delta, ZSTD(1)), received DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    processes UInt64 CODEC(ZSTD(1)), total_processes UInt64 CODEC(Delta, ZSTD(1)), threads UInt64 CODEC(ZSTD(1)), total_threads UInt64 CODEC(Delta, ZSTD(1)), suppressed UInt64 CODEC(ZSTD(1)), total_suppressed UInt64 CODEC(Delta, ZSTD(1)), lost UInt64 CODEC(ZSTD(1)), total_lost UInt64 CODEC(Delta, ZSTD(1))
) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/forklore/summary', '{replica}') PARTITION BY toDate(received)
ORDER BY (stream, cgroup, end, number) TTL toDateTime(received) + toIntervalSecond(604920) SETTINGS replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS forklore.summary ON CLUSTER forklore AS forklore.summary_local
ENGINE = Distributed(forklore, forklore, summary_local, cityHash64(stream));

CREATE TABLE IF NOT EXISTS forklore.minute_local ON CLUSTER forklore (
    stream LowCardinality(String), cgroup Int64, minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    total_processes SimpleAggregateFunction(max, UInt64), total_threads SimpleAggregateFunction(max, UInt64), total_suppressed SimpleAggregateFunction(max, UInt64), total_lost SimpleAggregateFunction(max, UInt64),
    base_processes SimpleAggregateFunction(min, UInt64), base_threads SimpleAggregateFunction(min, UInt64), base_suppressed SimpleAggregateFunction(min, UInt64), base_lost SimpleAggregateFunction(min, UInt64),
    received SimpleAggregateFunction(max, DateTime64(9, 'UTC'))
) ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/forklore/minute', '{replica}') PARTITION BY toDate(received) ORDER BY (stream, cgroup, minute) TTL toDateTime(received) + toIntervalSecond(604920) SETTINGS replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, allow_dimensions_outside_sorting_key = 1;

CREATE TABLE IF NOT EXISTS forklore.minute ON CLUSTER forklore AS forklore.minute_local
ENGINE = Distributed(forklore, forklore, minute_local, cityHash64(stream));

CREATE MATERIALIZED VIEW IF NOT EXISTS forklore.minute_of ON CLUSTER forklore TO forklore.minute_local AS
    SELECT stream, cgroup,
    toDateTime(intDiv(greatest(until, 1) - 1, 60000000000) * 60, 'UTC') AS minute,
    max(t_processes) AS total_processes, min(greatest(t_processes, c_processes) - c_processes) AS base_processes, max(t_threads) AS total_threads, min(greatest(t_threads, c_threads) - c_threads) AS base_threads, max(t_suppressed) AS total_suppressed, min(greatest(t_suppressed, c_suppressed) - c_suppressed) AS base_suppressed, max(t_lost) AS total_lost, min(greatest(t_lost, c_lost) - c_lost) AS base_lost, max(at) AS received
    FROM (SELECT stream, cgroup, end AS until, received AS at,
    total_processes AS t_processes, processes AS c_processes, total_threads AS t_threads, threads AS c_threads, total_suppressed AS t_suppressed, suppressed AS c_suppressed, total_lost AS t_lost, lost AS c_lost FROM forklore.summary_local) GROUP BY stream, cgroup, minute;

CREATE TABLE IF NOT EXISTS forklore.conflict_local ON CLUSTER forklore (
    stream LowCardinality(String), cpu Int32, sequence UInt64, times SimpleAggregateFunction(sum, UInt64),
    first SimpleAggregateFunction(min, Tuple(received Int64, credential String, cluster String, node String)),
    last SimpleAggregateFunction(max, Tuple(received Int64, credential String, cluster String, node String)),
    seen SimpleAggregateFunction(max, DateTime64(9, 'UTC'))
) ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/forklore/conflict', '{replica}') ORDER BY (stream, cpu, sequence) TTL toDateTime(seen) + toIntervalSecond(1209720) SETTINGS replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS forklore.conflict ON CLUSTER forklore AS forklore.conflict_local
ENGINE = Distributed(forklore, forklore, conflict_local, cityHash64(stream));

CREATE TABLE IF NOT EXISTS forklore.gap_local ON CLUSTER forklore (
    stream LowCardinality(String), id String, cluster LowCardinality(String), node LowCardinality(String), holder Int64,
    owner UInt64, namespace String, pod String, uid String, missing LowCardinality(String), reason LowCardinality(String),
    sink LowCardinality(String), source UInt64, amount UInt64, by_now UInt64, start Int64, end Int64, received DateTime64(9, 'UTC')
) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/forklore/gap', '{replica}') PARTITION BY toDate(received) ORDER BY (stream, id) TTL toDateTime(received) + toIntervalSecond(604920) SETTINGS replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS forklore.gap ON CLUSTER forklore AS forklore.gap_local
ENGINE = Distributed(forklore, forklore, gap_local, cityHash64(stream));

CREATE TABLE IF NOT EXISTS forklore.loss_local ON CLUSTER forklore (
    stream LowCardinality(String), holder Int64, owner UInt64, missing LowCardinality(String), reason LowCardinality(String),
    sink LowCardinality(String), source UInt64, by_now SimpleAggregateFunction(max, UInt64),
    seen SimpleAggregateFunction(max, DateTime64(9, 'UTC'))
) ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/forklore/loss', '{replica}') ORDER BY (stream, holder, owner, missing, reason, sink, source) TTL toDateTime(seen) + toIntervalSecond(1209720) SETTINGS replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS forklore.loss ON CLUSTER forklore AS forklore.loss_local
ENGINE = Distributed(forklore, forklore, loss_local, cityHash64(stream));

CREATE MATERIALIZED VIEW IF NOT EXISTS forklore.loss_of ON CLUSTER forklore TO forklore.loss_local AS
    SELECT stream, holder, owner, missing, reason, sink, source, max(n) AS by_now, max(received) AS seen
    FROM (SELECT *, greatest(by_now, amount) AS n FROM forklore.gap_local) GROUP BY stream, holder, owner, missing, reason, sink, source;

CREATE TABLE IF NOT EXISTS forklore.storm_local ON CLUSTER forklore (
    stream LowCardinality(String), cgroup Int64, number Int64,
    newest SimpleAggregateFunction(max, Tuple(is_over UInt8, end Int64, limit Int64, hold Int64, start Int64,
        counts Array(UInt64) /* processes, threads, emitted, filtered, suppressed, lost, entered */, totals Array(UInt64) /* processes, threads, emitted, filtered, suppressed, lost, entered */)),
    whose SimpleAggregateFunction(max, Tuple(rank UInt8, owner UInt64, cluster String, node String, namespace String,
        pod String, uid String)), seen SimpleAggregateFunction(max, DateTime64(9, 'UTC')), reason SimpleAggregateFunction(max, String)
) ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/forklore/storm', '{replica}') ORDER BY (stream, cgroup, number) TTL toDateTime(seen) + toIntervalSecond(1209720) SETTINGS replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS forklore.storm ON CLUSTER forklore AS forklore.storm_local
ENGINE = Distributed(forklore, forklore, storm_local, cityHash64(stream));

INSERT INTO forklore.version (version) VALUES (3);
