"""The three commands against a real collector in a process of its own, with events as an agent sends them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import UTC, datetime

import aiohttp
import orjson
import pytest
from textual.widgets import Static

from cli.client.client import Collector
from cli.options import Access
from cli.top.app import Top
from cli.top.rows import TableView
from wire.batch import CONTENT_TYPE, EVENTS_PATH

from .answers import EXAMPLES
from .processes import run_forklore, start_forklore

pytestmark = pytest.mark.slow

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
TOKEN = "right-token"
SECOND = 1_000_000_000


def stamp(ns):
    return f"{datetime.fromtimestamp(ns // SECOND, UTC):%Y-%m-%dT%H:%M:%S}.{ns % SECOND:09d}Z"


class RealCollector:
    def __init__(self, url, session, token_file):
        self.url, self.session, self.token_file = url, session, token_file
        self.now = time.time_ns()

    async def post(self, *events):
        body = b"\n".join(map(orjson.dumps, events))
        headers = {"Content-Type": CONTENT_TYPE, "Authorization": f"Bearer {TOKEN}"}
        async with self.session.post(self.url + EVENTS_PATH, data=body, headers=headers) as answer:
            answers = orjson.loads(await answer.read())
        assert answers["accepted"] == len(events), answers

    async def until_a_reader_is_connected(self):
        async with asyncio.timeout(20):
            while True:
                async with self.session.get(f"{self.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
                    if "forklore_collector_streams_open 1.0" in await answer.text():
                        return
                await asyncio.sleep(0.05)

    def fork(self, sequence, pid, parent, comm="sh", *, pod="cart-1"):
        """A fork of `pid` by `parent`, `sequence` ms after the first."""
        event = deepcopy(EXAMPLES[0])
        at = stamp(self.now - 60 * SECOND + sequence * 1_000_000)
        event.update(
            id=f"{STREAM}.0.{sequence}", timestamp=at, start_time=at, leader_start_time=at, comm=comm, parent_comm=comm
        )
        event.update(
            child_pid=pid, child_tid=pid, leader_pid=pid, leader_tid=pid, child_ns_pid=pid - 7000, child_ns_tid=pid - 7000
        )
        event.update(parent_pid=parent, parent_tid=parent, parent_ns_pid=parent - 7000, parent_ns_tid=parent - 7000)
        event.update(process_entity_id=f"{pid:016x}", parent_entity_id=f"{parent:016x}", child_ns_pids=[pid, pid - 7000])
        return self.of(event, pod)

    def summary(self, number, processes, pod="cart-1", storm=False):
        event = deepcopy(EXAMPLES[1])
        cgroup = 4821 if pod == "cart-1" else 4822
        counts = dict.fromkeys(event["counts"], 0) | {"processes": processes, "emitted": processes}
        event.update(id=f"{STREAM}.summary.{cgroup}.{number}", timestamp=stamp(self.now), counts=counts, totals=counts)
        event["interval"] = {"start": stamp(self.now - 10 * SECOND), "end": stamp(self.now)}
        return self.of(event, pod)

    def of(self, event, pod):
        event["k8s"].update(pod=pod, pod_uid=f"uid-of-{pod}")
        cgroup = 4821 if pod == "cart-1" else 4822
        event["cgroup"]["id"] = cgroup
        event["container"].update(id=f"{cgroup:064x}")
        return event


@asynccontextmanager
async def serving(folder, port=0):
    """Starts a collector and yields its address; kills it at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FORKLORE_")}
    settings = {"LISTEN": f"127.0.0.1:{port}", "STORE": f"chdb://{folder}/store", "TOKEN_FILE": f"{folder}/token"}
    environment |= {f"FORKLORE_COLLECTOR_{name}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "collector", env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield (await process.stdout.readline()).decode().split()[-1]
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def running_collector(folder, port=0):
    (folder / "token").write_text(f"{TOKEN}\n")
    async with serving(folder, port) as url, aiohttp.ClientSession() as session:
        yield RealCollector(url, session, folder / "token")


@pytest.fixture
async def real(tmp_path):
    async with running_collector(tmp_path) as collector:
        yield collector


async def test_the_commands_show_what_was_posted(real):
    known = {"FORKLORE_TOKEN_FILE": str(real.token_file)}
    await real.post(
        real.fork(0, 7001, 7000, "cron"),
        real.fork(1, 7002, 7001),
        real.fork(2, 7003, 7002, "sleep"),
        *(real.fork(3 + one, 7100 + one, 7001) for one in range(4)),
        real.summary(1, 7),
        real.summary(1, 23, pod="api-1"),
    )
    async with asyncio.timeout(50):
        assert (await run_forklore(real, "top")).code == 77

        top = await run_forklore(real, "top", **known)
        assert top.code == 0
        assert [one.split()[:2] for one in top.lines[1:3]] == [["shop/api-1", "2.3"], ["shop/cart-1", "0.7"]]
        assert "7 " in top.lines[2] and "Deployment/cart" in top.lines[2]
        assert (await run_forklore(real, "top", "--workload", "Deployment/none", **known)).lines[1].startswith("0 pods")

        tree = await run_forklore(real, "tree", "shop/cart-1", "--from", "-5m", **known)
        assert tree.code == 0
        assert tree.lines[0].startswith("7 processes forked from ") and tree.lines[0].endswith(
            "at most 5 children of one process"
        )
        shape = [one.partition("  ")[0] if "times" not in one else one.split("  ")[0] for one in tree.lines[1:]]
        assert shape[0].endswith(" 7000/0") and "7001/1" in shape[1]
        assert sum("4 times" in one for one in tree.lines) == 1 and any("7003/3" in one for one in tree.lines)
        assert (await run_forklore(real, "tree", "shop/none", **known)).code == 66
        assert (await run_forklore(real, "tree", "shop/cart-1", "--limit", "0", **known)).code == 2

        async with start_forklore(real, "tail", "--since", "-5m", "--pod", "cart-1", "-o", "json", **known) as process:
            answers = [orjson.loads(await process.stdout.readline()) for _ in range(7)]
            assert [event["child_pid"] for event in answers] == [7001, 7002, 7003, 7100, 7101, 7102, 7103]
            await real.post(real.fork(10, 7200, 7001), real.fork(11, 7300, 7001, pod="api-1"), real.fork(12, 7201, 7001))
            answers = [orjson.loads(await process.stdout.readline()) for _ in range(2)]
            assert [event["child_pid"] for event in answers] == [7200, 7201]


async def test_the_screens_of_top_show_a_real_pod(real):
    await real.post(real.fork(0, 7001, 7000, "cron"), real.fork(1, 7002, 7001), real.summary(1, 7))
    async with Collector(Access(real.url, real.url, real.token_file, None)) as client:
        top = Top(client, [], TableView(), 0.5, await client.get(("v1", "pods")))
        async with top.run_test(size=(160, 50)) as pilot, asyncio.timeout(50):
            await pilot.pause()
            await pilot.press("enter")
            pod = top.screen
            while "7002/2" not in str(pod.query_one("#in-lineage", Static).render()):  # noqa: ASYNC110 - a screen has no event for this
                await asyncio.sleep(0.1)
            answers = {pane: str(pod.query_one(f"#in-{pane}", Static).render()) for pane in ("overview", "pairs", "latest")}
            assert str(pod.query_one("#error", Static).render()) == ""
    assert (
        "7 processes" in answers["overview"]
        and "5 not arrived yet" in answers["overview"]
        and "Deployment cart" in answers["overview"]
    )
    assert "cron" in answers["pairs"] and "cron 7000/0 -> 7001/1" in answers["latest"]


async def test_tail_reconnects_to_a_collector_that_was_killed_and_restarted(tmp_path):
    async with running_collector(tmp_path) as real:
        port = int(real.url.rpartition(":")[2])
        tail = start_forklore(real, "tail", "-o", "json", FORKLORE_TOKEN_FILE=str(real.token_file))
        process = await tail.__aenter__()
        await real.until_a_reader_is_connected()
        await real.post(real.fork(1, 7001, 7000))
        assert orjson.loads(await process.stdout.readline())["child_pid"] == 7001
    try:
        async with running_collector(tmp_path, port) as real, asyncio.timeout(40):
            await real.post(real.fork(2, 7002, 7000))  # it may not have come back yet
            assert orjson.loads(await process.stdout.readline())["child_pid"] == 7002
            await real.post(real.fork(3, 7003, 7000))
            assert orjson.loads(await process.stdout.readline())["child_pid"] == 7003
    finally:
        await tail.__aexit__(None, None, None)
    errors = (await process.stderr.read()).decode()
    assert "trying again" in errors and "is connected again after" in errors
