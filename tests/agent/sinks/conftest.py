"""A receiver of batches over real HTTP, which answers what a test tells it to."""

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from agent.ledger import Account
from agent.sinks.bodies import Packer
from agent.sinks.journal import Journal
from agent.sinks.sender import Sender

RESET = "reset"


class Receiver:
    """Answers with `answers`, one after the other, then with `usual`. An answer: a status, (status, headers, body), RESET, or
    bytes that go out as they are. It takes what it answers with 2xx."""

    def __init__(self):
        self.answers, self.usual = [], 200
        self.tries = []  # batch id, headers, lines
        self.taken = Counter()  # by event number
        self._server = self._runner = None

    async def start(self):
        application = web.Application(client_max_size=1 << 26)
        application.router.add_post("/v1/events", self._events)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1/events"

    async def stop(self):
        await self._runner.cleanup()

    async def _events(self, request):
        lines = [json.loads(line) for line in (await request.read()).splitlines()]  # aiohttp unpacked it
        self.tries.append((request.headers["Idempotency-Key"], request.headers, lines))
        answer = self.answers.pop(0) if self.answers else self.usual
        if answer == RESET or isinstance(answer, bytes):
            if answer != RESET:
                request.transport.write(answer)
                await asyncio.sleep(0.01)
            if request.transport:  # or the sender was quicker
                request.transport.abort()
            return web.Response()
        if callable(answer):
            return await answer(request)
        status, headers, body = answer if isinstance(answer, tuple) else (answer, {}, b"")
        if 200 <= status < 300:
            refused = {one["line"] for one in json.loads(body)["rejected"]} if body else set()
            self.taken.update(line["n"] for at, line in enumerate(lines) if at not in refused)
        return web.Response(status=status, headers=headers, body=body)


class Way:
    """A journal, the account and the sender between them, as Sink puts them together."""

    def __init__(self, url, token_file=None, headers=(), most=1 << 20):
        self.journal, self.account = Journal(most), Account()
        self.packer = Packer("gzip", 1000, 1 << 20, "stream.siem")
        arguments = (self.journal, self.account, self.packer, "gzip", token_file, dict(headers))
        self.sender = Sender("siem", url, *arguments)
        self.sent = 0

    def put(self, many=3, cgroup=7):
        """One batch of so many forks, numbered on."""
        numbers = range(self.sent, self.sent + many)
        self.sent += many
        lines = [
            json.dumps({"event": "sched_process_fork", "n": n, "cgroup": {"id": cgroup}, "enrichment": {"by": None}})
            for n in numbers
        ]
        (batch,) = self.packer.pack(lines, [cgroup] * many, 0.0)
        if lost := self.journal.put(batch):
            self.account.lose("journal_full", lost)
        return batch

    @asynccontextmanager
    async def running(self):
        """Its pauses have next to no length, but the one that a receiver asks for."""
        async with aiohttp.ClientSession() as session:
            task = asyncio.create_task(self.sender.run(session, jitter=lambda low, high: 0.0001))
            try:
                yield self
            finally:
                ended = task.done() and not task.cancelled() and task.exception()
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            assert not ended, f"the sender ended: {ended!r}"

    async def until(self, true):
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110  counters tell nobody that they changed
                await asyncio.sleep(0.002)

    async def ship(self):
        async with self.running(), asyncio.timeout(10):
            await self.journal.empty()


@pytest.fixture
async def receiver():
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
def way():
    return Way


@pytest.fixture
def reset():
    return RESET
