"""A collector whose store is a ClickHouse server: its real client, over HTTP, against `bridge`."""

import asyncio
import itertools
import random
import time
import urllib.parse
from contextlib import contextmanager

import aiohttp
import pytest
import pytest_asyncio

from collector.model import Filter, ForkQuery
from collector.query import StoreReader
from collector.store import Store, StoreUnavailable
from collector.store.tables import VERSION
from collector.store.writer import Writer
from tests.collector.conftest import SECOND, EventFactory, empty_store, lines_of
from tests.collector.server.processes import address, ended, post, process
from tests.collector.store.bridge import PASSWORD, READER, USER, Server
from tests.collector.store.lives import ALWAYS, answers, life, without_clock
from tests.collector.store.test_schema import made_older

pytestmark = pytest.mark.slow

NAMES = map("db{}".format, itertools.count())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("server"))
    yield one
    one.stop()


@pytest.fixture
def database():
    return next(NAMES)


@contextmanager
def opened(*dsns, **settings):
    stores = [Store.open(dsn, **settings) for dsn in dsns]
    yield stores[0] if len(stores) == 1 else stores
    for store in stores:
        store.close()


async def file(store, *events):
    return await store.insert(lines_of(*events), None)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def both(server, tmp_path_factory):
    """The same events in a store of each kind, and what is read of them."""
    make = EventFactory()
    minute = make.now // (60 * SECOND) * 60 * SECOND - 1800 * SECOND
    results = []
    for dsn in (empty_store(tmp_path_factory.mktemp("stores") / "embedded"), server.dsn("both")):
        with opened(dsn) as store:
            for batch in life(make, minute):
                assert (await file(store, *batch)).accepted == len(batch)
            results.append(await answers(store, minute))
    return results


@pytest.mark.parametrize(
    "question",
    ["pods", "filtered", "workload", "pod", "host", "timeline", "pairs", "lineage", "search", "searched", "ledger", "news"],
)
async def test_a_server_answers_as_the_embedded_engine_does(both, question):
    embedded, remote = both
    assert without_clock(remote[question]) == without_clock(embedded[question])


async def test_the_compared_answers_are_not_empty(both):
    _, remote = both
    assert [len(snapshot.pods) for snapshot in remote["filtered"]] == [1, 1, 1]
    assert [len(snapshot.pods) for snapshot in remote["workload"]] == [1, 0]
    assert [len(page.latest) if page else None for page in remote["pod"]] == [50, 40, None]
    assert [len(rows) > 0 for rows in remote["timeline"]].count(True) >= 3
    assert [len(rows) > 0 for rows in remote["pairs"]] == [True, True]
    assert [len(rows) for rows in remote["searched"]] == [40, 7, 3, 4]
    assert (len(remote["search"]), len(remote["news"]), len(remote["ledger"].streams)) == (227, 227, 2)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pair(server):
    """Two collectors that were started at once on a server that had nothing."""
    settings = {"listen": "127.0.0.1:0", "store": server.dsn("pair")}
    async with process(**settings) as one, process(**settings) as other, aiohttp.ClientSession() as session:
        yield session, [await address(one), await address(other)]


async def get(session, url, **query):
    async with session.get(url, params=query) as answer:
        assert answer.status == 200
        return await answer.json()


def batch_of(make, cpu, number):
    """The batch of that number of the agent whose forks are all on that CPU."""
    attribution_fields = {"stream": f"{make.stream[:-1]}{cpu}", "cgroup": cpu + 1, "pod": f"pod-{cpu}"}
    heads, begin = {cpu: number * 20 + 21}, make.now - SECOND
    return [
        *(make.fork(n, cpu, **attribution_fields) for n in range(number * 20, number * 20 + 20)),
        make.summary(number + 1, number * 20 + 20, now=20, end=make.now + number * SECOND, **attribution_fields),
        make.node(number, heads=heads, delivered=number * 20, stream=attribution_fields["stream"], node=f"node{cpu}"),
        make.gap(number + 1, 1, "journal_full", sink="collector", **attribution_fields),
        make.storm(number, "stop", start=begin, end=make.now, processes=9, **attribution_fields | {"cgroup": 99}),
    ]


async def test_of_two_collectors_each_event_counts_once_and_both_answer_the_same(server, pair, make):
    session, urls = pair
    batches = [batch_of(make, cpu, number) for cpu in range(4) for number in range(5)]
    chance = random.Random(7)  # noqa: S311 - the same each time
    whole = [(url, batch) for batch in batches for url in urls]
    # The other half of a batch may have gone with the next one.
    cut = [(url, batch[10:] + after[:10]) for url in urls for batch, after in itertools.pairwise(batches)]
    sending = chance.sample(whole + cut + whole[::3], len(whole) + len(cut) + len(whole[::3]))

    async def send(some):
        for url, batch in some:
            status, answer = await post(session, url, *batch)
            assert (status, answer["rejected"], answer["accepted"] + answer["duplicate"]) == (200, [], len(batch))

    await asyncio.gather(*(send(sending[place::4]) for place in range(4)))
    results = []
    for url in urls:
        pods = {pod["pod"]: pod for pod in (await get(session, f"{url}/v1/pods"))["pods"]}
        assert {name: (pod["delivered"], pod["processes"]) for name, pod in pods.items()} == {
            f"pod-{cpu}": (100, 100) for cpu in range(4)
        }
        ledger = await get(session, f"{url}/v1/ledger")
        assert [(node["received"], node["missing"]) for node in ledger["nodes"]] == [(100, 1)] * 4
        forks = (await get(session, f"{url}/v1/forks", **{"from": "-1h", "limit": 1000}))["forks"]
        assert len(forks) == len({fork["id"] for fork in forks}) == 400
        tree = await get(session, f"{url}/v1/pods/shop/pod-2/tree")
        results.append((forks, ledger["nodes"], tree["roots"], tree["pairs"]))
    assert results[0] == results[1]
    server.ask("pair", "OPTIMIZE TABLE fork FINAL")
    assert server.ask("pair", "SELECT count() FROM fork") == ["400"]


async def test_the_live_view_of_one_collector_shows_what_another_inserts(pair, make):
    session, (one, other) = pair
    async with session.get(f"{other}/v1/stream", params={"pod": "live"}) as live:
        assert live.status == 200
        await post(session, one, *(make.fork(n, stream=f"{make.stream[:-1]}a", cgroup=77, pod="live") for n in range(3)))
        seen = []
        async with asyncio.timeout(20):
            while len(seen) < 3:
                if (await live.content.readline()).strip() == b"event: fork":
                    seen.append((await live.content.readline()).decode())
    assert sorted(seen) == sorted(set(seen)) and all('"pod":"live"' in one for one in seen)


async def test_forks_inserted_by_a_collector_with_a_clock_that_is_behind_are_read(server, database, make):
    with opened(server.dsn(database)) as store:
        slow, seen, since, end = Writer(store._engine.writer), [], 0, time.monotonic() + store.visible_after + 1
        await file(store, make.fork(0))
        while time.monotonic() < end:
            news, since = await StoreReader(store).received_since(Filter(), since, 100)
            seen += [fork.place.cpu for fork in news]
            if slow:
                slow.insert([(lines_of(make.fork(0, cpu=1)), None)], time.time_ns() - SECOND)
                slow = None
            await asyncio.sleep(0.1)
    assert sorted(seen) == [0, 1]


async def test_collectors_that_find_an_empty_server_together_all_open_it(server, database):
    dsn = server.dsn(database)
    stores = await asyncio.gather(*(asyncio.to_thread(Store.open, dsn) for _ in range(3)))
    for store in stores:
        store.close()
    assert server.ask(database, "SELECT max(version) FROM version") == [str(VERSION)]


@pytest.mark.parametrize(
    ("user", "password", "why"),
    [
        (USER, "not-this-one", "user or password are wrong"),
        ("stranger", PASSWORD, "user or password are wrong"),
        (READER, PASSWORD, "readonly"),
    ],
)
def test_a_user_without_write_access_is_reported_without_the_password(server, database, caplog, user, password, why):
    with pytest.raises(StoreUnavailable, match=why) as results:
        Store.open(server.dsn(database, user, password))
    assert str(results.value).startswith(f"{server.url}: ")
    for text in (str(results.value), caplog.text):
        assert password not in text and urllib.parse.quote(password, safe="") not in text


async def test_a_collector_with_a_wrong_password_ends_with_one_line(server, database):
    async with process(listen="127.0.0.1:0", store=server.dsn(database, password="not-this-one")) as running:
        code, out, err = await ended(running)
    assert (code, out, len(err)) == (69, "", 1)
    assert err[0].startswith(f"forklore collector: {server.url}: user or password are wrong") and "not-this-one" not in err[0]


async def test_the_password_may_come_from_a_file(server, database, tmp_path, running, make):
    (tmp_path / "password").write_text(PASSWORD + "\n")
    dsn = server.dsn(database, password="")
    with pytest.raises(StoreUnavailable, match="user or password are wrong"):
        Store.open(dsn)
    async with running(store=dsn, store_password_file=tmp_path / "password") as client:
        assert (await client.post(make.fork(1)))["accepted"] == 1


@pytest.mark.parametrize(
    ("statement", "when"),
    [
        ("INSERT INTO fork", "before"),
        ("INSERT INTO fork", "after"),
        ("INSERT INTO came_in", "after"),
    ],
)
async def test_a_batch_during_which_the_server_dies_is_not_acknowledged_and_stored_once_when_repeated(
    server, database, running, make, statement, when
):
    batch = [*(make.fork(n) for n in range(30)), make.summary(1, 30), make.gap(1, 4), make.node(1, heads={0: 30})]
    async with running(store=server.dsn(database)) as client:
        server.fault(statement, when)
        gone = await client.post(*batch, status=503)
        assert gone == {"error": "the store does not answer; send this batch again"}
        await client.get("/readyz", status=503)
        await client.get("/v1/pods", status=503)
        server.restart()
        await client.get("/readyz")
        answer = await client.post(*batch)
        assert (answer["accepted"], answer["duplicate"]) == ((0, 33) if "came" in statement else (33, 0))
        pod = (await client.pods())["cart-1"]
        assert (pod["delivered"], pod["processes"]) == (30, 30)
        (node,) = (await client.get("/v1/ledger"))["nodes"]
        assert (node["received"], node["missing"]) == (30, 0)
        assert len((await client.get("/v1/forks?from=-1h"))["forks"]) == 30
    assert server.ask(database, "SELECT count() FROM fork") == ["30"]


@pytest.mark.parametrize("table", ["fork", "made_in", "came_in"])
async def test_an_insert_without_a_response_is_sent_again_and_counts_once(server, database, make, table):
    with opened(server.dsn(database)) as store:
        server.fault(f"INSERT INTO {table}", "unanswered")
        assert (await file(store, *(make.fork(n) for n in range(30)))).accepted == 30
        assert (await StoreReader(store).pods(1)).counter_sources[0].stored == 30
    assert server.ask(database, "SELECT count() FROM fork") == ["30"]
    assert server.ask(database, "SELECT groupBitmapMerge(numbers) FROM came") == ["30"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"max_memory_usage": 1000, "max_untracked_memory": 0}, "^there is not enough memory for it"),
        ({"readonly": 1}, "Cannot execute query in readonly mode"),
    ],
)
async def test_an_insert_that_the_engine_refuses_is_reported_and_not_acknowledged(server, database, make, settings, why):
    with opened(server.dsn(database)) as store:
        await file(store, *(make.fork(n) for n in range(10)))
        clients = store._engine.writer, store._engine.reader
        before = {key: clients[0].get_client_setting(key) for key in settings}
        for client, (key, value) in itertools.product(clients, settings.items()):
            client.set_client_setting(key, value)
        other = f"{make.stream[:-1]}b"
        for context in (file(store, make.fork(1, stream=other)), store.sweep(1000)):
            with pytest.raises(StoreUnavailable, match=why) as results:
                await context
            assert PASSWORD not in str(results.value) and urllib.parse.quote(PASSWORD, safe="") not in str(results.value)
        for key, value in before.items():
            clients[0].params.pop(key) if value is None else clients[0].set_client_setting(key, value)
        assert (await file(store, make.fork(1, stream=other))).accepted == 1
    assert server.ask(database, "SELECT count() FROM fork") == ["11"]


async def test_the_server_gets_the_settings_that_the_collector_relies_on(server, database):
    wanted = {
        "async_insert": "0",  # or the answer comes before the rows are safe
        "distributed_foreground_insert": "1",
        "distributed_product_mode": "global",
        "deduplicate_blocks_in_dependent_materialized_views": "1",
    }
    question = "SELECT name, value FROM system.settings WHERE changed AND name IN {names:Array(String)}"
    with opened(server.dsn(database)) as store:
        for client in (store._engine.writer, store._engine.reader):
            assert dict(client.query(question, parameters={"names": list(wanted)}).result_rows) == wanted


async def test_a_pod_of_more_cgroups_than_fit_into_a_field_is_shown(server, database, make):
    """A container that crashes every five minutes has had 2000 in a week."""
    with opened(server.dsn(database)) as store:
        await file(store, *(make.fork(n, cgroup=4_000_000_000 + n) for n in range(2500)))
        page = await StoreReader(store).pod("shop", "cart-1", 3000)
        pod = page.snapshot.pods[0].id
        assert (len(page.latest), len(page.snapshot.counter_sources)) == (2500, 2500)
        assert len(await StoreReader(store).lineage(pod, ALWAYS, 3000)) == 2500
        assert sum(row.forks for row in await StoreReader(store).pairs(pod, ALWAYS, 10)) == 2500


async def test_the_servers_tables_have_the_retention(server, database, make):
    question = (
        f"SELECT countIf(position(engine_full, 'toIntervalSecond(%d)') > 0) FROM system.tables WHERE database = '{database}'"  # noqa: S608
    )
    with opened(server.dsn(database), retention=3600.0):
        assert server.ask(database, question % 3720) == ["4"]
    with opened(server.dsn(database), retention=7200.0) as store:
        assert server.ask(database, question % 3720) == ["0"]
        assert (server.ask(database, question % 7320), server.ask(database, question % 14520)) == (["4"], ["8"])
        await file(store, *(make.fork(n) for n in range(9)))
        await asyncio.sleep(0.3)
        assert await store.sweep(0.2) == 9
        assert (await StoreReader(store).pods(10)).pods == [] and await StoreReader(store).search(
            ForkQuery(Filter(), ALWAYS), 10
        ) == []


@pytest.mark.parametrize("statement", ["INSERT INTO made SELECT", "INSERT INTO version"])
async def test_an_older_database_is_migrated_though_the_server_dies_meanwhile(server, database, make, statement):
    minute = make.now // (60 * SECOND) * 60 * SECOND - 1800 * SECOND
    batches = life(make, minute)
    with opened(server.dsn(database)) as store:
        for batch in batches:
            await file(store, *batch)
        before = await StoreReader(store).pod("shop", "cart-1", 200), await StoreReader(store).ledger()
    made_older(server.dsn(database))
    server.fault(statement, "before")
    with pytest.raises(StoreUnavailable, match=r"refused|closed|aborted|reset"):
        Store.open(server.dsn(database))
    server.restart()
    with opened(server.dsn(database)) as store:
        assert without_clock(
            (await StoreReader(store).pod("shop", "cart-1", 200), await StoreReader(store).ledger())
        ) == without_clock(before)
        for batch in batches:
            assert (await file(store, *batch)).accepted == 0
        assert (await file(store, make.fork(90))).accepted == 1
        assert len((await StoreReader(store).pod("shop", "cart-1", 200)).latest) == len(before[0].latest) + 1
    assert server.ask(database, "SELECT max(version) FROM version") == [str(VERSION)]
    assert server.ask(database, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name LIKE '%_1'") == [
        "0"
    ]


async def test_two_collectors_that_migrate_an_older_database_at_once_lose_nothing(server, database, make):
    """One of them may have to be started again."""
    dsn, minute = server.dsn(database), make.now // (60 * SECOND) * 60 * SECOND - 1800 * SECOND
    with opened(dsn) as store:
        for batch in life(make, minute):
            await file(store, *batch)
        before = await StoreReader(store).pod("shop", "cart-1", 200)
    made_older(server.dsn(database))
    both = await asyncio.gather(*(asyncio.to_thread(Store.open, dsn) for _ in range(2)), return_exceptions=True)
    assert {type(one) for one in both} <= {Store, StoreUnavailable} and Store in map(type, both)
    for store in both:
        if isinstance(store, Store):
            store.close()
    with opened(dsn) as store:
        assert without_clock(await StoreReader(store).pod("shop", "cart-1", 200)) == without_clock(before)
        assert (await file(store, make.fork(90))).accepted == 1


async def test_a_database_of_a_newer_version_is_left_alone(server, database):
    with opened(server.dsn(database)):
        server.ask(database, "INSERT INTO version (version) VALUES (99)")
    tables = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name"
    before = server.ask(database, tables)
    with pytest.raises(StoreUnavailable, match=f"holds tables of version 99, this collector keeps version {VERSION}"):
        Store.open(server.dsn(database))
    assert server.ask(database, tables) == before
