"""A cluster's API servers, as arithmetic in virtual time: the watches they hold, the requests they admit, when they are away.

They answer PodWatch in place of its PodRequests, and admit requests as API Priority and Fairness does by default: all
agents are one flow (one service account) of the level `workload-low`.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import orjson

from agent.attribution.pods import watch as pod_watch_module

SEATS: Final = 245  # of 600 requests at once, the share of workload-low: 100 of 245
LIST_SEATS: Final = 10  # a list of a type with many objects, however few of them it asks for
QUEUE: Final = 6 * 50  # what may wait of one flow: a hand of 6 queues, 50 each
WAIT_S: Final = 15.0  # and how long
HISTORY_S: Final = 75.0  # a watch cache keeps at least this much of the past
BOOKMARK_S: Final = 60.0
EXPIRED: Final = orjson.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410}}) + b"\n"
LONGEST_RETRY_AFTER_S: Final = 32


@dataclass(frozen=True)
class Seen:
    """One request as a server saw it. `at`: virtual seconds; `sent`: bytes of its body, before compression."""

    at: float
    kind: str
    node: str
    sent: int = 0


@dataclass(frozen=True)
class Costs:
    """`list_bytes`: a body's size; `list_s`, `watch_s`: how long a request holds its seats."""

    list_bytes: int
    list_s: float = 0.05
    watch_s: float = 0.005


@dataclass
class Answer:
    """The part of the client's answer that PodWatch uses."""

    status: int
    text: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content: Any = None

    def __post_init__(self) -> None:
        self.content = self.content or Body(self.text)

    def close(self) -> None:
        self.content.close()


class Body:
    """A whole one, as the client's stream gives it."""

    def __init__(self, text: bytes) -> None:
        self._left = text

    async def readany(self) -> bytes:
        text, self._left = self._left, b""
        return text

    def close(self) -> None:
        """Nothing is open."""


class ApiServers:
    """Several behind one address. `seen`: every request, in order of its answer; `open`: watches that run now."""

    def __init__(self, servers: int, costs: Costs) -> None:
        self.costs = costs
        self.seen: list[Seen] = []
        self.proxy = None
        self._servers = [_Server(self) for _ in range(servers)]

    @property
    def open(self) -> int:
        return sum(len(server.streams) for server in self._servers)

    def cut(self, servers: int | None = None) -> None:
        """Breaks every stream of the first `servers` servers (default: all); new requests are served."""
        for server in self._servers[:servers]:
            server.cut()

    def stop(self, servers: int | None = None) -> None:
        for server in self._servers[:servers]:
            server.up = False
            server.cut()

    def start(self) -> None:
        """Starts the stopped servers, with an empty watch cache."""
        now = asyncio.get_running_loop().time()
        for server in self._servers:
            if not server.up:
                server.up, server.began = True, now

    async def pods(self, *, timeout: float, **asked: Any) -> Answer:  # noqa: ASYNC109  as PodRequests has it
        """The requests of PodWatch."""
        living = [server for server in self._servers if server.up]
        if not living:
            self.note("refused", asked)
            raise aiohttp.ClientConnectionError("connection refused")
        server = random.choice(living)  # noqa: S311  a load balancer's
        async with asyncio.timeout(timeout):
            return await (server.watch(asked) if "watch" in asked else server.list(asked))

    def note(self, kind: str, asked: dict[str, Any], sent: int = 0) -> None:
        self.seen.append(Seen(asyncio.get_running_loop().time(), kind, asked["fieldSelector"], sent))


class _Server:
    def __init__(self, cluster: ApiServers) -> None:
        self.up = True
        self.began = 0.0
        self.streams: dict[Stream, None] = {}  # ordered, so that runs with the same seed are equal
        self._cluster = cluster
        self._free = SEATS
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._dropped = _Dropped()

    def cut(self) -> None:
        for stream in tuple(self.streams):
            stream.cut()

    async def list(self, asked: dict[str, Any]) -> Answer:
        costs = self._cluster.costs
        async with self._seats(LIST_SEATS) as admitted:
            if not admitted:
                return self._refusal(asked)
            await asyncio.sleep(costs.list_s)
        self._cluster.note("list", asked, costs.list_bytes)
        return Answer(200, orjson.dumps({"metadata": {"resourceVersion": _version()}, "items": []}))

    async def watch(self, asked: dict[str, Any]) -> Answer:
        async with self._seats(1) as admitted:
            if not admitted:
                return self._refusal(asked)
            await asyncio.sleep(self._cluster.costs.watch_s)
        now = asyncio.get_running_loop().time()
        expired = int(asked["resourceVersion"]) / 1000 < max(self.began, now - HISTORY_S)
        self._cluster.note("watch (410)" if expired else "watch", asked)
        return Answer(200, content=Stream(self.streams, now + asked["timeoutSeconds"], expired=expired))

    def _refusal(self, asked: dict[str, Any]) -> Answer:
        self._cluster.note("429", asked)
        return Answer(429, b"too many requests", {"Retry-After": str(self._dropped.retry_after)})

    @asynccontextmanager
    async def _seats(self, width: int) -> AsyncIterator[bool]:
        """Waits for seats, in order; False: the queue is full, or it took too long."""
        now = asyncio.get_running_loop().time()
        if self._free < width or self._queue:
            if len(self._queue) >= QUEUE:
                self._dropped.drop(int(now))
                yield False
                return
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append((width, turn))
            try:
                async with asyncio.timeout(WAIT_S):
                    await turn
            except TimeoutError:
                self._dropped.drop(int(now))
                yield False
                return
        else:
            self._free -= width
        try:
            yield True
        finally:
            self._free += width
            while self._queue and (self._queue[0][1].done() or self._free >= self._queue[0][0]):
                wanted, turn = self._queue.popleft()
                if not turn.done():
                    self._free -= wanted
                    turn.set_result(None)


class _Dropped:
    """The value of Retry-After: doubled while three or more requests per second of it are dropped, one less below one."""

    def __init__(self) -> None:
        self.retry_after = 1
        self._by_second: dict[int, int] = {}
        self._raised = -LONGEST_RETRY_AFTER_S

    def drop(self, second: int) -> None:
        fresh = second not in self._by_second
        self._by_second[second] = self._by_second.get(second, 0) + 1
        if not fresh:
            return
        lately = sum(self._by_second.get(second - back, 0) for back in range(1, self.retry_after + 1))
        if second - self._raised >= self.retry_after and lately >= 3 * self.retry_after:
            self.retry_after = min(2 * self.retry_after, LONGEST_RETRY_AFTER_S)
            self._raised = second
        elif lately < self.retry_after:
            self.retry_after = max(1, self.retry_after - 1)


class Stream:
    """A watch's body: a bookmark each minute, and nothing else, because no pod changes here."""

    def __init__(self, others: dict[Stream, None], end: float, *, expired: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._others = others
        self._end = end
        self._next = self._loop.time() + BOOKMARK_S
        self._expired = expired
        self._broken: asyncio.Future[None] = self._loop.create_future()
        others[self] = None

    def cut(self) -> None:
        self.close()
        if not self._broken.done():
            self._broken.set_result(None)

    def close(self) -> None:
        self._others.pop(self, None)

    async def readany(self) -> bytes:
        if self._expired:
            self._expired, self._end = False, self._loop.time()
            return EXPIRED
        if self._loop.time() >= self._end:
            return b""
        until = min(self._next, self._end)
        await asyncio.wait([self._broken], timeout=until - self._loop.time())
        if self._broken.done():
            raise aiohttp.ClientPayloadError("cut")
        self._next = self._loop.time() + BOOKMARK_S
        metadata = {"resourceVersion": _version()}
        return orjson.dumps({"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": metadata}}) + b"\n"


def _version() -> str:
    """The time is the version, as if something in the cluster changed every millisecond."""
    return str(int(asyncio.get_running_loop().time() * 1000) + 1)


class NoJitter:
    """Replaces `random`: every pause is the longest possible."""

    @staticmethod
    def uniform(_low: float, high: float) -> float:
        return high


@contextmanager
def pod_watch_uses(api: ApiServers, timing: Sequence[tuple[str, Any]] = (), *, random_pauses: bool = True) -> Iterator[None]:
    """PodWatch sends its requests to these servers. `timing`: changed constants of PodWatch."""
    changed = {"connect": lambda _kubeconfig, **_: nullcontext(api), **dict(timing)}
    if not random_pauses:
        changed["random"] = NoJitter
    defaults = {name: getattr(pod_watch_module, name) for name in changed}
    vars(pod_watch_module).update(changed)
    try:
        yield
    finally:
        vars(pod_watch_module).update(defaults)
