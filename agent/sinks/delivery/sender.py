"""Sends the batches of one sink's queue to its receiver: at least once, in order, with pauses that grow while it fails."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import aiohttp

from agent.histogram import Durations
from agent.interfaces import BatchSource
from agent.model import NO_CGROUP, Batch
from agent.sinks.delivery.connections import TIMEOUTS, Connection, Destination, Timeouts
from agent.sinks.delivery.credentials import FileError
from agent.sinks.delivery.failures import describe_failure
from agent.sinks.delivery.responses import Outcome, Result
from agent.sinks.formats import SinkFormat
from agent.sinks.packer import Packer
from agent.sinks.printable import printable
from wire.backoff import Backoff, Uniform

__all__ = ["ForkCounts", "Sender", "count_forks"]

log = logging.getLogger(__name__)

_BACKOFF: Final = Backoff(first_s=1.0, longest_s=30.0)
_HOLD_S: Final = 30.0  # between tries while the settings are wrong
_FILE_CHECK_S: Final = 1.0  # how often a pause checks whether a file has been replaced
_MAX_TEXT: Final = 300  # characters of `state`


class ForkCounts(NamedTuple):
    """Forks by cgroup."""

    delivered: Counter[int]
    lost: Counter[int]


class Sender:
    """`state` is one line for people: the result of the last try. `durations`: of each try.

    Counters: `responses` by status code or kind of failure; `tries`; `retries` (of a batch that had been tried before);
    `bytes_sent` (of bodies that had a response); `last_accepted` (the loop's time).
    """

    def __init__(
        self,
        name: str,
        destination: Destination,
        queue: BatchSource,
        packer: Packer,
        sink_format: SinkFormat,
        *,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self.name = name
        self._queue = queue
        self._packer = packer
        self._format = sink_format
        self.durations = Durations()
        self._connection = Connection(destination, sink_format.authorization, timeouts)
        self.state = "nothing sent yet"
        self.responses: dict[str, int] = {}
        self.tries = 0
        self.retries = 0
        self.bytes_sent = 0
        self.last_accepted: float | None = None
        self._failures = 0  # in a row
        self._logged = ""  # the state that was logged last, so that the same is not logged again

    @property
    def reconnected(self) -> int:
        """Times that the receiver had closed the kept connection, and a try was repeated at once on a new one."""
        return self._connection.reconnected

    async def run(self, jitter: Uniform = random.uniform) -> None:
        """Sends the oldest batch, again and again until it is accepted or rejected, then the next; never returns.

        May be cancelled at any moment: a batch leaves the queue in one step, when its whole response is there.
        """
        async with self._connection:
            tried = ""
            while True:
                batch = await self._queue.head()
                self.tries += 1
                self.retries += batch.id == tried
                tried = batch.id
                outcome = await self._post(batch)
                if pause := self._apply(batch, outcome, jitter):
                    await self._pause(pause, until_files_change=outcome.result is Result.HOLD)

    async def _post(self, batch: Batch) -> Outcome:
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            response = await self._connection.post(batch.body, self._format.request_headers(batch))
        except (FileError, aiohttp.ClientError, OSError, ValueError) as error:
            failure = describe_failure(error, self._connection.receiver, self._connection.proxy)
            self._count(failure.kind)
            return Outcome(Result.HOLD if failure.hold else Result.RETRY, failure.text)
        finally:
            self.durations.observe(loop.time() - start)
        self._count(str(response.status))
        self.bytes_sent += len(batch.body)
        return self._format.interpret(response.status, response.headers, response.body, datetime.now(UTC), batch)

    def _apply(self, batch: Batch, outcome: Outcome, jitter: Uniform) -> float:
        """Changes the queue as the outcome demands. Returns the pause until the next try, seconds."""
        text = printable(self._connection.redact(outcome.text), _MAX_TEXT)
        self.state = f"{outcome.result.value}: {text}"
        indices = range(batch.events)
        rejected = {at for at in outcome.rejected_items if at in indices}
        retry = sorted({at for at in outcome.retry_items if at in indices} - rejected)
        if outcome.result in (Result.RETRY, Result.HOLD) or len(retry) == batch.events > 0:
            return self._back_off(outcome, jitter)
        if outcome.result is Result.SPLIT:
            if halves := self._packer.split(batch):
                self._queue.complete(batch, delivered={}, instead=halves)
            else:
                self._lose(batch, "too_large", text)
        elif outcome.result is Result.REJECTED:
            self._lose(batch, "rejected", text)
        else:
            self.last_accepted = asyncio.get_running_loop().time()
            self._complete(batch, rejected, retry, outcome.rejected_count, text)
            if retry:
                return self._back_off(outcome, jitter)
        if self._failures:
            log.info("sink %s: works again after %d failed tries", self.name, self._failures)
            self._failures = 0
            self._logged = ""
        return outcome.pause_s or 0.0

    def _complete(self, batch: Batch, rejected: set[int], retry: Sequence[int], rejected_count: int, text: str) -> None:
        if rejected or rejected_count > 0:
            many = len(rejected) + rejected_count
            log.error("sink %s: the receiver rejected %d of %d events: %s", self.name, many, batch.events, text)
        delivered, lost = count_forks(batch, rejected, retry, rejected_count)
        instead = [self._packer.part(batch, retry, "again")] if retry else []
        self._queue.complete(batch, delivered=delivered, lost={"rejected": lost} if lost else {}, instead=instead)

    def _lose(self, batch: Batch, reason: str, text: str) -> None:
        log.error("sink %s: discarded a batch of %d events, counted as lost{%s}: %s", self.name, batch.events, reason, text)
        self._queue.complete(batch, delivered={}, lost={reason: batch.forks})

    def _back_off(self, outcome: Outcome, jitter: Uniform) -> float:
        self._failures += 1
        if self.state != self._logged:
            log.warning("sink %s: %s", self.name, self.state)
            self._logged = self.state
        if outcome.result is Result.HOLD:
            return jitter(_HOLD_S / 2, _HOLD_S)
        if outcome.pause_s is None:
            return _BACKOFF.full_jitter(self._failures, jitter)
        # What the receiver asked for is the least; a little more, so that not all agents come back in the same moment.
        return outcome.pause_s + jitter(0, 1)

    async def _pause(self, seconds: float, *, until_files_change: bool) -> None:
        """`until_files_change`: ends as soon as a token or certificate was replaced, since that may be what was wrong."""
        while seconds > 0:
            step = min(seconds, _FILE_CHECK_S) if until_files_change else seconds
            await asyncio.sleep(step)
            seconds -= step
            if self._connection.files_changed():
                return

    def _count(self, what: str) -> None:
        self.responses[what] = self.responses.get(what, 0) + 1


def count_forks(batch: Batch, rejected: set[int], retry: Sequence[int], rejected_count: int) -> ForkCounts:
    """Delivered and lost forks by cgroup, of a batch that was accepted but for some items. With those of `retry` they are all
    of the batch's forks.

    `rejected`, `retry`: indices of items. `rejected_count`: how many more were rejected, of which the receiver does not say
    which they are. If all of them are of one cgroup, they can be counted all the same; if not, the forks that are left are
    counted under NO_CGROUP. Rejected items are taken to be forks as long as there are any, and not events of the agent itself:
    rather too few are counted as delivered than too many.
    """
    others = rejected.union(retry)
    delivered = Counter(cgroup for at, cgroup in enumerate(batch.cgroups) if at not in others) if others else batch.forks
    lost = Counter(batch.cgroups[at] for at in rejected)
    del delivered[NO_CGROUP], lost[NO_CGROUP]  # no error when the key is not there
    if rejected_count > 0 and delivered:
        total = delivered.total()
        more_lost = min(rejected_count, total)
        if more_lost == total:
            lost, delivered = lost + delivered, Counter()
        else:
            (cgroup,) = delivered if len(delivered) == 1 else (NO_CGROUP,)
            delivered = Counter({cgroup: total - more_lost})
            lost[cgroup] += more_lost
    return ForkCounts(delivered, lost)
