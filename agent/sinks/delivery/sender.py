"""Sends the batches of one sink's queue to its receiver: at least once, in order, with pauses that grow while it fails.

What a receiver rejects is discarded only while it accepts other data. Else the fault is in the settings or in the receiver, and
the batch is held.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
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
from wire.http.log_limit import LogLimit

__all__ = ["ForkCounts", "Sender", "count_forks"]

log = logging.getLogger(__name__)

_BACKOFF: Final = Backoff(first_s=1.0, longest_s=30.0)
_HOLD_S: Final = 30.0  # between tries while the settings are wrong
_FILE_CHECK_S: Final = 1.0  # how often a pause checks whether a file has been replaced
_TRUST_S: Final = 10.0  # how long an accepted test event shows that the receiver works
_MAX_REJECTIONS: Final = 64  # of parts of one batch in a row, before the rest of it is taken to be rejected, too
_LOG_LINES: Final = 3  # of one kind in _LOG_S: a receiver chooses how many there would be
_LOG_S: Final = 60.0
_MAX_TEXT: Final = 300  # characters of `state`


class ForkCounts(NamedTuple):
    """Forks by cgroup."""

    delivered: Counter[int]
    lost: Counter[int]


class Sender:
    """`state` is one line for people: the result of the last try. `durations`: of each try. `make_test_batch`: a batch of one
    event of the agent itself, which a receiver with the right settings accepts.

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
        make_test_batch: Callable[[], Batch],
        *,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self.name = name
        self._queue = queue
        self._packer = packer
        self._format = sink_format
        self._make_test_batch = make_test_batch
        self.durations = Durations()
        self._connection = Connection(destination, sink_format.authorization, timeouts)
        self.state = "nothing sent yet"
        self.untrusted: str | None = None
        self.responses: dict[str, int] = {}
        self.tries = 0
        self.retries = 0
        self.bytes_sent = 0
        self.last_accepted: float | None = None
        self._failures = 0  # in a row
        self._tried = ""  # the id of the batch of the last try
        self._logged = ""  # the state that was logged last, so that the same is not logged again
        self._log_limit = LogLimit(_LOG_LINES, _LOG_S)
        self._unproven = ""  # the answer to a batch that was rejected as a test event was; before others, a test event is sent
        self._works_until = 0.0  # the loop's time until which a test event shows that the receiver works
        self._rejected: tuple[str, int] = ("", 0)  # the batch whose parts were rejected, and how many in a row

    @property
    def reconnected(self) -> int:
        """Times that the receiver had closed the kept connection, and a try was repeated at once on a new one."""
        return self._connection.reconnected

    async def run(self, jitter: Uniform = random.uniform) -> None:
        """Sends the oldest batch, again and again until it is accepted or rejected, then the next; never returns.

        May be cancelled at any moment: a batch leaves the queue in one step, when its whole response is there.
        """
        async with self._connection:
            while True:
                batch = await self._queue.head()
                outcome = await self._try(batch)
                self._write_left_out()
                if pause := self._apply(batch, outcome, jitter):
                    await self._pause(pause, until_files_change=outcome.result is Result.HOLD)

    async def _try(self, batch: Batch) -> Outcome:
        if self._unproven and (failure := await self._test(self._unproven)):
            return failure
        self.tries += 1
        self.retries += batch.id == self._tried
        self._tried = batch.id
        outcome = await self._post(batch)
        whole = batch.id.partition(".")[0]
        before = self._rejected[1] if self._rejected[0] == whole else 0
        self._rejected = (whole, before + 1 if outcome.result in (Result.SPLIT, Result.REJECTED) else 0)
        if self._discards(batch, outcome) and asyncio.get_running_loop().time() >= self._works_until:
            return await self._test(outcome.text) or outcome
        return outcome

    async def _test(self, text: str) -> Outcome | None:
        """Sends a test event. None: the receiver accepts it, so that what it rejects is the batch's own fault.

        `text`: the answer to a batch that was rejected.
        """
        test = self._make_test_batch()
        answer = await self._post(test)
        if answer.result is Result.ACCEPTED and not (_rejects_all(test, answer) or answer.retry_items):
            self._works_until = asyncio.get_running_loop().time() + _TRUST_S
            self._unproven = ""
            return None
        self._unproven = text
        if answer.result is Result.RETRY or answer.retry_items:
            return answer._replace(result=Result.RETRY)
        return Outcome(Result.HOLD, f"{text}; a test event is rejected, too: a setting or the receiver is wrong")

    async def _post(self, batch: Batch) -> Outcome:
        loop = asyncio.get_running_loop()
        start = loop.time()
        headers = self._format.request_headers(batch, self._queue.delivered_of(batch.stream))
        try:
            response = await self._connection.post(batch.body, headers)
        except (FileError, aiohttp.ClientError, OSError, ValueError) as error:
            failure = describe_failure(error, self._connection.receiver, self._connection.proxy)
            self._count(failure.kind)
            self.untrusted = failure.text if failure.kind in ("tls", "files") else None
            return Outcome(Result.HOLD if failure.hold else Result.RETRY, failure.text)
        finally:
            self.durations.observe(loop.time() - start)
        self._count(str(response.status))
        self.untrusted = None
        self.bytes_sent += len(batch.body)
        outcome = self._format.interpret(response.status, response.headers, response.body, datetime.now(UTC), batch)
        if outcome.result is Result.RETRY:
            await self._connection.leave_address()  # a load balancer or DNS may lead to a replica that is well
        return outcome

    def _may_split(self, batch: Batch) -> bool:
        """False after part after part was too large: to go on would cost two tries for each event."""
        return batch.events > 1 and self._rejected[1] <= _MAX_REJECTIONS

    def _discards(self, batch: Batch, outcome: Outcome) -> bool:
        """The receiver accepts nothing of the batch, and will not."""
        if outcome.result is Result.SPLIT:
            return not self._may_split(batch)
        return outcome.result is Result.REJECTED or _rejects_all(batch, outcome)

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
            if self._may_split(batch):
                self._queue.complete(batch, delivered={}, instead=self._packer.split(batch))
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
            self._write(logging.INFO, "works again", f"works again after {self._failures} failed tries")
            self._failures = 0
            self._tried = ""  # the id of the batch of the last try
        self._logged = ""
        return outcome.pause_s or 0.0

    def _complete(self, batch: Batch, rejected: set[int], retry: Sequence[int], rejected_count: int, text: str) -> None:
        if rejected or rejected_count > 0:
            many = len(rejected) + rejected_count
            self._write(logging.ERROR, "rejected events", f"the receiver rejected {many} of {batch.events} events: {text}")
        delivered, lost = count_forks(batch, rejected, retry, rejected_count)
        instead = [self._packer.part(batch, retry, "again")] if retry else []
        accepted = not rejected and rejected_count <= 0
        of_reason = {"rejected": lost} if lost else {}
        self._queue.complete(batch, delivered=delivered, lost=of_reason, instead=instead, accepted=accepted)

    def _lose(self, batch: Batch, reason: str, text: str) -> None:
        discarded = f"discarded a batch of {batch.events} events, counted as lost{{{reason}}}: {text}"
        self._write(logging.ERROR, f"lost{{{reason}}}", discarded)
        self._queue.complete(batch, delivered={}, lost={reason: batch.forks}, accepted=False)

    def _back_off(self, outcome: Outcome, jitter: Uniform) -> float:
        self._failures += 1
        if self.state != self._logged:
            self._write(logging.WARNING, "failures", self.state)
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

    def _write(self, level: int, kind: str, text: str) -> None:
        """Writes the line, or counts it. `kind`: one of few: lines of one kind share a rate."""
        if (more := self._log_limit.suffix(kind)) is not None:
            log.log(level, "sink %s: %s%s", self.name, text, more)

    def _write_left_out(self) -> None:
        for kind, lines, seconds in self._log_limit.ended():
            log.warning("sink %s: %d more lines of this kind in %d s: %s", self.name, lines, seconds, kind)

    def _count(self, what: str) -> None:
        self.responses[what] = self.responses.get(what, 0) + 1


def _rejects_all(batch: Batch, outcome: Outcome) -> bool:
    rejected = len({*outcome.rejected_items}.intersection(range(batch.events))) + max(outcome.rejected_count, 0)
    return outcome.result is Result.ACCEPTED and rejected >= batch.events > 0


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
