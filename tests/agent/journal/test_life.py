"""A journal against a plain model: put, settled, split, too much, kept, committed, the disk failing, a crash at any step.

Also in the middle of a commit or of the upkeep after it. Always, what was put in is delivered, lost or here, and in order.
"""

import asyncio
import logging
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

pytestmark = pytest.mark.slow

LIVES = int(os.environ.get("LIVES", "1000"))
LIMITS = {"siem": 30_000, "collector": 9_000}
SINKS, STREAMS, TABLES = tuple(LIMITS), ("0f2a.1", "0f2a.2"), ("a", "b")
SIZES = (1, 100, 2000, 8000)
WORK = ("put", "put", "put", "put_many", "take", "take", "take_partly", "set_aside", "split", "overtake")
KEEPING = ("keep", "keep", "clear", "forget")
COMMITS = ("commit", "commit", "commit", "commit_on_a_failing_disk", "meanwhile", "meanwhile", "meanwhile_failing")
STEPS = (*WORK, *KEEPING, *COMMITS, "crash", "crash_while_committing")
lives = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 999), st.integers(0, 999)), min_size=6, max_size=18)


@dataclass
class Model:
    """What a journal holds. `waiting`: batches, each with whether a sender may have it. `put`: all that came in."""

    waiting: dict[str, list[tuple[Batch, bool]]] = field(default_factory=lambda: {sink: [] for sink in LIMITS})
    accounts: dict[tuple[str, str], dict[tuple[str, str], Counter]] = field(default_factory=dict)
    put: Counter = field(default_factory=Counter)
    state_tables: dict[str, dict[int, bytes]] = field(default_factory=dict)

    def copy(self):
        waiting = {sink: list(batches) for sink, batches in self.waiting.items()}
        accounts = {key: {what: forks.copy() for what, forks in kinds.items()} for key, kinds in self.accounts.items()}
        return Model(waiting, accounts, self.put.copy(), {name: items.copy() for name, items in self.state_tables.items()})

    def count(self, stream, sink, what, reason, forks):
        self.accounts.setdefault((stream, sink), {}).setdefault((what, reason), Counter()).update(forks)


class Life:
    """Each step takes two numbers, to make of them what it likes."""

    def __init__(self, folder):
        self.loop = asyncio.get_event_loop()
        self.folder = folder
        self.now, self.saved = Model(), Model()
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
        while sum(len(one.body) for one, _ in waiting) > LIMITS[sink] and len(waiting) > 1:
            gone, _ = waiting.pop(0)
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
        if how == "overtake":  # more comes while it is on its way; it may have to go for that
            await self.put_many(one, other)
        still = waiting[0][0] == batch
        some = Counter(dict.fromkeys(batch.forks, 1)) if how == "take_partly" else Counter()
        lost = batch.forks if how == "set_aside" else some
        halves = []
        if how == "split":
            half = Counter({cgroup: count // 2 for cgroup, count in batch.forks.items()})
            for name, forks in (("a", half), ("b", batch.forks - half)):
                halves.append(a_batch(batch.id + name, len(batch.body) // 2, +forks, stream=batch.stream))
        delivered = Counter() if halves else batch.forks - lost
        assert queue.complete(batch, delivered=delivered, lost={"rejected": lost} if lost else {}, instead=halves) is still
        self.seen[how, still] += 1
        if still:
            waiting[0:1] = [(half, True) for half in halves]
            self.now.count(batch.stream, sink, "delivered", "", delivered)
            self.now.count(batch.stream, sink, "lost", "rejected", lost)

    async def take_partly(self, one, other):
        await self.take(one, other, how="take_partly")

    async def set_aside(self, one, other):
        await self.take(one, other, how="set_aside")

    async def split(self, one, other):
        await self.take(one, other, how="split")

    async def overtake(self, one, other):
        await self.take(one, other, how="overtake")

    async def keep(self, one, other):
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
        """It takes some of what is written, and then no more."""
        self._number()
        self._upkeep()
        self.journal._next_try = 0.0
        room, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (one * 60, hard))
        try:
            done = await self.journal.commit()
            if done:
                self._was_saved()
            self.failing = not done
            if other % 2:  # somebody's turn while it fails
                await self.take(one, other)
            self._upkeep()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        self.seen["failing", done] += 1
        if not done:
            assert self.journal.trouble == "File too large" or "input/output error" in self.journal.trouble
            self.journal._next_try = 0.0

    async def meanwhile(self, one, other, *, room=None):
        """Others go on while a commit is under way: that is the next one's."""
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
                step = chance.choice(("put", "put_many", "keep", "keep", "clear", "forget"))
                await getattr(self, step)(chance.randrange(1000), chance.randrange(1000))
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft if room is None else room, hard))
            goes_on.set()
            done = await commit
            self._upkeep()
        finally:
            goes_on.set()
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            file.write = write
        self.seen["meanwhile", done] += 1
        assert done or room is not None
        self.failing = not done
        self.journal._next_try = 0.0
        if done:
            for waiting in (*self.now.waiting.values(), *under_way.waiting.values()):
                waiting[:] = [(batch, ready or id(batch) in meant) for batch, ready in waiting]
            self.saved = under_way

    async def meanwhile_failing(self, one, other):
        await self.meanwhile(one, other, room=one * 40)

    async def crash(self, *_):
        await self._goes_on_in(self._image(), [self.saved])

    async def crash_while_committing(self, one, other):
        """In the middle of any of its writes: of the log a part is written, of the file some pages are."""
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
        assert log == log_after or file.rstrip(b"\0") == file_after.rstrip(b"\0")  # never both, but for room that is taken
        tear = int(other / 999 * len(log_after))
        choice = random.Random(other)  # noqa: S311
        pages = range(0, max(len(file), len(file_after)), 4096)
        torn = b"".join(choice.choice((file, file_after))[at : at + 4096] for at in pages)
        self.seen["torn file" if file != file_after else "torn log", step] += 1
        await self._goes_on_in((torn, log_after[:tear] + log[tear:]), [before, self.saved])

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

    async def _goes_on_in(self, image, perhaps):
        """The next agent, with what a kill left."""
        await self.journal.close()
        for name, content in zip(("journal.sqlite3", "journal.sqlite3-wal"), image, strict=True):
            (self.folder / name).write_bytes(content)
        await self.start()
        number = self.journal.table("number").get(0)
        models = [model for model in perhaps if model.state_tables.get("number", {}).get(0) == number]
        assert models, f"what was left is of commit {number}"
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
    """Bounds that a short life meets: bodies are read back, the log is played into the file, room is given back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.journal.batch_index._CACHE", 3000)
        patch.setattr("agent.journal.file._CHECKPOINT", 40_000)
        patch.setattr("agent.journal.file._SPARE", 4)
        patch.setattr("agent.journal.file._STEP", 3)
        logging.getLogger("agent.journal").setLevel(logging.CRITICAL)
        yield


SEEN = Counter()


@pytest.mark.usefixtures("small")
@settings(max_examples=LIVES, deadline=None, suppress_health_check=list(HealthCheck))
@given(lives)
def test_whatever_happens_each_fork_is_here_or_delivered_or_lost_and_counted(quick, steps):
    async def live():
        life = Life(quick())
        await life.start()
        try:
            for what, one, other in steps:
                life.seen[what] += 1
                await getattr(life, what)(one, other)
                life.all_is_as_the_model_says()
        finally:
            await life.journal.close()
            shutil.rmtree(life.folder)
            SEEN.update(life.seen)

    asyncio.run(live())
