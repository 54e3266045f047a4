"""A store of an older version becomes one of this version, whatever it is cut off at, and nothing of it is lost."""

import pytest

from collector.model import Filter, ForkQuery, Span
from collector.query import StoreReader
from collector.store import Store
from collector.store.engine import Engine
from collector.store.migrations import WrongDatabase, migrate
from collector.store.newest import NEVER
from collector.store.tables import EXPIRING, VERSION
from tests.collector.conftest import empty_store, lines_of

pytestmark = pytest.mark.slow

WEEK = 604800
ALWAYS = Span(0, NEVER)
_WHO = "LowCardinality(String), cgroup Int64, kind LowCardinality(String), comm LowCardinality(Nullable(String)), cpu UInt16"
_MAX = "SimpleAggregateFunction(max, DateTime64(9, 'UTC'))"
# Versions 1 and 2 as far as they differ, each table with the statement that copies today's rows into it.
_ATTRIBUTION = (
    "Tuple(rank UInt8, said Int64, owner UInt64, cluster String, node String, namespace String, pod String, uid String, "
    "subject UInt64)"
)
_NODE = "Tuple(received Int64, cluster String, node String)"
SECOND = {
    "holder": (
        f"(stream LowCardinality(String), cgroup Int64, whose SimpleAggregateFunction(max, {_ATTRIBUTION}), newest "
        "SimpleAggregateFunction(max, Tuple(sum Int64, end Int64, number Int64, start Int64, received Int64, counts "
        "Array(UInt64), totals Array(UInt64))), first_seen SimpleAggregateFunction(min, Int64), last_seen "
        f"SimpleAggregateFunction(max, Int64), seen {_MAX}) ENGINE = AggregatingMergeTree ORDER BY (stream, cgroup)",
        "SELECT stream, cgroup, whose, tuple(newest.sum, newest.end, newest.number, newest.start, newest.received, "
        "newest.counts, newest.totals), first_seen, last_seen, seen FROM holder_now",
    ),
    "stream": (
        "(stream LowCardinality(String), newest SimpleAggregateFunction(max, Tuple(captured Int64, end Int64, number Int64, "
        "start Int64, received Int64, cluster String, node String, body String)), heads SimpleAggregateFunction(maxMap, "
        f"Map(UInt32, UInt64)), whose SimpleAggregateFunction(min, {_NODE}), said SimpleAggregateFunction(max, Tuple(received "
        "Int64, sink String)), only SimpleAggregateFunction(min, Tuple(received Int64, sink String)), before "
        f"SimpleAggregateFunction(min, Tuple(received Int64, forks UInt64)), seen {_MAX}) "
        "ENGINE = AggregatingMergeTree ORDER BY stream",
        "SELECT stream, tuple(newest.captured, newest.end, newest.number, newest.start, newest.received, newest.cluster, "
        "newest.node, newest.body), CAST(newest.heads AS Map(UInt32, UInt64)), whose, said, only, before, seen FROM stream_now",
    ),
}
FIRST = SECOND | {
    "fork": ("AS fork_now ENGINE = ReplacingMergeTree PARTITION BY toDate(received) "
             "ORDER BY (cluster, namespace, pod, time, stream, cpu, sequence)", "SELECT * FROM fork_now"),
    "subject": ("AS subject_now ENGINE = ReplacingMergeTree(seen) ORDER BY id", "SELECT * FROM subject_now"),
    "came": ("AS came_now ENGINE = AggregatingMergeTree ORDER BY (stream, cpu, lane, block)", "SELECT * FROM came_now"),
    "made": (
        f"(stream {_WHO}, numbers AggregateFunction(groupBitmap, UInt64), seen {_MAX}) ENGINE = AggregatingMergeTree "
        "ORDER BY (stream, cgroup, kind, comm, cpu) SETTINGS allow_nullable_key = 1",
        "SELECT stream, cgroup, kind, comm, bitAnd(bitShiftRight(n, 16), 8191) AS cpu, groupBitmapState(bitOr("
        "bitShiftLeft(bitShiftRight(n, 29), 16), bitAnd(n, 65535))), max(at) FROM (SELECT stream, cgroup, kind, comm, "
        "arrayJoin(bitmapToArray(numbers)) AS n, seen AS at FROM made_now) GROUP BY stream, cgroup, kind, comm, cpu",
    ),
}  # fmt: skip
GONE = ("made_of", "came_of", "made_in")


def made_older(dsn, version=1):
    engine = Engine.open(dsn)
    say = engine.writer.command
    for name in GONE if version == 1 else ():
        say(f"DROP TABLE {name}")
    say("DROP TABLE conflict")
    say("ALTER TABLE storm DROP COLUMN reason")
    if version == 2:
        say("ALTER TABLE fork DROP INDEX by_stream")
        say("ALTER TABLE fork DROP INDEX by_sequence")
    for table, (shape, rows) in (FIRST if version == 1 else SECOND).items():
        say(f"RENAME TABLE {table} TO {table}_now")
        say(f"CREATE TABLE {table} {shape}")
        say(f"INSERT INTO {table} {rows}")
        say(f"DROP TABLE {table}_now")
    if version == 1:
        make_first_views(say)
    say("TRUNCATE TABLE version")
    engine.writer.insert("version", [[version]], column_names=["version"])
    engine.close()


def make_first_views(say):
    say(f"CREATE TABLE made_in (stream {_WHO}, numbers Array(UInt64), seen DateTime64(9, 'UTC')) ENGINE = Null")
    say("CREATE MATERIALIZED VIEW made_of TO made AS SELECT stream, cgroup, kind, comm, cpu, groupBitmapState(number) "
        "AS numbers, max(at) AS seen FROM (SELECT stream, cgroup, kind, comm, cpu, arrayJoin(numbers) AS number, "
        "seen AS at FROM made_in) GROUP BY stream, cgroup, kind, comm, cpu")  # fmt: skip


def shapes(dsn):
    """The statements that made the tables, by name."""
    engine = Engine.open(dsn)
    question = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
    found = dict(engine.reader.query(question).result_rows)
    engine.close()
    return found


async def everything(dsn):
    store = Store.open(dsn)
    try:
        snapshot = await StoreReader(store).pods(100)
        whole = [await StoreReader(store).pod(pod.namespace, pod.name, 1000) for pod in snapshot.pods]
        found = await StoreReader(store).search(ForkQuery(Filter(), ALWAYS), 1000)
        return snapshot, whole, found, await StoreReader(store).ledger()
    finally:
        store.close()


@pytest.fixture
async def filled(make, tmp_path):
    """A store with pods on several CPUs, a block's edge, a hole, a host, a storm and a gap; filed twice."""
    dsn = empty_store(tmp_path / "store")
    store = Store.open(dsn)
    numbers = [*range(30), *range(65530, 65560), 600_000]
    events = [make.fork(n, cpu=cpu, pod=f"web-{cpu % 3}", cgroup=cpu % 3 + 1) for cpu in (0, 1, 17, 200) for n in numbers]
    events += [make.host(make.fork(n, cpu=5)) for n in range(4)]
    events += [
        make.summary(1, 300, pod="web-0", cgroup=1),
        make.node(1, heads={0: 65600, 1: 65560, 17: 600_001}),
        make.gap(4, 4),
        make.storm(1, "stop", start=make.now - 9 * 10**9, end=make.now - 10**9, processes=2500, pod="web-0"),
    ]
    for _ in range(2):
        await store.insert(lines_of(*events))
    store.close()
    return dsn, events


class Dies:
    """A client whose process dies with the command after so many."""

    def __init__(self, client, commands):
        self._client, self._left = client, commands

    def __getattr__(self, name):
        return getattr(self._client, name)

    def command(self, *words, **named):
        if not self._left:
            raise InterruptedError
        self._left -= 1
        return self._client.command(*words, **named)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_migrated_store_of_an_older_version_holds_the_same(version, filled, tmp_path):
    dsn, events = filled
    before = await everything(dsn)
    assert sum(counter_source.stored for counter_source in before[0].counter_sources) == 4 * 61 + 4
    made_older(dsn, version)
    assert shapes(dsn) != shapes(empty_store(tmp_path / "new"))
    assert await everything(dsn) == before
    assert shapes(dsn) == shapes(empty_store(tmp_path / "newer"))
    # No cache has their ids: they are inserted again, and still are the same forks.
    engine = Engine.open(dsn)
    engine.writer.command("TRUNCATE TABLE came")
    engine.close()
    store = Store.open(dsn)
    assert (await store.insert(lines_of(*events))).accepted == len(events)
    again = await StoreReader(store).pods(100)
    store.close()
    assert [(one.id, one.stored) for one in again.counter_sources] == [
        (one.id, one.stored) for one in before[0].counter_sources
    ]
    assert sorted(again.parents) == sorted(before[0].parents)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_migration_can_be_cut_off_anywhere_and_begun_again(version, filled, tmp_path):
    dsn, _ = filled
    before = await everything(dsn)
    made_older(dsn, version)
    engine = Engine.open(dsn)
    cut = 0
    while True:
        try:
            migrate(Dies(engine.writer, cut), WEEK)
            break
        except InterruptedError:
            cut += 1
    engine.close()
    assert cut > len(EXPIRING) + 2 * len(FIRST if version == 1 else SECOND)
    assert await everything(dsn) == before
    assert shapes(dsn) == shapes(empty_store(tmp_path / "new"))


class OfACluster:
    """A client of a database whose tables, as it reports, are spread over a cluster."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        return getattr(self._client, name)

    def query(self, question):
        if "engine FROM system.tables" in question:
            question = question.replace("engine", "if(name = 'fork', 'Distributed', engine)")
        return self._client.query(question)


def test_the_tables_of_a_cluster_are_not_migrated(tmp_path):
    dsn = empty_store(tmp_path / "store")
    made_older(dsn)
    before = shapes(dsn)
    engine = Engine.open(dsn)
    with pytest.raises(
        WrongDatabase, match=f"a cluster's tables of version 1: make those of version {VERSION}, see docs/store"
    ):
        migrate(OfACluster(engine.writer), WEEK)
    engine.close()
    assert shapes(dsn) == before


async def test_what_an_older_store_keeps_of_the_future_is_gone_after_the_migration(make, tmp_path):
    dsn = empty_store(tmp_path / "store")
    pinned = 9_214_646_400 * 10**9  # in 2262
    store = Store.open(dsn)
    most = 2**50
    await store.insert(lines_of(make.summary(1, most, end=pinned), make.node(1, heads={0: most}, end=pinned, captured=most)))
    store.close()
    made_older(dsn, 2)
    store = Store.open(dsn)
    try:
        forks = [make.fork(n) for n in range(7)]
        await store.insert(lines_of(*forks, make.summary(2, 7), make.node(2, heads={0: 7}, delivered=7)))
        snapshot = await StoreReader(store).pods(100)
    finally:
        store.close()
    (source,) = snapshot.counter_sources
    assert source.totals.processes == 7
    assert snapshot.ledger.streams[0].given == 7
    assert max(source.last_seen, snapshot.pods[0].last_seen) < pinned
