"""A store on a real, small file system: when it is nearly full, the oldest rows go, and everybody who looks can see it."""

import os
import subprocess
import time

import pytest

from collector.query import StoreReader
from collector.store import Store
from collector.store.deletion.disk import FULL
from collector.views.nodes.ledger import ledger_json
from collector.views.nodes.node_pages import ledger_model, nodes_model

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

VOLUME = 96 << 20  # bytes
HOUR = 3600 * 1_000_000_000  # ns


@pytest.fixture
def volume(tmp_path):
    if os.geteuid():
        pytest.skip("only root mounts a file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={VOLUME}", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)  # a test that failed may have left its store open


@pytest.fixture
def store(volume):
    store = Store.open(f"chdb://{volume}/store")
    yield store
    store.close()


def put_forks(store, received, rows=4000):
    """Some 4 MB that cannot be compressed, in the partition of `received` (ns)."""
    store._engine.writer.command(
        "INSERT INTO fork (cluster, namespace, pod, time, stream, cpu, sequence, received, node, holder, subject, kind, rest) "
        "SELECT 'prod', 'shop', 'cart', at, 'stream', 0, number + {first:UInt64}, at, 'node', 1, 1, 'process', "
        "randomString(1000) FROM (SELECT number, fromUnixTimestamp64Nano({received:Int64}) AS at FROM numbers({rows:UInt64}))",
        parameters={"first": received // HOUR * rows, "received": received, "rows": rows},
    )


def fill(volume, left):
    """Until `left` bytes of the volume are free."""
    free = os.statvfs(volume).f_bavail * os.statvfs(volume).f_frsize
    with (volume / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - left)


def forks(store):
    rows = store._engine.writer.query(
        "SELECT partition, sum(rows) FROM system.parts WHERE active AND table = 'fork' GROUP BY 1"
    )
    return dict(rows.result_rows)


async def test_a_volume_with_free_space_keeps_everything(store):
    put_forks(store, time.time_ns() - 48 * HOUR)
    assert await store.free_disk() == []
    assert sum(forks(store).values()) == 4000
    assert 0 < store.disk.ratio < FULL


async def test_the_oldest_forks_go_when_the_volume_is_nearly_full(store, volume, caplog):
    now = time.time_ns()
    for age in (72, 48, 24, 0):
        put_forks(store, now - age * HOUR)
    oldest, *others = sorted(forks(store))
    fill(volume, int(VOLUME * (1 - FULL)) - (1 << 20))  # 1 MB too little
    (dropped,) = await store.free_disk()
    assert (dropped.table, dropped.name, dropped.rows) == ("fork", oldest, 4000)
    assert sorted(forks(store)) == others
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "more than 90 % full: deleted the 4000 rows of fork that were received before " in line
    assert await store.free_disk() == [], "one partition was enough, though the engine may not have removed its files yet"
    assert sorted(forks(store)) == others


async def test_files_that_the_engine_removes_by_itself_are_no_reason_to_delete_rows(store, volume):
    for _ in range(2):
        put_forks(store, time.time_ns() - 48 * HOUR)
    store._engine.writer.command("OPTIMIZE TABLE fork FINAL")  # the two parts stay for minutes beside the one of both
    fill(volume, int(VOLUME * (1 - FULL)) - (2 << 20))
    assert await store.free_disk() == []


async def test_what_is_received_now_is_never_deleted_early(store, volume):
    put_forks(store, time.time_ns())
    fill(volume, 2 << 20)
    assert await store.free_disk() == []
    assert sum(forks(store).values()) == 4000
    assert store.disk.ratio > FULL


async def test_what_was_deleted_early_is_in_the_api_and_on_the_pages_and_outlives_the_collector(volume):
    now = time.time_ns()
    store = Store.open(f"chdb://{volume}/store")
    put_forks(store, now - 48 * HOUR)
    put_forks(store, now)
    fill(volume, int(VOLUME * (1 - FULL)) - (1 << 20))
    (dropped,) = await store.free_disk()
    store.close()
    store = Store.open(f"chdb://{volume}/store")
    rows = await StoreReader(store).ledger()
    store.close()
    (entry,) = ledger_json(rows, now)["deleted_early"]
    assert (entry["table"], entry["rows"]) == ("fork", 4000)
    assert entry["until"][:16] == f"{dropped.end:%Y-%m-%dT%H:%M}"
    for model in (nodes_model(rows, "", now), ledger_model(rows, "", now)):
        (text,) = model["deleted_early"]
        assert text.startswith("4,000 forks, received before ")


async def test_what_the_retention_would_have_deleted_by_now_is_not_reported_any_more(volume):
    store = Store.open(f"chdb://{volume}/store", retention=3 * 24 * 3600)
    put_forks(store, time.time_ns() - 48 * HOUR)
    fill(volume, int(VOLUME * (1 - FULL)) - (1 << 20))
    assert len(await store.free_disk()) == 1
    assert len(store.deleted_early) == 1
    await store.sweep(24 * 3600)
    assert await store.free_disk() == []
    assert list(store.deleted_early) == []
    store.close()
