"""Reads of the store beside the list of pods: history, search, received forks."""

import asyncio
import random
from bisect import bisect_left

import orjson
import pytest

from collector.ingest.lines import check_lines
from collector.model import Filter, ForkQuery, Span
from collector.query import StoreReader
from collector.query.forks.latest import latest_forks
from collector.query.forks.received import received_since
from collector.query.forks.search import search
from collector.query.history.lineage import lineage
from collector.query.history.pairs import pairs
from collector.query.ledger.ledger import read_ledger
from collector.query.pods.counter_sources import attributions_of
from collector.query.pods.find import find_pods
from collector.store import Store
from collector.store.row_ids import pod_keys
from tests.collector.conftest import SECOND, empty_store, lines_of, opened_store

pytestmark = pytest.mark.slow

ALWAYS = Span(0, 2**63 - 1)
EVIL = "'; DROP TABLE fork; --\\\"{x:String}\u202e%s"


@pytest.fixture
async def store(tmp_path):
    opened = Store.open(empty_store(tmp_path / "store"))
    yield opened
    opened.close()


async def file(store, *events, sink=None):
    return await store.insert(lines_of(*events), sink)


async def the_pod(store):
    (pod,) = (await StoreReader(store).pods(10)).pods
    return pod.id


def family(make, sequence, entity, parent, comm, **rest):
    event = make.fork(sequence, comm=comm, **rest)
    return event | {"process_entity_id": f"{entity:016x}", "parent_entity_id": f"{parent:016x}"}


async def test_a_timeline_is_exact_when_summaries_are_repeated_late_or_lost(store, make):
    minute = make.now // (60 * SECOND) * 60 * SECOND - 3600 * SECOND
    summaries = [
        make.summary(n, 100 + 10 * n, now=10, end=minute + n * 10 * SECOND, threads=n, suppressed=3) for n in range(1, 31)
    ]
    lost = {4, 5, 12}  # of the first minute, and the last of the second
    sent = [one for n, one in enumerate(summaries) if n not in lost]
    for one in random.sample(sent * 2, len(sent) * 2):
        await file(store, one)
    pod, span = await the_pod(store), Span(minute, minute + 300 * SECOND)
    by_minute = await StoreReader(store).timeline(pod, span, 60 * SECOND)
    assert sum(row.processes for row in by_minute) == 300
    # What a lost summary had is in the next one.
    assert [(row.start - minute) // SECOND for row in by_minute] == [0, 60, 120, 180, 240]
    assert [row.processes for row in by_minute] == [40, 80, 60, 60, 60]
    by_ten = await StoreReader(store).timeline(pod, span, 10 * SECOND)
    assert sum(row.processes for row in by_ten) == 300
    assert [row.name for row in by_ten] == ["app"] * 27
    later = await StoreReader(store).timeline(pod, Span(minute + 120 * SECOND, minute + 180 * SECOND), 60 * SECOND)
    assert [row.processes for row in later] == [60]


async def test_counts_are_added_up_by_container_over_program_instances(store, make):
    minute = make.now // (60 * SECOND) * 60 * SECOND
    second = make.stream[:-1] + "9"
    await file(
        store,
        make.summary(1, 7, cgroup=1, container="app", end=minute + SECOND),
        make.summary(1, 5, cgroup=1, container="app", end=minute + 2 * SECOND, stream=second),
        make.summary(1, 2, cgroup=2, container="proxy", end=minute + SECOND),
    )
    rows = await StoreReader(store).timeline(await the_pod(store), Span(minute, minute + 60 * SECOND), 60 * SECOND)
    assert {row.name: row.processes for row in rows} == {"app": 12, "proxy": 2}


async def test_pairs_have_the_childs_comm_when_it_first_forked(store, make):
    events = [family(make, 0, 10, 1, "init"), family(make, 1, 20, 10, "sh"), family(make, 2, 30, 20, "make")]
    events += [family(make, n, 40 + n, 30, "cc1") for n in range(3, 8)]
    await file(store, *events)
    await file(store, *events)
    pairs = await StoreReader(store).pairs(await the_pod(store), ALWAYS, 10)
    assert [(pair.parent, pair.child, pair.forks) for pair in pairs] == [
        ("cc1", None, 5),
        ("make", "cc1", 1),
        ("sh", "make", 1),
        ("init", "sh", 1),
    ]
    assert len(await StoreReader(store).pairs(await the_pod(store), ALWAYS, 2)) == 2
    tasks = await StoreReader(store).lineage(await the_pod(store), ALWAYS, 3)
    assert [(int(task.entity, 16), int(task.parent, 16)) for task in tasks] == [(47, 30), (46, 30), (45, 30)]


@pytest.fixture
async def many(store, make):
    own = {"labels": {"app": "web", "odd": EVIL}, "workload": {"kind": "StatefulSet", "name": "web"}}
    others = [make.fork(n, cpu=1, pod="web-0", namespace="team", cgroup=9, node="node2", comm=EVIL) for n in range(20)]
    for event in others:
        event["k8s"] |= own
    events = [make.fork(n, pid=7000 + n) for n in range(50)] + others + [make.host(make.fork(n, cpu=2)) for n in range(7)]
    await file(store, *events)
    return events


@pytest.mark.parametrize(
    ("pod_filter", "found"),
    [
        ({}, 77), ({"cluster": "demo"}, 77), ({"cluster": "other"}, 0), ({"namespace": "team"}, 20),
        ({"node": "node2"}, 20), ({"pod": "cart-1"}, 50), ({"pod_uid": "uid-of-web-0"}, 20), ({"workload": "web"}, 20),
        ({"workload": "StatefulSet/web"}, 20), ({"workload": "Deployment/web"}, 0), ({"labels": (("app", "web"),)}, 20),
        ({"labels": (("app", "web"), ("odd", EVIL))}, 20), ({"labels": (("none", ""),)}, 0), ({"text": "CART-"}, 50),
        ({"text": "proxy"}, 0), ({"text": "app"}, 70), ({"text": EVIL}, 0),
        ({"namespace": EVIL, "pod": EVIL, "workload": f"{EVIL}/{EVIL}", "labels": ((EVIL, EVIL),)}, 0),
    ],
)  # fmt: skip
async def test_forks_and_pods_are_found_by_their_attribution(store, many, pod_filter, found):
    pod_filter = Filter(**pod_filter)
    assert len(await StoreReader(store).search(ForkQuery(pod_filter, ALWAYS), 100)) == found
    assert len((await StoreReader(store).received_since(pod_filter, 0, 1000))[0]) == found
    pods = (await StoreReader(store).pods(10, pod_filter)).pods
    assert len(pods) == {77: 2, 70: 2, 50: 1, 20: 1, 0: 0}[found]


@pytest.mark.parametrize(
    ("fork_query", "found"),
    [
        ({"comm": EVIL}, 20), ({"parent_comm": "sh"}, 57), ({"kind": "thread"}, 0), ({"pid": 7049}, 1), ({"pid": 2**40}, 0),
        ({"entity": "44745a63f5162050"}, 77), ({"entity": "f" * 16}, 0), ({"comm": "sh", "kind": "process", "pid": 6039}, 57),
    ],
)  # fmt: skip
async def test_forks_are_found_by_their_own_fields(store, many, fork_query, found):
    assert len(await StoreReader(store).search(ForkQuery(Filter(), ALWAYS, **fork_query), 100)) == found


async def test_the_pages_of_a_search_have_each_fork_once_and_newest_first(store, make, many):
    old = [make.fork(n, cpu=5, at=make.now - n * 86400 * SECOND) for n in range(1, 6)]
    same = [make.fork(n, cpu=6, at=make.now) for n in range(9)]
    await file(store, *old, *same)
    found, after = [], None
    while page := await StoreReader(store).search(ForkQuery(Filter(), Span(0, make.now + 100 * SECOND)), 7, after):
        found += page
        after = page[-1].place
    assert [fork.place for fork in found] == sorted({fork.place for fork in found}, reverse=True)
    by_id = {event["id"]: event for event in many + old + same}
    assert {fork.body["id"]: fork.body for fork in found} == by_id


async def test_received_forks_are_read_once_and_completely(store, make):
    read, since = [], 0
    for number in range(6):
        await file(store, *(make.fork(n, cpu=number) for n in range(130)))
        await file(store, *(make.fork(n, cpu=number) for n in range(100)))  # again
        while True:
            some, since = await StoreReader(store).received_since(Filter(), since, 100)
            read += [fork.body["id"] for fork in some]
            if not some:
                break
    assert sorted(read) == sorted(f"{make.stream}.{cpu}.{n}" for cpu in range(6) for n in range(130))


async def test_a_fork_is_found_by_the_later_attribution_of_its_cgroup(store, make):
    nameless = make.unresolved(make.fork(1))
    nameless["k8s"]["pod_uid"] = None
    await file(store, nameless, make.unresolved(make.fork(2)))
    assert await StoreReader(store).search(ForkQuery(Filter(pod="cart-1"), ALWAYS), 9) == []
    await file(store, make.fork(3))
    assert [fork.place.sequence for fork in await StoreReader(store).search(ForkQuery(Filter(pod="cart-1"), ALWAYS), 9)] == [
        3,
        2,
        1,
    ]
    assert len(await StoreReader(store).lineage(await the_pod(store), ALWAYS, 9)) == 3


async def test_forks_of_a_static_pod_that_came_without_a_name_are_shown_under_it_when_its_summary_names_it(store, make):
    """On its node it has another uid than its mirror in the API, and the API was away."""
    api_uid, path_uid = "cc130f85-0000-4000-8000-000000000000", "21fdd1a722e0fcb32d3c6f8bb5bcd5ad"
    forks = [make.unresolved(make.fork(n, uid=path_uid, container=None)) for n in (1, 2)]
    early = make.unresolved(make.summary(1, 2, uid=path_uid, container=None))
    await file(store, *forks, early)
    assert [(pod.name, pod.uid) for pod in (await StoreReader(store).pods(9)).pods] == [(None, path_uid)]
    await file(store, make.summary(2, 2, now=0, uid=api_uid, pod="etcd-node1", container="etcd"))
    reader = StoreReader(store)
    assert [(pod.name, pod.uid) for pod in (await reader.pods(9)).pods] == [("etcd-node1", api_uid)]
    for chosen in (Filter(pod="etcd-node1"), Filter(pod_uid=api_uid)):
        found = await reader.search(ForkQuery(chosen, ALWAYS), 9)
        assert sorted(fork.place.sequence for fork in found) == [1, 2]
    assert len(await reader.lineage(await the_pod(store), ALWAYS, 9)) == 2


def test_forks_that_two_collectors_inserted_are_found_once_whatever_the_limit(make):
    forks = [make.fork(n, cpu=n % 3, at=make.now + n // 4) for n in range(60)]
    ids = [f"{fork['id']}" for fork in sorted(forks, key=lambda one: (one["timestamp"], int(one["id"].split(".")[2])))]
    with opened_store(writers=3) as (*collectors, context):
        # Each knows the stream before the others had any of these, and inserts something else beside them.
        context.client.command("SYSTEM STOP MERGES fork")  # of which one would make them one
        for number in (0, 1):
            for place, collector in enumerate(collectors):
                own = make.fork(place + 10 * number, cpu=9, pod="other", cgroup=9, at=make.now - 10**9)
                collector.insert([(lines_of(own, *(forks if number else [])), None)], make.now)
        assert context.client.query("SELECT count() FROM fork WHERE cpu != 9").result_rows == [(180,)]
        found, _ = find_pods(context, Filter(pod="cart-1"), 10)
        mine = attributions_of(context, found[0].id)
        keys = pod_keys(found, mine)
        for limit in (1, 7, 59, 60, 61, 200):
            newest = ids[::-1][:limit]
            fork_query = ForkQuery(Filter(pod="cart-1"), ALWAYS)
            assert [one.body["id"] for one in search(context, fork_query, limit, None)] == newest
            assert [one["id"] for one in latest_forks(context, list(mine), keys, limit)] == newest
            assert len(search(context, fork_query._replace(entity="44745a63f5162050"), limit, None)) == min(limit, 60)
            assert len(lineage(context, mine, keys, ALWAYS, limit)) == min(limit, 60)
        read, _ = received_since(context, Filter(pod="cart-1"), 0, 1000)
        assert sorted(one.body["id"] for one in read) == sorted(ids)
        assert sum(pair.forks for pair in pairs(context, mine, keys, ALWAYS, 10)) == 60
        context.client.command("SYSTEM START MERGES fork")


async def test_a_former_attribution_of_a_cgroup_does_not_count_for_that_pod(store, make):
    store._engine.writer.command("SYSTEM STOP MERGES")  # of which one would forget the first word
    await file(
        store, make.fork(1, pod="old", cgroup=5), make.summary(1, 9, pod="old", cgroup=5), make.fork(2, pod="old", cgroup=6)
    )
    await file(store, make.fork(3, pod="new", cgroup=5, at=make.now + SECOND), make.summary(2, 19, pod="new", cgroup=5))
    for name, forks in (("old", [1]), ("new", [2])):
        found = await StoreReader(store).pods(10, Filter(pod=name))
        assert [counter_source.stored for counter_source in found.counter_sources] == forks
        assert {row.counter_source_id for row in (*found.parents, *found.points)} <= {  # type: ignore[attr-defined]
            counter_source.id for counter_source in found.counter_sources
        }
    store._engine.writer.command("SYSTEM START MERGES")


def test_forks_beyond_the_newest_heartbeat_are_not_counted_as_received(make):
    numbers = [n for n in range(70_000) if n % 10]  # over a block's edge, and every tenth is missing
    with opened_store() as (collector, context):
        fork = make.fork(0)
        line, name = orjson.dumps(fork), fork["id"].encode()
        lines = check_lines(b"\n".join(line.replace(name, b"%b%d" % (name[:-1], n)) for n in numbers), 10**9, 10**6)
        collector.insert([(lines, None)], make.now)
        for place, head in enumerate((1, 100, 64_000, 65_535, 65_536, 65_537, 68_000, 69_500, 69_999, 70_000, 80_000)):
            collector.insert([(lines_of(make.node(place, heads={0: head}, end=make.now + place)), None)], make.now)
            (stream,) = read_ledger(context, 0, by_cpu=False).streams
            assert (stream.given, stream.received, stream.stored) == (head, bisect_left(numbers, head), len(numbers))
            (cpu,) = read_ledger(context, 0, by_cpu=True).cpus
            assert (cpu.given, cpu.received) == (head, stream.received)


async def test_rows_of_a_live_stream_are_refreshed_before_they_expire(store, make):
    ask = store._engine.reader.query
    silent = make.stream[:-1] + "9"
    await file(
        store, *(make.fork(n) for n in range(10)), make.fork(0, stream=silent), make.gap(4, 4), make.node(1, heads={0: 14})
    )
    await asyncio.sleep(0.6)
    await file(store, make.node(2, heads={0: 14}, end=make.now + 1))
    await store.sweep(0.5)
    for table in ("came", "made", "loss"):
        question = f"SELECT stream, max(seen) - min(seen) > 0.5 FROM {table} GROUP BY stream ORDER BY stream SETTINGS final = 0"  # noqa: S608
        again = dict(ask(question).result_rows)
        assert again.pop(silent, 0) == 0
        assert again == {make.stream: 1}, table
    assert ask("SELECT groupBitmapMerge(numbers) FROM came WHERE cpu = 0 GROUP BY stream ORDER BY stream").result_rows == [
        (10,),
        (1,),
    ]
    await store.sweep(604800)  # so that on a busy machine, too, looks see as far back as this test is long
    stream = next(one for one in (await StoreReader(store).ledger()).streams if one.name == make.stream)
    assert (stream.given, stream.received) == (14, 10)


async def test_reads_do_not_wait_for_writes_and_waiting_batches_are_one_commit(store, make):
    batches = [[make.fork(n, cpu=cpu) for n in range(50)] for cpu in range(40)]
    answers = await asyncio.gather(*(file(store, *batch) for batch in batches), StoreReader(store).pods(10))
    assert [answer.accepted for answer in answers[:-1]] == [50] * 40
    moments = "SELECT uniqExact(toUnixTimestamp64Milli(received)) FROM fork"
    commits = store._engine.reader.query(moments).result_rows[0][0]
    assert commits < 20


def test_the_embedded_engine_uses_two_threads_for_a_query():
    """It would be one where the engine wants more free memory for each than it may have in all."""
    with opened_store() as (_, here):
        plan = here.client.query("EXPLAIN PIPELINE SELECT sum(number) FROM numbers_mt(100000000)").result_rows
    assert any("\u00d7 2" in line for (line,) in plan), plan
