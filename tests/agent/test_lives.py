"""One agent after another on one node, each killed between any two steps: the real startup, loop, sinks and journal file, over
programs that outlive them. At each step the ledger closes; in the end each fork has arrived at each sink, or is counted as lost
there."""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from isal import igzip

from agent.attribution.hierarchy import Hierarchy
from agent.journal import Journal
from agent.ledger import Queued, imbalance
from agent.lifecycle.loop import Loop
from agent.lifecycle.startup import open_parts, start
from agent.model import CREATED, CgroupEvent, Container, Pod
from agent.settings import Settings
from tests.agent.fakes import FakeCapture, FakeClock, FakePrograms
from tests.silenced import silenced

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LIVES = int(os.environ.get("LIVES", "150"))
STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
BOOT_ID = STREAM.partition(".")[0]
CGROUPS = (1, 2, 3)  # a container of a pod each
SECOND = 10**9
NEVER_REMOVED = 2**62  # created after any walk of the hierarchy, so that no walk finds them missing
# One with small batches, one that holds much back: their journals are never in step.
SINKS = [
    {"name": name, "url": "http://receiver/", "batch": {"events": events, "wait": wait}, "journal_bytes": "1Mi"}
    for name, events, wait in (("quick", 2, "1s"), ("slow", 7, "3s"))
]
SETTINGS = Settings(node="node1", cluster="test", kubernetes={"wait": "5s"}, sinks=SINKS)
FILES = ("journal.sqlite3", "journal.sqlite3-wal")
NAMES = st.sampled_from([sink["name"] for sink in SINKS])


class Killed(BaseException):
    """The agent is gone at this moment."""


class KillableJournal(Journal):
    """The real journal. `kill`: "before" or "after" the next commit, the agent is killed."""

    kill = None

    async def commit(self):
        if self.kill == "before":
            raise Killed
        assert await super().commit()
        if self.kill == "after":
            raise Killed
        return True


def pod_of(cgroup):
    container = Container(f"{cgroup:064x}", "app", kind="app", runtime="containerd")
    uid = f"uid-{cgroup}"
    return Pod(uid, "shop", f"cart-{cgroup}", frozenset([uid]), {}, None, None, None, {container.id: container})


def created(cgroup):
    path = f"/kubepods/poduid-{cgroup}/{cgroup:064x}".encode()
    return CgroupEvent(cgroup, 0, NEVER_REMOVED, CREATED, path, True, 0, 0)


class Node:
    """`known`: cgroups whose pods the API has reported; `arrived`: by sink, the events that its receiver has; `bodies`: what
    each batch was when it was first seen."""

    def __init__(self, folder):
        self.folder = folder
        self.programs = FakePrograms(STREAM, map(created, CGROUPS))
        self.clock, self.lives = FakeClock(SECOND), 0
        self.hierarchy = Hierarchy(0, None, folder / "cgroup")
        self.hierarchy.root.mkdir()
        self.known = set()
        self.arrived = {sink["name"]: Counter() for sink in SINKS}
        self.bodies = {}

    async def begin(self):
        """An agent starts."""
        self.lives += 1
        self.programs.reopen()
        place = self.folder / str(self.lives)
        settings = SETTINGS.model_copy(update={"state_dir": place})
        limits = {sink.name: sink.journal_bytes for sink in settings.sinks}
        self.journal = KillableJournal(place / FILES[0], limits, lambda: self.clock.wall_ns() / 1e9)
        await self.journal.open()
        assert self.journal.trouble is None
        capture = FakeCapture(self.programs)
        self.parts = open_parts(settings, self.hierarchy, capture, self.journal, self.clock, boot_id=BOOT_ID, most_waiting=10)
        start(self.parts)
        self.loop = Loop(self.parts)
        (self.instance,) = self.parts.instances
        assert all("journal_failed" not in self.account(sink.name).lost for sink in self.parts.sinks)
        for cgroup in self.known:
            self.parts.metadata_cache.pods.put(pod_of(cgroup))

    async def end(self):
        """It is killed: what the disk has then is all that the next one finds."""
        place = self.folder / str(self.lives)
        found = {name: (place / name).read_bytes() for name in FILES if (place / name).exists()}
        await self.journal.close()
        shutil.rmtree(place)
        after = self.folder / str(self.lives + 1)
        after.mkdir()
        for name, content in found.items():
            (after / name).write_bytes(content)

    def account(self, sink):
        return self.journal.account(STREAM, sink)

    async def fork(self, cgroup):
        self.programs.fork(cgroup)

    async def name(self, cgroup):
        """The API reports its pod."""
        self.known.add(cgroup)
        self.parts.metadata_cache.pods.put(pod_of(cgroup))

    async def turn(self, _):
        self.clock.boot += SECOND
        self.parts.pipeline.turn()

    async def step(self, _):
        """One step of the loop as a whole, with all that is due by then."""
        self.clock.boot += SECOND
        await self.loop.step()

    async def summarize(self, _):
        self.loop.summarize(self.instance)

    async def commit(self, crash_after):
        """It may be killed before it (0), after staging (1), or after the journal's commit (2); 3: it lives on."""
        self.journal.kill = {1: "before", 2: "after"}.get(crash_after)
        try:
            if crash_after == 0:
                raise Killed
            await self.parts.pipeline.commit()
        except Killed:
            await self.end()
            await self.begin()

    async def ship(self, what):
        """The oldest batch of a sink, and what its receiver makes of it. `lost`: the answer is, and the batch stays."""
        name, how = what
        (sink,) = [sink for sink in self.parts.sinks if sink.name == name]
        head = asyncio.ensure_future(sink.queue.head())
        await asyncio.wait([head], timeout=0.5 if any(entry.ready for entry in sink.queue) else 0.0001)
        if not head.done():
            assert not any(entry.ready for entry in sink.queue)
            head.cancel()
            return
        batch = head.result()
        assert self.bodies.setdefault((name, batch.id), batch.body) == batch.body, "a batch is repeated byte for byte"
        if how in ("taken", "lost"):
            events = [orjson.loads(line) for line in igzip.decompress(batch.body).splitlines()]
            self.arrived[name].update({event["id"]: 1 for event in events})
        if how == "taken":
            sink.queue.complete(batch, delivered=batch.forks)
        elif how == "refused":
            sink.queue.complete(batch, delivered={}, lost={"rejected": batch.forks})
        elif how == "too large" and (halves := sink._open.packer.split(batch)):
            sink.queue.complete(batch, delivered={}, instead=halves)

    def adds_up(self):
        captured = self.instance.captured(self.programs.snapshot())
        for sink in self.parts.sinks:
            queued = Queued(captured.emitted - self.instance.received, self.instance.enricher.waiting, sink.queued(STREAM))
            assert imbalance(captured, self.account(sink.name), queued) == 0

    async def bring_to_an_end(self):
        for cgroup in CGROUPS:
            await self.name(cgroup)
        for _ in range(3):
            await self.turn(None)
        await self.summarize(None)
        for sink in self.parts.sinks:
            sink.close_batch()
        await self.commit(3)
        for sink in self.parts.sinks:
            while len(sink.queue):
                await self.ship((sink.name, "taken"))
        await self.commit(3)


steps = st.one_of(
    st.tuples(st.just("fork"), st.sampled_from(CGROUPS)),
    st.tuples(st.just("fork"), st.sampled_from(CGROUPS)),
    st.tuples(st.just("turn"), st.none()),
    st.tuples(st.just("turn"), st.none()),
    st.tuples(st.just("step"), st.none()),
    st.tuples(st.just("name"), st.sampled_from(CGROUPS)),
    st.tuples(st.just("summarize"), st.none()),
    st.tuples(st.just("commit"), st.integers(0, 3)),
    st.tuples(st.just("commit"), st.just(3)),
    st.tuples(st.just("ship"), st.tuples(NAMES, st.sampled_from(["taken", "taken", "lost", "refused", "too large"]))),
)


@pytest.fixture(scope="module")
def quick():
    """Folders where a new file costs no fsync."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with silenced("agent.journal", "agent.lifecycle"), tempfile.TemporaryDirectory(dir=memory) as folder:
        yield lambda: Path(tempfile.mkdtemp(dir=folder))


# What was open when one agent was killed became a batch of the next, and was still open to the one after that.
TWICE = [("fork", 1), ("turn", None), ("name", 1), ("turn", None), ("commit", 2), ("turn", None), ("commit", 2)]


@example(life=TWICE)
@hypothesis_settings(max_examples=LIVES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, min_size=5, max_size=40))
def test_whenever_agents_are_killed_each_fork_arrives_at_each_sink_or_is_counted_as_lost(quick, life):
    async def live():
        node = Node(quick())
        await node.begin()
        try:
            for what, how in life:
                await getattr(node, what)(how)
                node.adds_up()
            await node.bring_to_an_end()
            node.adds_up()
        finally:
            await node.journal.close()
            shutil.rmtree(node.folder)
        return node

    node = asyncio.run(live())
    made = {f"{STREAM}.0.{number}" for number in range(sum(node.programs.counts.values()))}
    for sink in node.parts.sinks:
        account = node.account(sink.name)
        lost = sum(account.lost_by_reason().values())
        arrived = node.arrived[sink.name].keys() & made
        assert account.delivered.total() + lost == len(made)
        assert len(made - arrived) <= lost, "what was refused may have come before, its receipt being lost"
        if not lost:
            assert arrived == made
