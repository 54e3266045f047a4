"""The surroundings of a sender in its tests: a queue that counts forks, and a receiver over real HTTP that keeps requests."""

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
from wire.batch import BATCH_ID, DELIVERED

KEY = BATCH_ID.lower()
TEST = -1  # the number of a test event


class MemoryQueue:
    """A queue with the journal's rules, in memory: in order, completed in one step, all forks counted."""

    def __init__(self):
        self._batches = deque()
        self._filled, self._emptied = asyncio.Event(), asyncio.Event()
        self.delivered, self.lost, self.put_in = Counter(), {}, Counter()
        self.completed = 0

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
        """Drops the oldest, as a full journal does."""
        batch = self._batches.popleft()
        self.lost.setdefault("journal_full", Counter()).update(batch.forks)
        self.check()

    async def head(self):
        while not self._batches:
            self._filled.clear()
            await self._filled.wait()
        return self._batches[0]

    def delivered_of(self, _stream):
        return self.delivered.total()

    async def empty(self):
        while self._batches:
            self._emptied.clear()
            await self._emptied.wait()

    def complete(self, batch, *, delivered, lost=(), instead=(), accepted=True):
        if not self._batches or self._batches[0] is not batch:
            return False
        assert all(part.body and part.stream == batch.stream and part.id != batch.id for part in instead)
        self._batches.popleft()
        self._batches.extendleft(reversed(instead))
        self.delivered.update(delivered)
        for reason, forks in dict(lost).items():
            self.lost.setdefault(reason, Counter()).update(forks)
        self.completed += 1
        self.check()
        self._emptied.set()
        return True

    def check(self):
        """put in = delivered + lost + queued, by cgroup, but for forks without a known cgroup."""
        known = self.delivered.copy()
        for forks in (*self.lost.values(), *(batch.forks for batch in self._batches)):
            known.update(forks)
        assert all(count >= 0 for count in known.values())
        assert known.total() == self.put_in.total()
        without_cgroup = known.pop(NO_CGROUP, 0)
        assert all(self.put_in[cgroup] >= count for cgroup, count in known.items())
        assert without_cgroup or +known == +self.put_in


class Receiver:
    """Answers with `answers`, one after the other, then with `usual`: a status, (status, headers, body), or a handler.

    `tries`: (key, headers, numbers of the events). `accepted`: the numbers, in the order in which they were accepted.
    `test_events`: how many came, each answered with the status `to_test_events`.
    """

    def __init__(self):
        self.answers, self.usual = [], 200
        self.test_events, self.to_test_events = 0, 200
        self.tries, self.accepted = [], []
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
        numbers = [json.loads(line)["n"] for line in (await request.read()).splitlines()]  # aiohttp has decompressed it
        if numbers == [TEST]:
            self.test_events += 1
            return web.Response(status=self.to_test_events)
        self.tries.append((request.headers[BATCH_ID], request.headers, numbers))
        answer = self.answers.pop(0) if self.answers else self.usual
        if callable(answer):
            return await answer(request)
        status, headers, body = answer if isinstance(answer, tuple) else (answer, {}, b"")
        if 200 <= status < 300:
            rejected = {one["line"] for one in json.loads(body)["rejected"]} if body else set()
            self.accepted += [number for at, number in enumerate(numbers) if at not in rejected]
        return web.Response(status=status, headers=headers, body=body)


class FakeFormat(NamedTuple):
    headers: dict
    interpret: object
    authorization: object

    def request_headers(self, batch, delivered):
        return {**self.headers, BATCH_ID: batch.id, DELIVERED: str(delivered)}


class RecordingDurations(Durations):
    """Keeps each duration, too."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def observe(self, seconds):
        super().observe(seconds)
        self.seconds.append(seconds)


class SenderScene:
    """A queue and its sender. `destination`: other fields of Destination."""

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
        own_headers = {"Content-Type": "application/x-ndjson"} | ({"Content-Encoding": "gzip"} if compression == "gzip" else {})
        fake_format = FakeFormat({**own_headers, **dict(headers)}, interpret, authorization(auth))
        self.pauses = []
        target = Destination(url, **destination)
        self.sender = Sender("siem", target, self.queue, self.packer, fake_format, self.test_batch, timeouts=timeouts)
        self.sender.durations = durations = RecordingDurations()
        self.seconds = durations.seconds
        self.sent = 0

    def put(self, many=3, cgroup=7, text=""):
        """Puts one batch of `many` events, with consecutive numbers. `cgroup`: of all of them, or of each."""
        cgroups = [cgroup] * many if isinstance(cgroup, int) else list(cgroup)
        numbers = range(self.sent, self.sent + len(cgroups))
        self.sent += len(cgroups)
        (batch,) = self.packer.pack("boot.instance", [json.dumps({"n": n, "text": text}) for n in numbers], cgroups, 0.0)
        self.queue.put(batch)
        return batch

    def test_batch(self):
        (batch,) = self.packer.pack("test", [json.dumps({"n": TEST})], [NO_CGROUP], 0.0)
        return batch

    @asynccontextmanager
    async def running(self, pause_s=0.0001):
        """`pause_s`: the length of each pause for which the receiver does not ask."""

        def jitter(low, high):
            self.pauses.append((low, high))
            return pause_s

        async with asyncio.TaskGroup() as group:  # the test fails when the sender ends
            task = group.create_task(self.sender.run(jitter))
            yield self
            assert not task.done()
            task.cancel()

    async def ship(self, seconds=20):
        async with self.running(), asyncio.timeout(seconds):
            await self.queue.empty()


async def until(true, seconds=20):
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  counters do not notify
            await asyncio.sleep(0.002)


def numbers_of(batch):
    return [json.loads(line)["n"] for line in gzip.decompress(batch.body).splitlines()]
