"""One agent from its start to its end, with BPF programs that are a list."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from aiohttp import web
from isal import igzip

from agent.attribution.hierarchy import Hierarchy
from agent.journal import Journal
from agent.kernel.capture import CannotCapture
from agent.kernel.clock import SystemClock
from agent.lifecycle import run
from agent.lifecycle.capabilities import Privileges
from agent.lifecycle.startup import open_parts
from agent.settings import Settings
from agent.state_records import POSITIONS
from tests.agent.fakes import FakeCapture, FakeClock, FakePrograms

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"


@pytest.fixture
def taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture
async def receiver():
    """A collector: its URL, the events that it took, and when the first of them arrived."""
    events, arrived = [], asyncio.Event()

    async def take(request):
        body = await request.read()
        lines = igzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        events.extend(orjson.loads(line) for line in lines.splitlines())
        arrived.set()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/", events, arrived
    await runner.cleanup()


@pytest.fixture
def unconfined(monkeypatch):
    """The test's process keeps its capabilities and its collector of garbage."""

    async def confine(*_):
        return Privileges(frozenset(), frozenset(), frozenset(), frozenset(), frozenset(), no_new_privs=False)

    monkeypatch.setattr(run, "confine", confine)
    monkeypatch.setattr(run, "_spare_the_collector", lambda: None)


async def test_a_port_in_use_is_an_oserror_and_no_unhandled_error(taken_port, tmp_path):
    settings = Settings(node="node1", status=f"127.0.0.1:{taken_port}", kubernetes={"enabled": False}, state_dir=tmp_path)
    journal = Journal(tmp_path / "journal.sqlite3", {})
    await journal.open()
    parts = open_parts(settings, Hierarchy(0, None, tmp_path), FakeCapture(), journal, FakeClock(), boot_id="boot")
    with pytest.raises(OSError, match="address already in use"):
        await run.live(parts, settings, asyncio.Event(), ThreadPoolExecutor())
    await journal.close()


async def test_what_is_in_the_ring_when_the_agent_is_stopped_arrives_before_it_leaves(tmp_path, receiver, unconfined):
    url, events, arrived = receiver
    settings = Settings(
        node="node1",
        status="127.0.0.1:0",
        kubernetes={"enabled": False},
        state_dir=tmp_path,
        sinks=[{"name": "siem", "url": url}],
    )
    journal = Journal(tmp_path / "journal.sqlite3", {"siem": 1 << 20})
    await journal.open()
    programs, stop = FakePrograms(STREAM), asyncio.Event()
    parts = open_parts(
        settings, Hierarchy(0, None, tmp_path), FakeCapture(programs), journal, SystemClock(), boot_id=STREAM[:36]
    )
    agent = asyncio.create_task(run.live(parts, settings, stop, ThreadPoolExecutor()))
    for _ in range(97):
        programs.fork(1)
    await asyncio.wait_for(arrived.wait(), 10)
    for _ in range(101):
        programs.fork(1)
    stop.set()
    await agent
    await journal.close()
    forks = {event["id"] for event in events if event["event"] == "sched_process_fork"}
    assert forks == {f"{STREAM}.0.{number}" for number in range(198)}
    assert sum(event["counts"]["processes"] for event in events if event["event"] == "node_summary") == 198
    assert programs.meta.all_delivered
    assert programs.forks.consumed == programs.forks.end
    ledger = orjson.loads((tmp_path / "ledger.json").read_bytes())
    assert (ledger["captured"], ledger["closed"], ledger["sinks"]["siem"]["delivered"]) == (198, True, 198)


async def test_an_agent_moves_a_journal_aside_that_holds_a_record_it_can_not_read(tmp_path, monkeypatch):
    """Before it captures: programs that this journal knew are then not taken over."""
    journal = Journal(tmp_path / "journal.sqlite3", {})
    await journal.open()
    journal.put(POSITIONS, STREAM, b'{"version":99}')
    await journal.commit()
    await journal.close()

    def open_capture(*_options, **_more):
        *_, known = _options
        assert known == set()
        raise CannotCapture("the test ends here")

    monkeypatch.setattr(run, "open_capture", open_capture)
    with pytest.raises(CannotCapture):
        await run.run(Settings(state_dir=tmp_path, sinks=()), asyncio.Event())
    assert [path.name for path in tmp_path.iterdir() if ".corrupt-" in path.name]
