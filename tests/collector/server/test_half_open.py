"""A stranger who opens connections and never ends a request."""

import aiohttp
import pytest

from tests.collector.server.processes import address, process
from tests.half_open import attack, rss_mib, steady_rss_mib


@pytest.mark.slow
async def test_half_open_requests_cost_less_than_20_mib_and_others_are_answered(tmp_path):
    settings = {"listen": "127.0.0.1:0", "store": f"chdb://{tmp_path}/store", "access": "open"}
    async with process(**settings) as running, aiohttp.ClientSession() as http:
        url = await address(running)
        async with http.get(f"{url}/healthz") as response:
            assert response.status == 200
        before = await steady_rss_mib(running.pid)
        peak = await attack(int(url.rpartition(":")[2]), running.pid)
        assert peak - before < 20
        async with http.get(f"{url}/healthz") as response:
            assert response.status == 200
        assert rss_mib(running.pid) - before < 20
