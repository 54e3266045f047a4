"""`POST /v1/events`: from a request to a committed batch and its receipt."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn

from aiohttp import web

from collector.http.access import CREDENTIAL
from collector.http.metrics import Metrics
from collector.http.responses import json_response, refuse
from collector.ingest.bodies import ENCODINGS, BodyTooLarge, InvalidBody, unpack
from collector.ingest.body_memory import BodyMemory, HeldBody, MemoryFull
from collector.ingest.checker import CPU_S, BodyChecker, SenderGone, Slices, TookTooLong, TooManyBodies
from collector.ingest.clocks import ClockAhead, check_clock
from collector.ingest.lines import STREAMS, MixedStreams, TooManyLines, check_slices
from collector.model import CheckedBatch
from collector.store import InsertCounts, Store, StoreUnavailable, StreamRefused
from wire.batch import CONTENT_TYPE, DELIVERED, SINK, Receipt
from wire.http.connections import network_of
from wire.http.log_limit import LogLimit

__all__ = ["IngestEndpoint", "Limits"]

TYPES: Final = (
    CONTENT_TYPE,
    "application/ndjson",
    "application/jsonl",
    "application/json",
    "application/octet-stream",
    "text/plain",
)
BODY_BYTES_PER_S: Final = 64 << 10  # the least mean rate of a body, after the first ...
HEAD_START_S: Final = 5.0
GONE: Final = 499  # as other servers call it: the client closed the connection, and no answer was sent
_SINK: Final = re.compile(r"[a-z0-9-]{1,32}")  # as the agent's settings have it
_NUMBER: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
CONFLICT: Final = "conflict: another fork with this id was received before"
_log = logging.getLogger(__name__)


class Limits(NamedTuple):
    """As in `Settings`: bytes, lines, seconds, requests at once."""

    max_body: int
    max_batch: int
    max_line: int
    max_lines: int
    body_timeout: float
    batches: int


class IngestEndpoint:
    """Holds bodies of `Limits.batches` times `max_body` bytes in memory, half of them of one sender. `on_insert` is called when
    there are new events."""

    def __init__(self, store: Store, metrics: Metrics, limits: Limits, on_insert: Callable[[], None]) -> None:
        self._store, self._metrics, self._limits, self._on_insert = store, metrics, limits, on_insert
        total = limits.batches * limits.max_body
        self._memory, self._checker = BodyMemory(total, max(total // 2, limits.max_body)), BodyChecker()
        self._log_limit = LogLimit()
        self._running = 0
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    def close(self) -> None:
        self._checker.close()

    @property
    def stopping(self) -> bool:
        return self._stopping

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - what is not done by then is given up by the caller
        """Refuses new batches and waits, at most `timeout` seconds, until those being received are inserted and answered."""
        self._stopping = True
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            _log.warning(
                "%d batches were not finished within %g s and get no receipt; their senders send them again",
                self._running,
                timeout,
            )

    async def post(self, request: web.Request) -> web.Response:
        """200 with a `wire.batch.Receipt`; 400, 403, 408, 413, 415, 503 with a reason; 499 for the metrics."""
        begun, status = time.perf_counter(), 500
        self._running += 1
        self._idle.clear()
        try:
            self._store.expect(self._checker.is_busy)  # not before: routes are listed without a store
            if self._stopping:
                refuse(503, "this collector is stopping", {"Retry-After": "1", "Connection": "close"})
            response = await self._receive(request)
            status = response.status
        except SenderGone:
            status = GONE
            return web.Response(status=GONE)  # it is not read
        except web.HTTPException as refusal:
            status = refusal.status
            raise
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
            self._metrics.batches.labels(str(status)).inc()
            self._metrics.seconds.observe(time.perf_counter() - begun)
        return response

    async def _receive(self, request: web.Request) -> web.Response:
        kind, encoding = request.headers.get("Content-Type"), request.headers.get("Content-Encoding", "")
        if kind is not None and request.content_type not in TYPES:
            refuse(415, f"Content-Type {request.content_type[:80]!r}: a batch is {CONTENT_TYPE}")
        if encoding.strip().lower() not in ENCODINGS:
            refuse(415, f"Content-Encoding {encoding[:80]!r}: gzip, zstd and identity are supported")
        if (request.content_length or 0) > self._limits.max_body:
            self._too_large()
        batch, counts = await self._held(request, encoding)
        if counts.accepted:
            self._on_insert()
        receipt: Receipt = {
            "accepted": counts.accepted,
            "duplicate": counts.duplicate,
            "rejected": [{"line": number, "reason": reason} for number, reason in _refused(batch, counts)],
        }
        events = self._metrics.events
        events.labels("accepted").inc(counts.accepted)
        events.labels("duplicate").inc(counts.duplicate)
        events.labels("rejected").inc(len(batch.refused))
        events.labels("conflict").inc(len(counts.conflicts))
        events.labels("unchecked").inc(counts.unchecked)
        if counts.conflicts and (more := self._log_limit.suffix("conflict")) is not None:
            fork = batch.forks[counts.conflicts[0]]
            _log.warning(
                "%s: %d forks came again with other content, and are not stored; the first is %s.%d.%d%s",
                request.remote,
                len(counts.conflicts),
                fork.stream,
                fork.cpu,
                fork.sequence,
                more,
            )
        for why, lines in batch.refused_by.items():
            self._metrics.refused.labels(why).inc(lines)
        if batch.refused and (more := self._log_limit.suffix("line")) is not None:
            (number, reason), *_ = batch.refused
            _log.warning(
                "%s: %d of %d lines refused; line %d: %s%s",
                request.remote,
                len(batch.refused),
                len(batch),
                number,
                reason,
                more,
            )
        return json_response(receipt)

    async def _held(self, request: web.Request, encoding: str) -> tuple[CheckedBatch, InsertCounts]:
        """Reads the body, checks and inserts it."""
        credential = request.get(CREDENTIAL)
        sender = network_of(request.remote or "") if credential is None else credential.name
        try:
            with self._memory.body(sender) as body:
                await self._read(request, body)
                self._metrics.bytes.labels("wire").inc(len(body.data))
                self._metrics.waiting.inc()
                try:
                    return await self._insert(request, body, encoding, sender)
                finally:
                    self._metrics.waiting.dec()
        except (MemoryFull, TooManyBodies):
            refuse(503, "too many batches at once", {"Retry-After": "1"})

    async def _read(self, request: web.Request, body: HeldBody) -> None:
        """A body may take `body_timeout` at most, after `HEAD_START_S` only at `BODY_BYTES_PER_S`."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        end = begun + self._limits.body_timeout
        try:
            async with asyncio.timeout_at(min(end, begun + HEAD_START_S)) as deadline:
                async for piece in request.content.iter_any():
                    if len(body.data) + len(piece) > self._limits.max_body:
                        self._too_large()
                    body.add(piece)
                    deadline.reschedule(min(end, begun + HEAD_START_S + len(body.data) / BODY_BYTES_PER_S))
        except TimeoutError:
            refuse(408, f"the body did not come in time: {len(body.data)} bytes in {clock() - begun:.0f} s")

    async def _insert(
        self, request: web.Request, body: HeldBody, encoding: str, sender: str
    ) -> tuple[CheckedBatch, InsertCounts]:
        limits = self._limits
        try:
            async with self._checker.checked(sender, _slices(body, encoding, limits), lambda: _is_gone(request)) as batch:
                self._metrics.bytes.labels("plain").inc(batch.size)
                sink, delivered = _sink(request.headers.get(SINK, "")), _delivered(request.headers.get(DELIVERED, ""))
                counts = await self._store.insert(batch, sink, request.get(CREDENTIAL), delivered)
                return batch, counts
        except InvalidBody as error:
            refuse(400, f"the body cannot be unpacked: {error}")
        except BodyTooLarge:
            refuse(413, f"the body unpacks to more than {limits.max_batch} bytes; send smaller batches")
        except TooManyLines:
            refuse(413, f"more than {limits.max_lines} lines; send smaller batches")
        except TookTooLong:
            refuse(413, f"the batch takes more than {CPU_S:.0f} s to check; send smaller batches")
        except MixedStreams:
            refuse(400, f"events of more than {STREAMS} streams; a batch of an agent has those of one")
        except ClockAhead as error:
            self._metrics.refused.labels("time").inc(error.events)
            if (more := self._log_limit.suffix("clock")) is not None:
                _log.warning("%s: a batch was refused: %s%s", request.remote, error, more)
            refuse(400, str(error))
        except StreamRefused as error:
            self._metrics.streams_refused.labels(error.why).inc()
            if (more := self._log_limit.suffix(error.why)) is not None:
                sender = credential.name if (credential := request.get(CREDENTIAL)) else "no token"
                _log.warning(
                    "%s (%s): 403: %s; it belongs to %s%s", request.remote, sender, error, error.belongs_to or "-", more
                )
            refuse(403, str(error))
        except StoreUnavailable as error:
            self._metrics.store_errors.inc()
            _log.error("a batch was not stored, its sender sends it again: %s", error)
            refuse(503, "the store does not answer; send this batch again", {"Retry-After": "5"})

    def _too_large(self) -> NoReturn:
        refuse(413, f"more than {self._limits.max_body} bytes; send smaller batches")


def _slices(body: HeldBody, encoding: str, limits: Limits) -> Slices:
    batch = yield from check_slices(unpack(body.data, encoding, limits.max_batch), limits.max_line, limits.max_lines)
    check_clock(batch, time.time_ns())
    return batch


def _refused(batch: CheckedBatch, counts: InsertCounts) -> list[tuple[int, str]]:
    """Line numbers and reasons: an agent must not book a fork as delivered when another one has its id."""
    if not counts.conflicts:
        return batch.refused
    return sorted([*batch.refused, *((batch.fork_lines[place], CONFLICT) for place in counts.conflicts)])


def _is_gone(request: web.Request) -> bool:
    """Whether the client has closed the connection."""
    return request.transport is None or request.transport.is_closing()


def _sink(name: str) -> str | None:
    """What the sender calls this collector; None without a valid name, which is no reason to refuse its events."""
    return name if _SINK.fullmatch(name) else None


def _delivered(number: str) -> int | None:
    """Forks that the sender had delivered before; None without a valid number: agents of 0.1 do not say."""
    return int(number) if _NUMBER.fullmatch(number) else None
