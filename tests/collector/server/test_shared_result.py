"""What requests without a token can ask for costs the store one query in some seconds, however many they are."""

import asyncio

import pytest

import collector.store
from collector.query import StoreReader
from collector.server.shared_result import SharedResult
from collector.store import StoreUnavailable
from collector.store.deletion.disk import check_writable


async def test_many_requests_for_readyz_check_the_store_once(running, monkeypatch):
    checks = []
    monkeypatch.setattr(collector.store, "check_writable", lambda client: (checks.append(1), check_writable(client)))
    async with running() as client:
        await asyncio.gather(*(client.get("/readyz") for _ in range(20)))
        await client.get("/readyz")
    assert len(checks) == 1


async def test_many_requests_for_metrics_measure_the_store_once(running, monkeypatch):
    measured, sizes = [], StoreReader.sizes

    async def counted(reader):
        measured.append(1)
        return await sizes(reader)

    monkeypatch.setattr(StoreReader, "sizes", counted)
    async with running() as client:
        await asyncio.gather(*(client.get("/metrics") for _ in range(20)))
        await client.get("/metrics")
    assert len(measured) == 1


async def test_a_result_is_computed_again_when_it_is_old():
    now, computed = [0.0], []

    async def compute():
        computed.append(1)
        return len(computed)

    shared = SharedResult(compute, 5.0, lambda: now[0])
    assert [await shared.get(), await shared.get()] == [1, 1]
    now[0] = 4.9
    assert await shared.get() == 1
    now[0] = 5.0
    assert [await shared.get(), await shared.get()] == [2, 2]


async def test_an_error_reaches_all_who_wait_and_is_computed_again_at_the_next_request():
    computed = []

    async def compute():
        computed.append(1)
        await asyncio.sleep(0)
        raise StoreUnavailable("the disk is full")

    shared = SharedResult(compute, 5.0)
    errors = await asyncio.gather(*(shared.get() for _ in range(10)), return_exceptions=True)
    assert [str(error) for error in errors] == ["the disk is full"] * 10 and len(computed) == 1
    with pytest.raises(StoreUnavailable):
        await shared.get()
    assert len(computed) == 2


async def test_a_client_that_leaves_cancels_nothing_for_the_others():
    release = asyncio.Event()

    async def compute():
        await release.wait()
        return "result"

    shared = SharedResult(compute, 5.0)
    leaving, staying = asyncio.create_task(shared.get()), asyncio.create_task(shared.get())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    release.set()
    assert await staying == "result" and leaving.cancelled()
