"""A journal compared with a plain model after each step: batches, state tables, commits, a failing disk, crashes.

Crashes also come in the middle of a commit or of the upkeep after it. Every fork that was put is delivered, lost or queued.
"""

import asyncio
import os
import random
import resource
import shutil
import threading
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.journal import Journal
from agent.ledger import FORGOTTEN
from agent.model import Batch
from tests.agent.journal.batches import a_batch, counts
from tests.silenced import silenced

pytestmark = pytest.mark.slow

RUNS = int(os.environ.get("LIVES", "150"))
LIMITS = {"siem": 30_000, "collector": 9_000}
SINKS, STREAMS, TABLES = tuple(LIMITS), ("0f2a.1", "0f2a.2"), ("a", "b")
SIZES = (1, 100, 2000, 8000)
QUEUE_STEPS = ("put", "put", "put", "put_many", "take", "take", "take_partly", "reject", "split", "overtake")
STATE_STEPS = ("put_item", "put_item", "clear", "forget")
COMMITS = (
    "commit",
    "commit",
    "commit",
    "commit_on_a_failing_disk",
    "change_while_committing",
    "change_while_committing",
    "change_while_failing_to_commit",
)
STEPS = (*QUEUE_STEPS, *STATE_STEPS, *COMMITS, "crash", "crash_while_committing")
runs = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 999), st.integers(0, 999)), min_size=6, max_size=18)


@dataclass
class Model:
    """The content of a journal. `waiting`: batches, each with whether a sender may have it. `put`: forks that were put."""

    waiting: dict[str, list[tuple[Batch, bool]]] = field(default_factory=lambda: {sink: [] for sink in LIMITS})
    accounts: dict[tuple[str, str], dict[tuple[str, str], Counter]] = field(default_factory=dict)
    put: Counter = field(default_factory=Counter)
    state_tables: dict[str, dict[int, bytes]] = field(default_factory=dict)

    def copy(self):
        waiting = {sink: list(batches) for sink, batches in self.waiting.items()}
        accounts = {key: {outcome: forks.copy() for outcome, forks in kinds.items()} for key, kinds in self.accounts.items()}
        return Model(waiting, accounts, self.put.copy(), {name: items.copy() for name, items in self.state_tables.items()})

    def count(self, stream, sink, outcome, reason, forks):
        self.accounts.setdefault((stream, sink), {}).setdefault((outcome, reason), Counter()).update(forks)


class Run:
    """A journal, its model, and the steps. Each step derives its choices from two numbers."""

    def __init__(self, folder):
        self.loop = asyncio.get_event_loop()
        self.folder = folder
        self.now, self.saved = Model(), Model()
        self.sending = dict.fromkeys(SINKS)
        self.names = self.commits = 0
        self.seen = Counter()

    async def start(self):
        self.failing = False
        self.journal = Journal(self.folder / "journal.sqlite3", LIMITS)
        await self.journal.open()
        assert self.journal.trouble is None

    async def put(self, one, other):
        sink, stream, size = SINKS[one % 2], STREAMS[one // 2 % 2], SIZES[one // 4 % 4]
        batch = a_batch(f"{self.names}", size, dict.fromkeys(range(1, 1 + one // 16 % 4), other % 10), stream=stream)
        self.names += 1
        self.journal.queue(sink).put(batch)
        self.now.put[stream, sink] += batch.forks.total()
        waiting = self.now.waiting[sink]
        waiting.append((batch, False))
        oldest = 1 if waiting and waiting[0][0] is self.sending[sink] else 0
        while sum(len(one.body) for one, _ in waiting) > LIMITS[sink] and len(waiting) > oldest + 1:
            gone, _ = waiting.pop(oldest)
            self.now.count(gone.stream, sink, "lost", "journal_full", gone.forks)

    async def put_many(self, one, other):
        for more in range(1 + other % 8):
            await self.put(one + more * 7, other)

    async def take(self, one, other, *, how="take"):
        sink = SINKS[one % 2]
        waiting, queue = self.now.waiting[sink], self.journal.queue(sink)
        if not waiting or not (waiting[0][1] or self.failing):
            head = self.loop.create_task(queue.head())
            await asyncio.sleep(0)
            assert not head.done()
            head.cancel()
            return
        batch = await asyncio.wait_for(queue.head(), 5)
        assert batch == waiting[0][0]
        if how == "overtake":  # more batches are put while it is being sent, and displace those behind it
            self.sending[sink] = waiting[0][0]
            await self.put_many(one, other)
            self.sending[sink] = None
            assert waiting[0][0] == batch
        some = Counter(dict.fromkeys(batch.forks, 1)) if how == "take_partly" else Counter()
        lost = batch.forks if how == "reject" else some
        halves = []
        if how == "split":
            half = Counter({cgroup: count // 2 for cgroup, count in batch.forks.items()})
            for name, forks in (("a", half), ("b", batch.forks - half)):
                halves.append(a_batch(batch.id + name, len(batch.body) // 2, +forks, stream=batch.stream))
        delivered = Counter() if halves else batch.forks - lost
        assert queue.complete(batch, delivered=delivered, lost={"rejected": lost} if lost else {}, instead=halves)
        self.seen[how] += 1
        waiting[0:1] = [(half, True) for half in halves]
        self.now.count(batch.stream, sink, "delivered", "", delivered)
        self.now.count(batch.stream, sink, "lost", "rejected", lost)

    async def take_partly(self, one, other):
        await self.take(one, other, how="take_partly")

    async def reject(self, one, other):
        await self.take(one, other, how="reject")

    async def split(self, one, other):
        await self.take(one, other, how="split")

    async def overtake(self, one, other):
        await self.take(one, other, how="overtake")

    async def put_item(self, one, other):
        table, key, value = TABLES[one % 2], one // 2 % 5, None if other % 3 == 0 else b"%d" % other * (1 + other)
        self.journal.put(table, key, value)
        items = self.now.state_tables.setdefault(table, {})
        items.pop(key, None)
        if value is not None:
            items[key] = value

    async def clear(self, one, _):
        self.journal.clear(TABLES[one % 2])
        self.now.state_tables.pop(TABLES[one % 2], None)

    async def forget(self, one, other):
        sink, stream, cgroup = SINKS[one % 2], STREAMS[one // 2 % 2], 1 + other % 3
        self.journal.account(stream, sink).forget(cgroup)
        for counted in self.now.accounts.get((stream, sink), {}).values():
            if cgroup in counted:
                counted[FORGOTTEN] += counted.pop(cgroup)

    async def commit(self, *_):
        self._number()
        assert await self.journal.commit()
        self._was_saved()

    async def commit_on_a_failing_disk(self, one, other):
        """The disk takes some of what is written, and then no more."""
        self._number()
        self._upkeep()
        self.journal._next_try = 0.0
        limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (one * 60, hard))
        try:
            done = await self.journal.commit()
            if done:
                self._was_saved()
            self.failing = not done
            if other % 2:  # a sender's step while the disk fails
                await self.take(one, other)
            self._upkeep()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        self.seen["failing", done] += 1
        if not done:
            assert self.journal.trouble == "File too large" or "input/output error" in self.journal.trouble
            self.journal._next_try = 0.0

    async def change_while_committing(self, one, other, *, limit=None):
        """Changes during a commit, which the next commit saves."""
        self._number()
        self._upkeep()
        self.journal._next_try = 0.0
        started, goes_on, file = asyncio.Event(), threading.Event(), self.journal._storage.file
        write = file.write

        def slowly(*given, **named):
            self.loop.call_soon_threadsafe(started.set)
            goes_on.wait(10)
            return write(*given, **named)

        file.write = slowly
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            commit = self.loop.create_task(self.journal.commit())
            await started.wait()
            under_way = self.now.copy()
            meant = {id(batch) for waiting in self.now.waiting.values() for batch, _ in waiting}
            chance = random.Random(other)  # noqa: S311
            for _ in range(1 + one % 6):
                step = chance.choice(("put", "put_many", "put_item", "put_item", "clear", "forget"))
                await getattr(self, step)(chance.randrange(1000), chance.randrange(1000))
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft if limit is None else limit, hard))
            goes_on.set()
            done = await commit
            self._upkeep()
        finally:
            goes_on.set()
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            file.write = write
        self.seen["change_while_committing", done] += 1
        assert done or limit is not None
        self.failing = not done
        self.journal._next_try = 0.0
        if done:
            for waiting in (*self.now.waiting.values(), *under_way.waiting.values()):
                waiting[:] = [(batch, ready or id(batch) in meant) for batch, ready in waiting]
            self.saved = under_way

    async def change_while_failing_to_commit(self, one, other):
        await self.change_while_committing(one, other, limit=one * 40)

    async def crash(self, *_):
        await self._open_next(self._image(), [self.saved])

    async def crash_while_committing(self, one, other):
        """In the middle of any of its writes: a part of the WAL is written, or some pages of the file."""
        self._upkeep()
        before, images = self.saved.copy(), [self._image()]
        self.journal._storage.file._sql.set_trace_callback(lambda _: images.append(self._image()))
        self._number()
        if await self.journal.commit():
            self._was_saved()
        self._upkeep()
        images.append(self._image())
        changes = [at for at in range(len(images) - 1) if images[at] != images[at + 1]] or [0]
        step = changes[one % len(changes)]
        (file, log), (file_after, log_after) = images[step : step + 2]
        assert log == log_after or file.rstrip(b"\0") == file_after.rstrip(b"\0")  # never both, except for reserved space
        tear = int(other / 999 * len(log_after))
        choice = random.Random(other)  # noqa: S311
        pages = range(0, max(len(file), len(file_after)), 4096)
        torn = b"".join(choice.choice((file, file_after))[at : at + 4096] for at in pages)
        self.seen["torn file" if file != file_after else "torn log", step] += 1
        await self._open_next((torn, log_after[:tear] + log[tear:]), [before, self.saved])

    def _number(self):
        self.commits += 1
        self.journal.put("number", 0, b"%d" % self.commits)
        self.now.state_tables["number"] = {0: b"%d" % self.commits}

    def _was_saved(self):
        self.failing = False
        for waiting in self.now.waiting.values():
            waiting[:] = [(batch, True) for batch, _ in waiting]
        self.saved = self.now.copy()

    def _upkeep(self):
        if self.journal._storage._upkeep:
            self.journal._storage._upkeep.exception()

    def _image(self):
        return tuple((self.folder / name).read_bytes() for name in ("journal.sqlite3", "journal.sqlite3-wal"))

    async def _open_next(self, image, candidates):
        """Opens the journal of the next agent, on the files that a kill left. `candidates`: the models that they may match."""
        await self.journal.close()
        for name, content in zip(("journal.sqlite3", "journal.sqlite3-wal"), image, strict=True):
            (self.folder / name).write_bytes(content)
        await self.start()
        number = self.journal.table("number").get(0)
        models = [model for model in candidates if model.state_tables.get("number", {}).get(0) == number]
        assert models, f"the files are of commit {number}"
        self.saved = models[0]
        self.now = self.saved.copy()
        for table in (*TABLES, "number"):
            assert self.journal.table(table) == self.now.state_tables.get(table, {})

    def all_is_as_the_model_says(self):
        for sink, waiting in self.now.waiting.items():
            queue = self.journal.queue(sink)
            assert [(len(batch.body), batch.forks) for batch, _ in waiting] == [(one.size, one.counts()) for one in queue]
            assert queue.bytes == sum(len(batch.body) for batch, _ in waiting)
            assert queue.forks == sum(batch.forks.total() for batch, _ in waiting)
            for stream in STREAMS:
                account = self.journal.account(stream, sink)
                model = self.now.accounts.get((stream, sink), {})
                assert counts(account) == {key: +forks for key, forks in model.items() if +forks}
                gone = account.delivered.total() + sum(account.lost_by_reason().values())
                assert self.now.put[stream, sink] == gone + queue.forks_of(stream)


@pytest.fixture(scope="module")
def small():
    """Limits that a short run reaches: bodies are read back, the WAL is checkpointed, space is given back."""
    with pytest.MonkeyPatch.context() as patch, silenced("agent.journal"):
        patch.setattr("agent.journal.batch_index._CACHE", 3000)
        patch.setattr("agent.journal.file._CHECKPOINT", 40_000)
        patch.setattr("agent.journal.file._SPARE", 4)
        patch.setattr("agent.journal.file._STEP", 3)
        yield


SEEN = Counter()


@pytest.mark.usefixtures("small")
@settings(max_examples=RUNS, deadline=None, suppress_health_check=list(HealthCheck))
@given(runs)
def test_every_fork_is_always_queued_delivered_or_lost_and_counted(in_memory, steps):
    async def live():
        run = Run(in_memory())
        await run.start()
        try:
            for outcome, one, other in steps:
                run.seen[outcome] += 1
                await getattr(run, outcome)(one, other)
                run.all_is_as_the_model_says()
        finally:
            await run.journal.close()
            shutil.rmtree(run.folder)
            SEEN.update(run.seen)

    asyncio.run(live())
