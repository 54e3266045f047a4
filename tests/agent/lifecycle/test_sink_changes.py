"""Sinks that come and go between agents, with the real journal: the ledger of each closes all the same."""

import asyncio
import logging

import pytest

from agent.attribution.hierarchy import Hierarchy
from agent.journal import Journal
from agent.lifecycle.loop import Loop
from agent.lifecycle.startup import open_parts, start
from agent.reporting.snapshots import ledger_snapshot
from agent.settings import Settings
from tests.agent.fakes import FakeCapture, FakeClock, FakePrograms

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
BOOT_ID = STREAM.partition(".")[0]
CGROUP, SECOND = 7, 10**9


class Node:
    """Programs that outlive the agents, and the state directory."""

    def __init__(self, folder):
        self.folder = folder
        self.programs, self.clock = FakePrograms(STREAM), FakeClock(SECOND)
        self.journal = None

    async def agent(self, *sinks):
        """The agent before ends, and one with these sinks starts."""
        await self.end()
        self.programs.reopen()
        batch = {"events": 4, "wait": "60s"}
        settings = Settings(
            node="node1",
            kubernetes={"enabled": False},
            state_dir=self.folder / "state",
            sinks=[{"name": name, "url": "http://receiver/", "batch": batch} for name in sinks],
        )
        limits = {sink.name: sink.journal_bytes for sink in settings.sinks}
        self.journal = Journal(settings.state_dir / "journal.sqlite3", limits)
        await self.journal.open()
        hierarchy = Hierarchy(0, None, self.folder)
        self.parts = open_parts(settings, hierarchy, FakeCapture(self.programs), self.journal, self.clock, boot_id=BOOT_ID)
        start(self.parts)
        self.loop = Loop(self.parts)

    async def end(self):
        if self.journal is not None:
            await self.parts.pipeline.commit()
            await self.journal.close()

    async def fork(self, times):
        """They are drained, emitted and saved."""
        for _ in range(times):
            self.programs.fork(CGROUP)
        for _ in range(2):
            self.clock.boot += SECOND
            await self.loop.step()
        await self.parts.pipeline.commit()

    async def deliver(self, name):
        queue = self.journal.queue(name)
        self.sink(name).close_batch()
        await self.parts.pipeline.commit()
        while len(queue):
            batch = await asyncio.wait_for(queue.head(), 10)
            queue.complete(batch, delivered=batch.forks)

    def sink(self, name):
        return {sink.name: sink for sink in self.parts.sinks}[name]

    def ledger(self, name):
        """What is delivered, filtered, lost and queued; and what the two sides differ by."""
        found = ledger_snapshot(self.parts.instances[0], self.programs.snapshot(), self.parts.sinks).sinks[name]
        filtered = {reason: forks for reason, forks in found.filtered.items() if forks}
        return found.delivered, filtered, dict(found.lost), found.queued.total, found.difference


@pytest.fixture
async def node(tmp_path):
    here = Node(tmp_path)
    yield here
    await here.end()


async def test_the_account_of_a_sink_that_comes_later_begins_then_and_this_is_logged_once(node, caplog):
    await node.agent()
    await node.fork(10)
    with caplog.at_level(logging.INFO, "agent.lifecycle"):
        await node.agent("siem")
        assert node.ledger("siem") == (0, {"before_sink": 10}, {}, 0, 0)
        await node.fork(5)
        assert node.ledger("siem") == (0, {"before_sink": 10}, {}, 5, 0)
        await node.agent("siem")
        await node.deliver("siem")
    assert node.ledger("siem") == (5, {"before_sink": 10}, {}, 0, 0)
    begun = [text for text in caplog.messages if "begins now" in text]
    assert begun == ["sink siem begins now: 10 forks that were captured before are not sent to it"]


async def test_what_still_lies_in_the_ring_when_a_sink_comes_is_sent_to_it(node):
    await node.agent()
    await node.fork(3)
    await node.end()
    node.journal = None
    for _ in range(4):
        node.programs.fork(CGROUP)
    await node.agent("siem")
    await node.fork(0)
    await node.deliver("siem")
    assert node.ledger("siem") == (4, {"before_sink": 3}, {}, 0, 0)


async def test_a_second_sink_begins_later_than_the_first(node):
    await node.agent("siem")
    await node.fork(6)
    await node.agent("siem", "lake")
    await node.fork(2)
    for name in ("siem", "lake"):
        await node.deliver(name)
    assert node.ledger("siem") == (8, {}, {}, 0, 0)
    assert node.ledger("lake") == (2, {"before_sink": 6}, {}, 0, 0)


async def test_a_sink_that_goes_and_comes_back_loses_what_was_left_for_it_and_begins_again(node):
    """4 forks are a batch, and 2 are in the open one."""
    await node.agent("siem")
    await node.fork(6)
    await node.agent()
    await node.fork(10)
    await node.agent("siem")
    await node.fork(1)
    await node.deliver("siem")
    assert node.ledger("siem") == (1, {"before_sink": 10}, {"sink_removed": 6}, 0, 0)
