"""What a sender stands between, for its tests: a queue that keeps the account, and a receiver over real HTTP that keeps what it
gets."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter, deque
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web

from agent.histogram import Durations
from agent.model import NO_CGROUP
from agent.sinks.delivery.authorization import authorization
from agent.sinks.delivery.connections import TIMEOUTS, Destination
from agent.sinks.delivery.responses import http
from agent.sinks.delivery.sender import Sender
from agent.sinks.framing.lines import Ndjson
from agent.sinks.packer import BatchLimits, Packer
from wire.batch import BATCH_ID

KEY = BATCH_ID.lower()


class MemoryQueue:
    """The journal's rules without its file: in order, settled once and in one step, and every fork accounted for after each."""

    def __init__(self):
        self._batches = deque()
        self._filled, self._emptied = asyncio.Event(), asyncio.Event()
        self.delivered, self.lost, self.put_in = Counter(), {}, Counter()
        self.settled = 0

    def __len__(self):
        return len(self._batches)

    @property
    def waiting(self):
        return list(self._batches)

    def put(self, batch):
        self._batches.append(batch)
        self.put_in.update(batch.forks)
        self._filled.set()

    def drop(self):
        """As a full journal does with its oldest."""
        batch = self._batches.popleft()
        self.lost.setdefault("journal_full", Counter()).update(batch.forks)
        self.check()

    async def head(self):
        while not self._batches:
            self._filled.clear()
            await self._filled.wait()
        return self._batches[0]

    async def empty(self):
        while self._batches:
            self._emptied.clear()
            await self._emptied.wait()

    def complete(self, batch, *, delivered, lost=(), instead=()):
        if not self._batches or self._batches[0] is not batch:
            return False
        assert all(part.body and part.stream == batch.stream and part.id != batch.id for part in instead)
        self._batches.popleft()
        self._batches.extendleft(reversed(instead))
        self.delivered.update(delivered)
        for reason, forks in dict(lost).items():
            self.lost.setdefault(reason, Counter()).update(forks)
        self.settled += 1
        self.check()
        self._emptied.set()
        return True

    def check(self):
        """put in = delivered + lost + queued, by cgroup but for what is NO_CGROUP's."""
        known = self.delivered.copy()
        for forks in (*self.lost.values(), *(batch.forks for batch in self._batches)):
            known.update(forks)
        assert all(count >= 0 for count in known.values())
        assert known.total() == self.put_in.total()
        nobodys = known.pop(NO_CGROUP, 0)
        assert all(self.put_in[cgroup] >= count for cgroup, count in known.items())
        assert nobodys or +known == +self.put_in


class Receiver:
    """Answers with `answers`, one after the other, then with `usual`: a status, (status, headers, body), or a handler. `tries`:
    (key, headers, numbers of the events); `taken`: the numbers, in the order in which they were taken."""

    def __init__(self):
        self.answers, self.usual = [], 200
        self.tries, self.taken = [], []
        self._runner = None

    async def start(self):
        application = web.Application(client_max_size=1 << 26)
        application.router.add_post("/v1/events", self._events)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = self._runner.addresses[0][:2]
        self.url = f"http://127.0.0.1:{self.address[1]}/v1/events"

    async def stop(self):
        await self._runner.cleanup()

    async def _events(self, request):
        numbers = [json.loads(line)["n"] for line in (await request.read()).splitlines()]  # aiohttp unpacked it
        self.tries.append((request.headers[BATCH_ID], request.headers, numbers))
        answer = self.answers.pop(0) if self.answers else self.usual
        if callable(answer):
            return await answer(request)
        status, headers, body = answer if isinstance(answer, tuple) else (answer, {}, b"")
        if 200 <= status < 300:
            refused = {one["line"] for one in json.loads(body)["rejected"]} if body else set()
            self.taken += [number for at, number in enumerate(numbers) if at not in refused]
        return web.Response(status=status, headers=headers, body=body)


class Speech(NamedTuple):
    headers: dict
    interpret: object
    authorization: object

    def request_headers(self, batch):
        return {**self.headers, BATCH_ID: batch.id}


class Kept(Durations):
    """Each of them, too."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def observe(self, seconds):
        super().observe(seconds)
        self.seconds.append(seconds)


class Way:
    """A queue and the sender on it. `destination`: Destination's other fields."""

    def __init__(
        self,
        url,
        *,
        queue=None,
        headers=(),
        interpret=http.interpret,
        auth="bearer",
        timeouts=TIMEOUTS,
        compression="gzip",
        **destination,
    ):
        self.queue = MemoryQueue() if queue is None else queue
        self.packer = Packer(Ndjson(), compression, BatchLimits(100_000, 1 << 26))
        ours = {"Content-Type": "application/x-ndjson"} | ({"Content-Encoding": "gzip"} if compression == "gzip" else {})
        speech = Speech({**ours, **dict(headers)}, interpret, authorization(auth))
        self.pauses = []
        where = Destination(url, **destination)
        self.sender = Sender("siem", where, self.queue, self.packer, speech, timeouts=timeouts)
        self.sender.durations = kept = Kept()
        self.seconds = kept.seconds
        self.sent = 0

    def put(self, many=3, cgroup=7, text=""):
        """One batch of so many events, numbered on. `cgroup`: of all of them, or of each."""
        cgroups = [cgroup] * many if isinstance(cgroup, int) else list(cgroup)
        numbers = range(self.sent, self.sent + len(cgroups))
        self.sent += len(cgroups)
        (batch,) = self.packer.pack("boot.epoch", [json.dumps({"n": n, "text": text}) for n in numbers], cgroups, 0.0)
        self.queue.put(batch)
        return batch

    @asynccontextmanager
    async def running(self, pause_s=0.0001):
        """`pause_s`: every pause's length, but for what a receiver asks for."""

        def jitter(low, high):
            self.pauses.append((low, high))
            return pause_s

        async with asyncio.TaskGroup() as group:  # a sender that ends ends the test
            task = group.create_task(self.sender.run(jitter))
            yield self
            assert not task.done()
            task.cancel()

    async def ship(self, seconds=20):
        async with self.running(), asyncio.timeout(seconds):
            await self.queue.empty()


async def until(true, seconds=20):
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  counters tell nobody that they changed
            await asyncio.sleep(0.002)


def numbers_of(batch):
    return [json.loads(line)["n"] for line in gzip.decompress(batch.body).splitlines()]
