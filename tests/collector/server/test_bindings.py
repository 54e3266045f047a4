"""A stream belongs to the node of the first credential that brought it: a real collector process, tokens of nodes and a shared
token over HTTP.

One process for the tests of this module, because its start takes longest; those that restart it do so in their own process.
"""

import asyncio
import json
import uuid
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest
import pytest_asyncio

from collector.store import Store
from collector.store.engine import Engine
from tests.agent.sinks.delivery.sender_scene import SenderScene, until
from tests.collector.conftest import collector as collector_here
from tests.collector.conftest import empty_store, lines_of
from tests.collector.server.processes import address, process
from tests.collector.store.test_schema import made_older

pytestmark = pytest.mark.timeout(120)

TOKENS = "\n".join(
    ["shared", *(f"token-{n} cluster=demo node=worker-{n}" for n in (7, 8)), "east-7 cluster=east node=worker-7"]
)
TYPE = {"Content-Type": "application/x-ndjson"}


class Collector:
    def __init__(self, url, session):
        self.url, self.session = url, session

    async def post(self, token, *events):
        """(status, accepted events or the sentence of the refusal)"""
        body, headers = b"\n".join(map(orjson.dumps, events)), TYPE | {"Authorization": f"Bearer {token}"}
        async with self.session.post(f"{self.url}/v1/events", data=body, headers=headers) as answer:
            found = await answer.json()
            return answer.status, found.get("accepted", found.get("error"))

    async def get(self, path):
        async with self.session.get(self.url + path, headers={"Authorization": "Bearer reader"}) as answer:
            return await answer.json() if answer.content_type == "application/json" else await answer.text()


def settings_in(folder, store):
    (folder / "tokens").write_text(TOKENS)
    (folder / "read").write_text("reader")
    files = {"ingest_token_file": f"{folder}/tokens", "read_token_file": f"{folder}/read"}
    return {"listen": "127.0.0.1:0", "store": store} | files


@asynccontextmanager
async def started(folder, store):
    async with collector_here(**settings_in(folder, store)) as client:
        yield Collector(client.url, client.session)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def collector(tmp_path_factory):
    settings = settings_in(tmp_path_factory.mktemp("collector"), "memory:")
    async with process(**settings) as running, aiohttp.ClientSession() as session:
        yield Collector(await address(running), session)
        running.terminate()
        await running.wait()


@pytest.fixture
def make(make):
    """With a stream of the test's own."""
    make.stream = f"{uuid.uuid4()}.{uuid.uuid4().hex[:16]}"
    return make


def forks(make, node, numbers):
    return [make.fork(n, node=node) for n in numbers]


async def test_a_stream_belongs_to_the_node_of_the_first_credential(collector, make):
    assert await collector.post("token-7", *forks(make, "worker-7", range(3))) == (200, 3)
    forged = forks(make, "worker-8", range(3, 5003))
    for token, events in (("token-8", forged), ("shared", forged), ("shared", forks(make, "worker-7", range(3, 5003)))):
        status, sentence = await collector.post(token, *events)
        assert (status, sentence.startswith(f"the stream {make.stream} belongs to another node")) == (403, True), token
        assert "worker-7" not in sentence
    assert await collector.post("token-7", *forks(make, "worker-7", range(3, 5003))) == (200, 5000)
    assert 'forklore_collector_streams_refused_total{why="stream"} 3.0' in await collector.get("/metrics")


async def test_a_summary_for_another_nodes_stream_is_refused(collector, make):
    assert await collector.post(
        "token-7", make.summary(1, 5, node="worker-7"), make.node(1, heads={0: 5}, node="worker-7")
    ) == (
        200,
        2,
    )
    for event in (make.summary(2, 10**9, now=1, node="worker-8"), make.node(2, heads={0: 10**9}, node="worker-8")):
        assert (await collector.post("token-8", event))[0] == 403
    node = next(one for one in (await collector.get("/v1/ledger"))["nodes"] if one["node"] == "worker-7")
    assert next(one for one in node["streams"] if one["stream"] == make.stream)["given"] == 5


async def test_the_events_of_a_credential_are_of_its_own_node_and_cluster(collector, make):
    for token, own in (("token-8", "worker-8 of cluster demo"), ("east-7", "worker-7 of cluster east")):
        status, sentence = await collector.post(token, *forks(make, "worker-7", [1]))
        stated = f"the token is of node {own}, and the batch has events of node worker-7 of cluster demo; "
        assert (status, sentence.startswith(stated)) == (403, True)
    assert (await collector.post("token-7", make.fork(1, node="worker-7"), make.node(1, heads={}, node="worker-8")))[0] == 403
    assert await collector.post("token-7", *forks(make, "worker-7", [1])) == (200, 1)


async def test_a_shared_token_binds_nothing(collector, make):
    assert await collector.post("shared", *forks(make, "worker-8", [0])) == (200, 1)
    assert await collector.post("shared", *forks(make, "worker-7", [1])) == (200, 1)
    assert await collector.post("token-7", *forks(make, "worker-7", [2])) == (200, 1)
    assert (await collector.post("shared", *forks(make, "worker-8", [3])))[0] == 403


async def test_of_two_nodes_that_race_exactly_one_wins(collector, make):
    for _ in range(10):
        make.stream = f"{uuid.uuid4()}.{uuid.uuid4().hex[:16]}"
        answers = await asyncio.gather(
            *(collector.post(f"token-{n}", *forks(make, f"worker-{n}", range(n, n + 20))) for n in (7, 8) for _ in range(3))
        )
        winners = {n for n, (status, _) in zip((7, 7, 7, 8, 8, 8), answers, strict=True) if status == 200}
        assert len(winners) == 1
        assert sorted(status for status, _ in answers) == [200] * 3 + [403] * 3


async def test_an_agent_keeps_the_forks_that_are_refused_and_says_why(collector, make, tmp_path):
    """Another node was the first to bring its stream."""
    assert (await collector.post("token-8", *forks(make, "worker-8", [0])))[0] == 200
    (tmp_path / "token").write_text("token-7")
    scene = SenderScene(f"{collector.url}/v1/events", token_file=tmp_path / "token")
    events = [json.dumps(fork) for fork in forks(make, "worker-7", range(5))]
    (batch,) = scene.packer.pack("boot.instance", events, [7] * 5, 0.0)
    scene.queue.put(batch)
    async with scene.running(pause_s=600.0):
        await until(lambda: scene.sender.state.startswith("hold: 403 "))
        assert f"the stream {make.stream} belongs to another node" in scene.sender.state
        assert (scene.queue.delivered.total(), scene.queue.lost, len(scene.queue)) == (0, {}, 1)


async def test_a_binding_outlives_the_collector_even_when_nothing_else_was_new(tmp_path, make):
    for token, forks_of in (("shared", "worker-7"), ("token-7", "worker-7"), ("token-7", "worker-7")):
        async with started(tmp_path, f"chdb://{tmp_path}/store") as running:
            assert (await running.post(token, *forks(make, forks_of, range(3))))[0] == 200
            if token == "shared":
                continue
    async with started(tmp_path, f"chdb://{tmp_path}/store") as running:
        assert (await running.post("token-8", *forks(make, "worker-8", range(3, 6))))[0] == 403
        assert (await running.post("shared", *forks(make, "worker-7", range(3, 6))))[0] == 403


async def test_a_stream_of_an_older_store_belongs_to_its_stored_node(tmp_path, make):
    dsn = empty_store(tmp_path / "store")
    store = Store.open(dsn)
    await store.insert(lines_of(*forks(make, "worker-7", range(3))))
    store.close()
    made_older(dsn, 2)
    engine = Engine.open(dsn)
    assert engine.reader.query("SELECT max(version) FROM version").result_rows == [(2,)]
    engine.close()
    async with started(tmp_path, dsn) as running:
        assert (await running.post("shared", *forks(make, "worker-8", [3])))[0] == 403
        assert (await running.post("token-8", *forks(make, "worker-8", [3])))[0] == 403
        assert await running.post("shared", *forks(make, "worker-7", [3])) == (200, 1)  # the agents of 0.1 have no other
        assert await running.post("token-7", *forks(make, "worker-7", [4])) == (200, 1)
        assert (await running.post("shared", *forks(make, "worker-7", [5])))[0] == 403
