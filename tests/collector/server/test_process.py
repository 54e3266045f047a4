"""A collector as a process of its own: how it starts, stops, and dies."""

import asyncio
import signal
import socket

import aiohttp
import orjson
import pytest

from collector.store.engine import Engine
from collector.store.tables import VERSION
from tests.collector.conftest import empty_store
from tests.collector.server.processes import address, ended, post, process

pytestmark = pytest.mark.slow


async def delivered(session, url):
    async with session.get(f"{url}/v1/pods") as answer:
        return [pod["delivered"] for pod in (await answer.json())["pods"]]


async def test_acknowledged_events_survive_kill_9(tmp_path, make):
    """Four agents send all that there is as fast as it is taken; of the batches whose answer did not come, each is here wholly
    or not at all, and wholly once it has come again."""
    settings = {"listen": "127.0.0.1:0", "store": f"chdb://{tmp_path}/store/forks"}
    acknowledged, open_, enough = [], {}, asyncio.Event()

    def batch(cpu, number):
        cgroup, ago, stream = cpu + 1, make.now - 10**9, f"{make.stream[:-1]}{cpu}"
        return [
            *(make.fork(n, cpu, stream=stream, cgroup=cgroup) for n in range(number * 20, number * 20 + 20)),
            make.summary(number, number * 20 + 20, stream=stream, cgroup=cgroup),
            make.node(number, heads={cpu: number * 20 + 20}, delivered=number * 20, stream=stream, node=f"node{cpu}"),
            make.gap(number + 1, 1, "journal_full", sink="collector", stream=stream, cgroup=cgroup),
            make.storm(number, "stop", start=ago, end=make.now, processes=9, stream=stream, pod=f"pod-{cpu}", cgroup=99),
        ]

    async def send(cpu):
        for number in range(10_000):
            open_[cpu] = batch(cpu, number)
            status, answer = await post(session, url, *open_[cpu])
            assert (status, answer["accepted"], answer["rejected"]) == (200, 24, [])
            acknowledged.append(open_[cpu])
            if len(acknowledged) == 80:
                enough.set()

    async with aiohttp.ClientSession() as session:
        async with process(**settings) as running:
            url = await address(running)
            sending = [asyncio.create_task(send(cpu)) for cpu in range(4)]
            await enough.wait()
            running.send_signal(signal.SIGKILL)
            await running.wait()
            gone = await asyncio.gather(*sending, return_exceptions=True)
            assert [error for error in gone if not isinstance(error, aiohttp.ClientError)] == []
        async with process(**settings) as running:
            url = await address(running)
            kept = sum(await delivered(session, url))
            for place in range(0, len(acknowledged), 8):  # several in a commit: there is a pause between two
                again = await asyncio.gather(*(post(session, url, *events) for events in acknowledged[place : place + 8]))
                assert [answer for _, answer in again] == [{"accepted": 0, "duplicate": 24, "rejected": []}] * len(again)
            came = [(await post(session, url, *events))[1]["accepted"] for events in open_.values()]
            assert set(came) <= {0, 24}
            assert 20 * len(acknowledged) <= kept <= 20 * (len(acknowledged) + len(open_))  # no half of a batch is acknowledged
            assert sum(await delivered(session, url)) == 20 * (len(acknowledged) + len(open_))
            async with session.get(f"{url}/v1/ledger") as answer:
                nodes = (await answer.json())["nodes"]
            assert [(node["state"], node["missing"]) for node in nodes] == [("complete", 0)] * 4


async def test_at_sigterm_it_finishes_the_running_batches(tmp_path, make):
    async with (
        process(listen="127.0.0.1:0", store=f"chdb://{tmp_path}/forks.db") as running,
        aiohttp.ClientSession() as session,
    ):
        url = await address(running)
        begun = asyncio.Event()

        async def body():
            yield orjson.dumps(make.fork(1)) + b"\n"
            begun.set()
            await asyncio.sleep(0.5)
            yield orjson.dumps(make.fork(2))

        async def send():
            async with session.post(
                f"{url}/v1/events", data=body(), headers={"Content-Type": "application/x-ndjson"}
            ) as answer:
                return await answer.json()

        sending = asyncio.create_task(send())
        await begun.wait()
        async with session.get(f"{url}/readyz") as answer:
            assert answer.status == 200
        running.send_signal(signal.SIGTERM)
        assert (await sending)["accepted"] == 2
        assert await running.wait() == 0
    async with (
        process(listen="127.0.0.1:0", store=f"chdb://{tmp_path}/forks.db") as running,
        aiohttp.ClientSession() as session,
    ):
        assert await delivered(session, await address(running)) == [2]


async def test_a_port_in_use_is_one_line_and_69():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        async with process(listen=listen, store="memory:") as running:
            code, _, err = await ended(running)
            assert code == 69
            assert err == [f"forklore collector: cannot listen on {listen}: Address already in use"]


def a_file(path):
    path.write_text("this is no folder")


def someone_elses(path):
    path.mkdir()
    (path / "notes.txt").write_text("mine")


def a_newer_ones(path):
    empty_store(path)
    engine = Engine.open(f"chdb://{path}")
    engine.writer.insert("version", [[VERSION + 1]], column_names=["version"])
    engine.close()


@pytest.mark.parametrize(
    ("occupy", "why"),
    [
        (a_file, "File exists"),
        (someone_elses, "is no store, and not empty: it holds notes.txt"),
        (a_newer_ones, f"holds tables of version {VERSION + 1}, this collector keeps version {VERSION}"),
    ],
)
async def test_a_store_that_cannot_be_opened_is_one_line_and_69(tmp_path, occupy, why):
    occupy(tmp_path / "place")
    before = sorted(tmp_path.rglob("*"))
    async with process(listen="127.0.0.1:0", store=f"chdb://{tmp_path}/place") as running:
        code, _, (line,) = await ended(running)
        assert code == 69 and f"{tmp_path}/place" in line and why in line
    if occupy is someone_elses:
        assert sorted(tmp_path.rglob("*")) == before


async def test_two_collectors_do_not_keep_one_embedded_store(tmp_path):
    settings = {"listen": "127.0.0.1:0", "store": f"chdb://{tmp_path}/store"}
    async with process(**settings) as first:
        await address(first)
        async with process(**settings) as second:
            code, _, err = await ended(second)
            assert code == 69
            assert err[-1].endswith(f"{tmp_path}/store: another process keeps this store; an embedded store has one collector")


async def test_an_unavailable_server_is_one_line_without_the_password_and_69(tmp_path):
    (tmp_path / "secret").write_text("from-a-file\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = {"store": f"http://me:in-the-dsn@127.0.0.1:{port}/x", "store_password_file": str(tmp_path / "secret")}
    async with process(listen="127.0.0.1:0", **settings) as running:
        code, out, err = await ended(running)
        assert code == 69 and err[-1].startswith(f"forklore collector: http://127.0.0.1:{port}: ")
        assert "in-the-dsn" not in out + "".join(err) and "from-a-file" not in out + "".join(err)


async def test_wrong_settings_are_a_line_each_and_78(tmp_path):
    (tmp_path / "c.yaml").write_text("listen: nowhere\nretention: 7\n")
    async with process("--config", str(tmp_path / "c.yaml")) as running:
        code, _, err = await ended(running)
        assert code == 78
        assert [line.split(":")[1] for line in err] == [" listen", " retention"]


@pytest.mark.parametrize(("arguments", "code"), [(["--check"], 0), (["--help"], 0), (["--nonsense"], 64)])
async def test_checking_the_settings_starts_nothing(arguments, code):
    async with process(*arguments, store="memory:") as running:
        assert (await ended(running))[0] == code
