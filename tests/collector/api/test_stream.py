"""The stream: new forks come in order to the readers whose query matches; slow readers get the number of lost forks."""

import asyncio
import json
import re
import time
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import aiohttp
import pytest

from collector.api import stream
from collector.model import FoundFork, Place
from collector.query import StoreReader
from collector.store import StoreUnavailable

pytestmark = pytest.mark.slow

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The store is polled every 50 ms."""
    monkeypatch.setattr(stream, "POLL_INTERVAL", 0.05)


class Reader:
    def __init__(self, answer):
        self.answer = answer
        self.last_id = None
        self.comments = 0

    async def next(self, *kinds):
        """The next event of these kinds: its kind and data. Ids are remembered, as a browser does."""
        async with asyncio.timeout(10):
            kind, data = "", ""
            while True:
                line = (await self.answer.content.readline()).decode()
                assert line, "the stream ended"
                name, _, value = line.rstrip("\n").partition(": ")
                if line == "\n":
                    if data and kind in kinds:
                        return kind, json.loads(data)
                    kind = data = ""
                elif line.startswith(":"):
                    self.comments += 1
                elif name == "id":
                    self.last_id = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    data = value

    async def fork(self):
        return (await self.next("fork"))[1]


@asynccontextmanager
async def listening(client, query="", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.session.get(f"{client.url}/v1/stream?{query}", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream" and answer.headers["Cache-Control"] == "no-store"
        reader = Reader(answer)
        assert await answer.content.readline() == b"retry: 2000\n"
        yield reader


async def test_new_forks_come_as_they_were_sent(running, make):
    async with running() as client:
        await client.post(make.fork(1))
        async with listening(client) as reader:
            sent = [make.fork(2), make.fork(3, pod="web-1", cgroup=2)]
            for fork in sent:
                await client.post(fork)
                assert await reader.fork() == fork


@pytest.mark.parametrize(
    "query",
    ["namespace=shop", "pod=cart-1", "text=cart", "label=app=cart", "comm=wanted", "kind=process", "pid=7007", "pid=107",
     "entity=44745a63f5162050", "parent_comm=wanted"],
)  # fmt: skip
async def test_every_reader_gets_the_forks_of_its_query(running, make, query):
    async with running() as client, listening(client, query) as reader:
        other = make.fork(3, pod="web-1", cgroup=2, namespace="front", comm="other", kind="thread")
        other["k8s"].update(labels={}, workload=None)
        other.update(process_entity_id=None, parent_entity_id=None)
        wanted = make.fork(7, comm="wanted")
        await client.post(other, wanted)
        assert await reader.fork() == wanted


async def test_a_name_can_neither_end_nor_begin_an_event(running, make):
    async with running() as client, listening(client) as reader:
        name = "a\n\nevent: lost\ndata: {}\n\n\r\r id: 1"
        await client.post(make.fork(1, comm=name, pod=name))
        assert (await reader.fork())["comm"] == name
        await client.post(make.fork(2))
        assert (await reader.next("fork", "lost"))[0] == "fork"


async def test_several_pages_come_complete_and_in_order(running, make, monkeypatch):
    monkeypatch.setattr(stream, "PAGE_FORKS", 100)
    async with running() as client, listening(client, "events=fork") as reader:
        for first in range(0, 360, 120):
            await client.post(*(make.fork(n) for n in range(first, first + 120)))
        seen = [(await reader.fork())["id"] for _ in range(360)]
        assert sorted(seen) == sorted(make.fork(n)["id"] for n in range(360))


async def test_a_reader_that_reconnects_with_the_last_id_misses_nothing(running, make):
    async with running() as client:
        async with listening(client) as reader:
            await client.post(make.fork(1))
            await reader.fork()
            await client.post(make.fork(2))  # its page's id is read before the next
            await reader.fork()
            await reader.next("pods")
            last = reader.last_id
        await client.post(make.fork(3), make.fork(4))
        async with listening(client, Last_Event_ID=last) as reader:
            assert {(await reader.fork())["id"] for _ in range(2)} == {make.fork(3)["id"], make.fork(4)["id"]}


async def test_an_invalid_last_id_is_refused(running):
    async with running() as client:
        for wrong in ("x", "-1", "1" * 30, "²"):
            async with client.session.get(f"{client.url}/v1/stream", headers={"Last-Event-ID": wrong}) as answer:
                assert answer.status == 400 and "Last-Event-ID" in await answer.text()


async def test_ticks_come_without_forks_for_readers_of_ticks_only(running, make):
    async with running() as client, listening(client, "events=pods") as reader:
        before = time.time()
        await client.post(make.fork(1))
        kind, data = await reader.next("fork", "pods", "lost")
        assert kind == "pods" and data["now"].endswith("Z")
        assert time.time() - before < 5


@pytest.mark.parametrize("kind", ["summary", "gap", "node_gap", "storm", "node", "fork"])
async def test_everything_new_makes_a_tick_and_duplicates_make_none(running, make, kind):
    event = {
        "summary": lambda: make.summary(1, 9),
        "gap": lambda: make.gap(4, 4),
        "node_gap": lambda: make.node_gap(7, 7),
        "storm": lambda: make.storm(1, "start", start=make.now - 10**9, end=make.now, processes=3000),
        "node": lambda: make.node(1, heads={0: 0}),
        "fork": lambda: make.fork(1),
    }[kind]()
    async with running() as client, listening(client, "events=pods") as reader:
        assert (await client.post(event))["accepted"] == 1
        async with asyncio.timeout(2):
            await reader.next("pods")
        if kind != "fork":  # a look for forks of other collectors sees it for a while
            assert (await client.post(event))["accepted"] == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await reader.next("pods")


async def test_on_a_server_a_tick_waits_until_the_new_rows_can_be_read(running, make, monkeypatch):
    monkeypatch.setattr(StoreReader, "visible_after", 0.6)
    async with running() as client, listening(client, "events=pods") as reader:
        stored = []
        for number in range(2):  # the second while the first still waits
            await client.post(make.summary(number, 9))
            stored.append(time.monotonic())
            await asyncio.sleep(0.3 * (1 - number))
        for begun in stored:
            await reader.next("pods")
            assert time.monotonic() - begun >= 0.6


async def test_ticks_come_at_most_once_a_second_however_much_is_stored(running, make, monkeypatch):
    monkeypatch.setattr(stream, "POLL_INTERVAL", 0.4)  # the second

    async def file(client):
        for number in range(10_000):
            await client.post(make.summary(number, number), make.fork(number))

    async with running() as client, listening(client) as reader:
        filing = asyncio.create_task(file(client))
        came = []
        for _ in range(5):
            await reader.next("pods")
            came.append(time.monotonic())
        filing.cancel()
        assert all(later - earlier > 0.35 for earlier, later in pairwise(came))


async def comments_of(reader, seconds):
    """Skips other events."""
    before = reader.comments
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                await reader.next("fork", "pods", "lost")
    return reader.comments - before


async def test_a_quiet_stream_gets_comments(running, monkeypatch):
    monkeypatch.setattr(stream, "HEARTBEAT", 0.1)
    async with running() as client, listening(client) as reader:
        assert 2 <= await comments_of(reader, 0.6) <= 8


@pytest.mark.parametrize("query", ["events=fork&namespace=elsewhere", "events=fork&comm=another", "events=fork", ""])
async def test_a_busy_stream_gets_comments_whether_anything_matches_or_not(running, make, monkeypatch, query):
    monkeypatch.setattr(stream, "HEARTBEAT", 0.25)

    async def file(client):
        for number in range(10_000):
            await client.post(make.fork(number))
            await asyncio.sleep(0.02)

    async with running() as client, listening(client, query) as reader:
        filing = asyncio.create_task(file(client))
        assert 2 <= await comments_of(reader, 1.5) <= 7
        assert not filing.done()
        filing.cancel()


async def test_comments_come_while_the_store_is_slow(running, make, monkeypatch):
    async def news(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(stream, "HEARTBEAT", 0.1)
    async with running() as client:
        monkeypatch.setattr(StoreReader, "received_since", news)
        async with listening(client) as reader:
            assert await comments_of(reader, 0.6) >= 2


class Flood:
    """A store that receives `rate` forks a second by the clock, without end, and keeps none of them."""

    def __init__(self, body, rate):
        self.body, self.step, self.asked, self.given = body, int(1e9 / rate), 0, 0
        self.begun = time.time_ns()

    async def news(self, _store, _pods, since, limit):
        await asyncio.sleep(0)
        self.asked += 1
        first = max(0, (since - self.begun) // self.step + 1)
        last = min((time.time_ns() - self.begun) // self.step, first + limit)
        found = [FoundFork(Place(self.begun + n * self.step, STREAM, 0, n), self.body) for n in range(first, last)]
        self.given += len(found)
        return found, (self.begun + (last - 1) * self.step if found else since)

    def install(self, monkeypatch):
        async def news(store, pods, since, limit):
            return await self.news(store, pods, since, limit)

        monkeypatch.setattr(StoreReader, "received_since", news)


async def test_a_slow_reader_gets_the_number_of_lost_forks_and_continues_with_the_newest(running, make, monkeypatch):
    monkeypatch.setattr(stream, "MAX_LAG", 1.0)
    flood = Flood(make.fork(1), rate=20_000)
    async with running() as client:
        flood.install(monkeypatch)
        async with listening(client, "events=fork") as reader:
            await reader.next("fork")
            await asyncio.sleep(2)  # what is on its way fills the sockets, and the collector waits
            while (event := await reader.next("fork", "lost"))[0] == "fork":
                pass
            _, data = event
            assert data["forks"] > 1000 and data["more"] is False
            assert (await reader.next("fork", "lost"))[0] == "fork" and time.time_ns() - int(reader.last_id) < 30 * 10**9
        (lost,) = re.findall(r"(?m)^forklore_collector_stream_lost_forks_total (\S+)", await client.get("/metrics"))
        assert float(lost) >= data["forks"]


async def test_sent_and_lost_forks_add_up_to_all_forks(running, make, monkeypatch):
    """A reader reconnects behind 100,000 forks: it gets a few, most are skipped, and the numbers add up."""
    monkeypatch.setattr(stream, "MAX_LAG", 0.3)
    forks = [FoundFork(Place(n, STREAM, 0, n), {**make.example("sched_process_fork"), "child_pid": n}) for n in range(100_000)]
    begun = time.time_ns() - 3600 * 10**9

    async def news(_store, _pods, since, limit):
        first = max(0, since - begun + 1)
        found = forks[first : first + limit]
        return found, begun + first + len(found) - 1 if found else since

    async with running() as client:
        monkeypatch.setattr(StoreReader, "received_since", news)
        async with listening(client, "events=fork", Last_Event_ID=str(begun - 1)) as reader:
            await asyncio.sleep(1)
            seen = []
            while True:
                kind, data = await reader.next("fork", "lost")
                if kind == "lost":
                    break
                seen.append(data["child_pid"])
            assert seen == list(range(len(seen)))
            assert len(seen) + data["forks"] == 100_000 and data["forks"] > 50_000 and not data["more"]


async def test_a_reader_that_reads_nothing_costs_one_page_and_is_dropped(running, make, monkeypatch):
    monkeypatch.setattr(stream, "WRITE_TIMEOUT", 0.5)
    flood = Flood(make.fork(1), rate=100_000)
    async with running() as client:
        flood.install(monkeypatch)
        host, port = client.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /v1/stream?events=fork HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await client.metrics_say("forklore_collector_streams_open 1.0")
        await client.metrics_say("forklore_collector_streams_open 0.0")
        # What the two sockets' buffers hold, and one page: 16 MB, of what would have been 100 MB a second.
        assert 1 <= flood.given < 8_000
        writer.transport.abort()


async def test_readers_are_limited_and_a_place_is_free_after_one_leaves(running, make, monkeypatch):
    async with running(streams=2) as client:
        async with listening(client), listening(client), client.session.get(f"{client.url}/v1/stream") as third:
            assert third.status == 503 and third.headers["Retry-After"] == "10"
        await client.metrics_say("forklore_collector_streams_open 0.0")
        async with listening(client):
            pass


async def test_a_revoked_token_ends_the_stream(running, make, tmp_path):
    (tmp_path / "token").write_text("one\n")
    async with running(token_file=tmp_path / "token") as client:
        bearer = {"Authorization": "Bearer one"}
        async with listening(client, **bearer) as reader:
            await client.post(make.fork(1), **bearer)
            await reader.fork()
            (tmp_path / "token").write_text("another\n")
            await client.post(make.fork(2), Authorization="Bearer another")
            with pytest.raises(AssertionError, match="the stream ended"):
                while True:
                    await reader.next("lost")


async def test_an_unavailable_store_does_not_end_a_stream(running, make, monkeypatch):
    real, away = StoreReader.received_since, [True]

    async def news(*args):
        if away[0]:
            raise StoreUnavailable("gone")
        return await real(*args)

    async with running() as client:
        monkeypatch.setattr(StoreReader, "received_since", news)
        monkeypatch.setattr(stream, "HEARTBEAT", 0.1)
        async with listening(client) as reader:
            await client.post(make.fork(1))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await reader.fork()
            away[0] = False
            assert (await reader.fork())["id"] == make.fork(1)["id"]


async def test_a_stopping_collector_ends_its_streams_at_once(running):
    async with aiohttp.ClientSession() as session:
        async with running() as client:
            answer = await session.get(f"{client.url}/v1/stream")
            await answer.content.readline()
        assert b"event" not in await answer.read()  # an orderly end: a stream that is cut off after the grace raises here
