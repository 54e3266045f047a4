"""A collector in installations that lack packages: as the image has it, and as one without the embedded engine would."""

import asyncio
import os
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
import pytest

ROOT = Path(__file__).parents[3]
COLLECTOR = """
import runpy, sys
sys.modules.update(dict.fromkeys({without!r}))  # whoever imports one of them is told that it is not there
runpy.run_module("collector", run_name="__main__")
"""


@asynccontextmanager
async def collector(store, without):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FORKLORE_")}
    environment |= {"FORKLORE_COLLECTOR_LISTEN": "127.0.0.1:0", "FORKLORE_COLLECTOR_STORE": store}
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COLLECTOR.format(without=without), cwd=ROOT, env=environment, stdout=-1, stderr=-1
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def test_what_the_locks_leave_out_is_not_missed(tmp_path, says):
    """pyproject.toml says that chdb-core asks for these and does without them."""
    async with (
        collector(f"chdb://{tmp_path}/store", ["numpy", "pandas", "pyarrow"]) as running,
        aiohttp.ClientSession() as http,
    ):
        url = (await running.stdout.readline()).decode().split()[-1]
        events = [says.fork(number) for number in range(20)] + [says.summary(1, 20)]
        async with http.post(
            f"{url}/v1/events", data=b"\n".join(map(orjson.dumps, events)), headers={"Content-Type": "application/x-ndjson"}
        ) as answer:
            assert (await answer.json())["accepted"] == 21
        async with http.get(f"{url}/v1/pods") as answer:
            (pod,) = (await answer.json())["pods"]
        async with http.get(f"{url}/v1/forks", params={"from": "-1h", "limit": "100"}) as answer:
            forks = (await answer.json())["forks"]
    assert (pod["delivered"], pod["processes"], len(forks)) == (20, 20, 20)


@pytest.mark.parametrize(
    ("scheme", "why"),
    [("chdb", "there is no embedded engine here, a ClickHouse server can be the store"), ("http", "refused")],
)
async def test_without_the_embedded_engine_a_server_is_all_that_can_be_a_store(tmp_path, scheme, why):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    store = f"http://127.0.0.1:{port}/x" if scheme == "http" else f"chdb://{tmp_path}/store"
    async with collector(store, ["chdb"]) as running:
        out, err = await asyncio.wait_for(running.communicate(), 20)
    (*_, line) = err.decode().splitlines()
    assert (running.returncode, out) == (69, b"")
    assert line.startswith("forklore collector: ") and why in line and "Traceback" not in err.decode()
