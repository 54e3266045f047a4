"""A collector in installations that lack packages: as the image has it, and as one without the embedded engine would."""

import socket

import aiohttp
import pytest

from tests.collector.server.processes import address, ended, post, process

COLLECTOR = """
import runpy, sys
sys.modules.update(dict.fromkeys({without!r}))  # importing one of them fails as if it were not installed
runpy.run_module("collector", run_name="__main__")
"""


def collector(store, without):
    return process(python=("-c", COLLECTOR.format(without=without)), listen="127.0.0.1:0", store=store)


async def test_packages_that_the_locks_leave_out_are_not_needed(tmp_path, make):
    """pyproject.toml says that chdb-core asks for these and does without them."""
    async with (
        collector(f"chdb://{tmp_path}/store", ["numpy", "pandas", "pyarrow"]) as running,
        aiohttp.ClientSession() as http,
    ):
        url = await address(running)
        _, answer = await post(http, url, *(make.fork(number) for number in range(20)), make.summary(1, 20))
        assert answer["accepted"] == 21
        async with http.get(f"{url}/v1/pods") as answer:
            (pod,) = (await answer.json())["pods"]
        async with http.get(f"{url}/v1/forks", params={"from": "-1h", "limit": "100"}) as answer:
            forks = (await answer.json())["forks"]
    assert (pod["delivered"], pod["processes"], len(forks)) == (20, 20, 20)


@pytest.mark.parametrize(
    ("scheme", "why"),
    [("chdb", "there is no embedded engine here, a ClickHouse server can be the store"), ("http", "refused")],
)
async def test_without_the_embedded_engine_only_a_server_can_be_the_store(tmp_path, scheme, why):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    store = f"http://127.0.0.1:{port}/x" if scheme == "http" else f"chdb://{tmp_path}/store"
    async with collector(store, ["chdb"]) as running:
        code, out, (*before, line) = await ended(running)
    assert (code, out) == (69, "")
    assert line.startswith("forklore collector: ") and why in line and not any("Traceback" in one for one in before)
