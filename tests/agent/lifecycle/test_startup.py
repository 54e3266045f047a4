"""What an agent restores at its start, with the real journal: of its own boot and of an earlier one."""

from array import array

import orjson
import pytest
from isal import igzip

from agent.attribution.hierarchy import Hierarchy
from agent.journal import Journal
from agent.kernel.records import FORK_SLOT
from agent.lifecycle.startup import open_parts, start
from agent.model import Container, Pod
from agent.settings import Settings
from agent.state_records import (
    CGROUPS,
    CLOCK,
    PODS,
    POSITIONS,
    CgroupRecord,
    ClockRecord,
    PodRecord,
    PositionRecord,
    WaitingForkRecord,
    waiting_table,
)
from tests.agent.fakes import FakeCapture, FakeClock, FakePrograms

BOOT_ID, EARLIER_BOOT_ID = "0ac846b9-54b9-46db-ad41-e0a5f64de594", "11111111-54b9-46db-ad41-e0a5f64de594"
STREAM, EARLIER_STREAM = f"{BOOT_ID}.9f3c51d2a7e04b68", f"{EARLIER_BOOT_ID}.9f3c51d2a7e04b68"
CGROUP, ID = 5, "7b" * 32
POD = Pod(
    "uid", "shop", "cart", frozenset(["uid"]), {}, None, None, None, {ID: Container(ID, "app")}, {"team": "shop", "other": "x"}
)


@pytest.fixture
def settings(tmp_path):
    sink = {"name": "siem", "url": "http://receiver/", "schema": "native", "annotations": ["team"]}
    return Settings(node="node1", state_dir=tmp_path / "state", sinks=[sink])


@pytest.fixture
async def journal(settings):
    """Of the agent before; `start_agent` commits it."""
    journal = Journal(settings.state_dir / "journal.sqlite3", {"siem": 1 << 20})
    await journal.open()
    return journal


@pytest.fixture
async def start_agent(settings, tmp_path):
    """Ends the agent before, and starts the next one of this boot; returns its parts."""
    journals = []

    async def begin(before):
        assert await before.commit()
        await before.close()
        journal = Journal(settings.state_dir / "journal.sqlite3", {"siem": 1 << 20})
        journals.append(journal)
        await journal.open()
        capture, hierarchy = FakeCapture(FakePrograms(STREAM)), Hierarchy(0, None, tmp_path)
        parts = open_parts(settings, hierarchy, capture, journal, FakeClock(), boot_id=BOOT_ID)
        start(parts)
        return parts

    yield begin
    for journal in journals:
        await journal.close()


def put_pod(journal):
    journal.put(PODS, POD.uid, PodRecord(POD, gone=False).encode())
    journal.put(CGROUPS, CGROUP, CgroupRecord(f"/kubepods/poduid/{ID}", 0, None, 0).encode())


async def test_annotations_that_are_asked_for_are_restored_with_their_pods(journal, start_agent):
    put_pod(journal)
    journal.put(CLOCK, BOOT_ID, ClockRecord([0], [FakeClock.SEPARATION_NS]).encode())
    parts = await start_agent(journal)
    assert parts.metadata_cache.pods.get("uid").annotations == {"team": "shop"}
    assert parts.metadata_cache.attributions.resolve_now(CGROUP).pod.annotations == {"team": "shop"}


async def test_forks_of_an_earlier_boot_that_waited_are_emitted_with_the_annotations_of_their_pods(
    journal, start_agent, records
):
    put_pod(journal)
    journal.put(CLOCK, EARLIER_BOOT_ID, ClockRecord([0], [FakeClock.SEPARATION_NS]).encode())
    journal.put(POSITIONS, EARLIER_STREAM, PositionRecord(FORK_SLOT, 0, 1).encode())
    waiting = WaitingForkRecord(100, CGROUP, False, records.fork(7, CGROUP))
    journal.put(waiting_table(EARLIER_STREAM), 1, waiting.encode())
    parts = await start_agent(journal)
    await parts.pipeline.commit(close_batches=True)
    batch = await parts.sinks[0].queue.head()
    (event,) = [orjson.loads(line) for line in igzip.decompress(batch.body).splitlines()]
    assert batch.cgroups == array("Q", [CGROUP])
    assert (event["id"], event["k8s"]["pod"]) == (f"{EARLIER_STREAM}.0.7", "cart")
    assert event["k8s"]["annotations"] == {"team": "shop"}
