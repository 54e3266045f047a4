"""One agent after another on one node: the real epoch, sinks, packer and journal file, over a ring that outlives them. Any of
them may die between any two steps. At each step the ledger closes; in the end each fork has arrived at each sink, or was said
to be lost there."""

import asyncio
import logging
import os
import shutil
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from isal import igzip

from agent.journal import Journal
from agent.ledger import Queued, closed
from agent.lifecycle.build import build_sink
from agent.model import Attribution
from agent.program_instance import ProgramInstance
from agent.reporting.storms import Storms
from agent.reporting.summaries import Interval, Summaries
from agent.settings import SinkSettings
from agent.sinks.encoders.native import k8s_fields
from tests.agent.fakes import FakeAttributions, an_enricher
from tests.agent.test_program_instance import CGROUPS, STREAM, LoadedPrograms

pytestmark = pytest.mark.slow

LIVES = int(os.environ.get("LIVES", "1000"))
# One with small batches, one that holds much back: their journals are never in step.
SINKS = tuple(
    SinkSettings(name=name, url="http://receiver/", batch={"events": events, "wait": wait}, journal_bytes="1Mi")
    for name, events, wait in (("quick", 2, "1s"), ("slow", 7, "3s"))
)
MARKED = ("journal.sqlite3", "journal.sqlite3-wal")
NAMES = st.sampled_from([sink.name for sink in SINKS])
K8S_FIELDS = partial(k8s_fields, cluster="test", node="node1")


class Node:
    """`arrived`: by sink, the forks that its receiver has; `bodies`: what each batch was when it was first seen."""

    def __init__(self, folder):
        self.folder = folder
        self.programs = LoadedPrograms()
        self.now, self.lives = 0, 0
        self.known = set()
        self.arrived = {sink.name: Counter() for sink in SINKS}
        self.bodies = {}

    async def begin(self):
        """An agent starts, as agent.pipeline does."""

        def attribution(cgroup):
            return Attribution(cgroup, "/", "resolved", "status")

        def find(cgroup):
            return attribution(cgroup) if cgroup in self.known else None

        self.lives += 1
        self.programs.reopened()
        place = self.folder / str(self.lives)
        self.journal = Journal(place / MARKED[0], {sink.name: sink.journal_bytes for sink in SINKS}, lambda: float(self.now))
        await self.journal.open()
        assert self.journal.trouble is None
        self.sinks = [build_sink(sink, self.journal, "test", "node1", ()) for sink in SINKS]
        for sink in self.sinks:
            sink.restore(self.journal)
        enricher = an_enricher(FakeAttributions(attribution, find))
        storms, summaries = Storms(STREAM, 0, attribution, K8S_FIELDS), Summaries(STREAM, attribution, K8S_FIELDS)
        self.epoch = ProgramInstance(self.programs, enricher, summaries, storms, lambda _programs: None, "t0")
        assert self.epoch.restore(self.journal) == 0
        self.epoch.summaries.go_on(100 * self.lives)

    async def end(self):
        """It is killed: what the disk has then is all that the next one finds."""
        place = self.folder / str(self.lives)
        found = {name: (place / name).read_bytes() for name in MARKED if (place / name).exists()}
        await self.journal.close()
        shutil.rmtree(place)
        after = self.folder / str(self.lives + 1)
        after.mkdir()
        for name, content in found.items():
            (after / name).write_bytes(content)

    async def fork(self, cgroup):
        self.programs.fork(cgroup)

    async def name(self, cgroup):
        self.known.add(cgroup)

    async def turn(self, _):
        self.now += 1
        forks = self.epoch.turn(self.now * 10**9)
        for sink in self.sinks if forks else ():
            sink.emit_forks(STREAM, forks, float(self.now))

    async def summarise(self, _):
        snapshot = self.programs.snapshot()
        for event in self.epoch.summarise(snapshot, Interval("t0", "t1")):
            for sink in self.sinks:
                sink.emit_event(STREAM, event, float(self.now))
        self.epoch.stage_reported(self.journal)

    async def commit(self, crash_after):
        """In three steps, after each of which it may be killed; 3: it lives on."""
        if crash_after > 0:
            for sink in self.sinks:
                sink.stage(self.journal, float(self.now))
            self.epoch.stage(self.journal)
            reached = self.epoch.reached
        if crash_after > 1:
            assert await self.journal.commit()
        if crash_after > 2:
            self.epoch.publish(reached)
        else:
            await self.end()
            await self.begin()

    async def ship(self, what):
        """The oldest batch of a sink, and what its receiver makes of it. `lost`: the answer is, and the batch stays."""
        name, how = what
        (sink,) = [sink for sink in self.sinks if sink.name == name]
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
        elif how == "too large" and (halves := sink._open._packer.split(batch)):
            sink.queue.complete(batch, delivered={}, instead=halves)

    def adds_up(self):
        captured = self.epoch.captured(self.programs.snapshot())
        for sink in self.sinks:
            queued = Queued(captured.emitted - self.epoch.received, self.epoch.enricher.waiting, sink.queued(STREAM))
            assert closed(captured, self.journal.account(STREAM, sink.name), queued) == 0

    async def bring_to_an_end(self):
        self.known.update(CGROUPS)
        for _ in range(3):
            await self.turn(None)
        await self.summarise(None)
        for sink in self.sinks:
            sink.close()
        await self.commit(3)
        for sink in self.sinks:
            while len(sink.queue):
                await self.ship((sink.name, "taken"))
        await self.commit(3)


steps = st.one_of(
    st.tuples(st.just("fork"), st.sampled_from(CGROUPS)),
    st.tuples(st.just("fork"), st.sampled_from(CGROUPS)),
    st.tuples(st.just("turn"), st.none()),
    st.tuples(st.just("turn"), st.none()),
    st.tuples(st.just("name"), st.sampled_from(CGROUPS)),
    st.tuples(st.just("summarise"), st.none()),
    st.tuples(st.just("commit"), st.integers(0, 3)),
    st.tuples(st.just("commit"), st.just(3)),
    st.tuples(st.just("ship"), st.tuples(NAMES, st.sampled_from(["taken", "taken", "lost", "refused", "too large"]))),
)


@pytest.fixture(scope="module")
def quick():
    """Folders where a new file costs no fsync."""
    logging.getLogger("agent.journal").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield lambda: Path(tempfile.mkdtemp(dir=folder))


# What was open at one agent's death became a batch of the next, and was still open to the one after that.
TWICE = [("fork", 1), ("turn", None), ("name", 1), ("turn", None), ("commit", 2), ("turn", None), ("commit", 2)]


@example(life=TWICE)
@settings(max_examples=LIVES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, min_size=5, max_size=40))
def test_whoever_dies_and_when_each_fork_arrives_at_each_sink_or_is_said_to_be_lost(quick, life):
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
    for sink in node.sinks:
        account = node.journal.account(STREAM, sink.name)
        lost = sum(account.lost_by_reason().values())
        arrived = node.arrived[sink.name].keys() & made
        assert account.delivered.total() + lost == len(made)
        assert len(made - arrived) <= lost, "what was refused may have come before, its receipt being lost"
        if not lost:
            assert arrived == made
