"""Reads run beside each other, on a few connections."""

import asyncio
import threading
import time

import pytest

from collector.query import StoreReader
from collector.store import Store, StoreUnavailable
from collector.store.reader_pool import READERS
from tests.collector.conftest import empty_store, lines_of

# A minute long, unless it is killed.
SLOW = (
    "SELECT sum(sleepEachRow(0.1)) FROM numbers(600) "
    "SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 100000000"
)
RUNNING = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sum(sleepEachRow%'"


def until_it_runs(client):
    while not client.query(RUNNING).first_item["count()"]:
        time.sleep(0.01)


@pytest.fixture
def store(tmp_path):
    opened = Store.open(empty_store(tmp_path / "store"))
    yield opened
    opened.close()


@pytest.mark.timeout(50)
async def test_a_slow_read_does_not_hold_up_another(store, make):
    await store.insert(lines_of(make.fork(1)))
    slow = asyncio.create_task(store.readers.run(lambda client: client.query(SLOW)))
    await store.readers.run(until_it_runs)
    reader = StoreReader(store)
    (pod,) = (await reader.pods(10)).pods
    page, ledger = await asyncio.gather(reader.pod("shop", "cart-1", 10), reader.ledger())
    assert (page.snapshot.pods, len(page.latest), len(ledger.streams)) == ([pod], 1, 1)
    assert not slow.done()
    await store.readers.run(lambda client: client.command("KILL QUERY WHERE query LIKE 'SELECT sum(sleepEachRow%' SYNC"))
    with pytest.raises(StoreUnavailable, match="cancelled"):
        await slow


async def test_a_write_is_seen_while_a_slow_read_runs(store, make):
    slow = asyncio.create_task(store.readers.run(lambda client: client.query(SLOW)))
    await store.readers.run(until_it_runs)
    await store.insert(lines_of(make.fork(1)))
    assert len((await StoreReader(store).pods(10)).pods) == 1 and not slow.done()
    await store.readers.run(lambda client: client.command("KILL QUERY WHERE query LIKE 'SELECT sum(sleepEachRow%' SYNC"))
    with pytest.raises(StoreUnavailable, match="cancelled"):
        await slow


async def test_no_more_reads_run_at_once_than_there_are_connections(store):
    lock, all_run, release = threading.Lock(), threading.Event(), threading.Event()
    running, clients, most = 0, set(), 0

    def read(client):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            clients.add(id(client))
            if running == READERS:
                all_run.set()
        release.wait(30)
        with lock:
            running -= 1
        return client.query("SELECT 1").result_rows

    reads = [asyncio.create_task(store.readers.run(read)) for _ in range(3 * READERS)]
    assert await asyncio.to_thread(all_run.wait, 30)
    release.set()
    assert await asyncio.gather(*reads) == [[(1,)]] * len(reads)
    assert most == READERS == len(clients)


async def test_a_read_that_fails_gives_its_connection_back(store):
    for _ in range(2 * READERS):
        with pytest.raises(StoreUnavailable):
            await store.readers.run(lambda client: client.query("SELECT nothing FROM nowhere"))
    assert (await StoreReader(store).sizes()).forks == 0
