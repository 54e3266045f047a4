"""A batch from the queue to its receiver: at least once, in order, with pauses that back off.

Must not live here: what an answer means (answers), how bytes get there (connections), what is in a body.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import aiohttp

from agent.histogram import Durations
from agent.model import NOBODY, Batch
from agent.sinks.delivery.connections import TIMEOUTS, Connection, Destination, Timeouts
from agent.sinks.delivery.credentials import FileError
from agent.sinks.delivery.failures import describe_failure
from agent.sinks.delivery.responses import Outcome, Result
from agent.sinks.printable import printable
from wire.backoff import Backoff, Uniform

__all__ = ["Packer", "Queue", "Sender", "Speech"]

log = logging.getLogger(__name__)

_BACKOFF: Final = Backoff(first_s=1.0, longest_s=30.0)
_HOLD_S: Final = 30.0  # between tries while the settings are wrong
_LOOK_S: Final = 1.0  # how often it is looked whether somebody has mended a file
_MOST_TEXT: Final = 300  # characters of `state`

_Forks = Mapping[int, int]


class Queue(Protocol):
    """What waits for the sink, durably."""

    async def head(self) -> Batch:
        """The oldest; waits for one. It stays until it is settled."""
        ...

    def complete(
        self, batch: Batch, *, delivered: _Forks, lost: Mapping[str, _Forks] = ..., instead: Sequence[Batch] = ...
    ) -> bool:
        """In one step: what became of its forks, and smaller batches in its place. False: it had been dropped meanwhile, and
        counted as lost."""
        ...


class Packer(Protocol):
    def halve(self, batch: Batch) -> list[Batch]:
        """Empty when it has one item only."""
        ...

    def part(self, batch: Batch, indices: Sequence[int], suffix: str) -> Batch:
        """The items at these places, in their order. `suffix`: what tells it from the batch's other parts."""
        ...


class Speech(Protocol):
    """A protocol, as far as a sender needs it. `headers_of`: all that a batch's request has. `answer`: status, headers, body,
    now, batch -> what it means. `authorization`: a token's text -> headers; ValueError says what is wrong with it."""

    def request_headers(self, batch: Batch) -> Mapping[str, str]: ...

    @property
    def interpret(self) -> Callable[[int, Mapping[str, str], bytes, datetime, Batch], Outcome]: ...

    @property
    def authorization(self) -> Callable[[str], Mapping[str, str]]: ...


class Sender:
    """`state` is one line for people: what the receiver last said, or what is in the way. `durations`: of each try.

    Counters: `answers` by status or kind of trouble; `tries`, `retries` (of a batch that had been tried before); `bytes_sent`
    (bodies that were answered); `last_taken` (the loop's time).
    """

    def __init__(
        self,
        name: str,
        destination: Destination,
        queue: Queue,
        packer: Packer,
        speech: Speech,
        *,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self.name = name
        self._queue = queue
        self._packer = packer
        self._speech = speech
        self.durations = Durations()
        self._connection = Connection(destination, speech.authorization, timeouts)
        self.state = "nothing sent yet"
        self.answers: dict[str, int] = {}
        self.tries = 0
        self.retries = 0
        self.bytes_sent = 0
        self.last_accepted: float | None = None
        self._failures = 0
        self._said = ""

    @property
    def reconnected(self) -> int:
        """Times that the receiver had closed the kept connection, and a try went out once more at once."""
        return self._connection.reconnected

    async def run(self, jitter: Uniform = random.uniform) -> None:
        """Forever: the oldest batch, again and again until it is taken or can't be. Cancelled at any moment, it leaves the
        queue as it was: a batch is settled when its answer is there in full, and in one step."""
        async with self._connection:
            tried = ""
            while True:
                batch = await self._queue.head()
                self.tries += 1
                self.retries += batch.id == tried
                tried = batch.id
                outcome = await self._post(batch)
                if pause := self._settle(batch, outcome, jitter):
                    await self._pause(pause, watching=outcome.result is Result.HOLD)

    async def _post(self, batch: Batch) -> Outcome:
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            reply = await self._connection.post(batch.body, self._speech.request_headers(batch))
        except (FileError, aiohttp.ClientError, OSError, ValueError) as error:
            trouble = describe_failure(error, self._connection.receiver, self._connection.proxy)
            self._count(trouble.kind)
            return Outcome(Result.HOLD if trouble.hold else Result.RETRY, trouble.text)
        finally:
            self.durations.observe(loop.time() - start)
        self._count(str(reply.status))
        self.bytes_sent += len(batch.body)
        return self._speech.interpret(reply.status, reply.headers, reply.body, datetime.now(UTC), batch)

    def _settle(self, batch: Batch, outcome: Outcome, jitter: Uniform) -> float:
        """Moves the queue on as the answer says; returns the pause until the next try, seconds."""
        text = printable(self._connection.redact(outcome.text), _MOST_TEXT)
        self.state = f"{outcome.result.value}: {text}"
        places = range(batch.events)
        refused = {at for at in outcome.rejected_items if at in places}
        again = sorted({at for at in outcome.retry_items if at in places} - refused)
        if outcome.result in (Result.RETRY, Result.HOLD) or len(again) == batch.events > 0:
            return self._later(outcome, jitter)
        if outcome.result is Result.SPLIT:
            if halves := self._packer.halve(batch):
                self._queue.complete(batch, delivered={}, instead=halves)
            else:
                self._lose(batch, "too_large", text)
        elif outcome.result is Result.REJECTED:
            self._lose(batch, "rejected", text)
        else:
            self.last_accepted = asyncio.get_running_loop().time()
            self._take(batch, refused, again, outcome.rejected_count, text)
            if again:
                return self._later(outcome, jitter)
        if self._failures:
            log.info("sink %s: answers again after %d tries", self.name, self._failures)
            self._failures = 0
            self._said = ""
        return outcome.pause_s or 0.0

    def _take(self, batch: Batch, refused: set[int], again: Sequence[int], rejected: int, text: str) -> None:
        if refused or rejected > 0:
            log.error("sink %s: %d of %d events refused: %s", self.name, len(refused) + rejected, batch.events, text)
        delivered, lost = became(batch, refused, again, rejected)
        instead = [self._packer.part(batch, again, "again")] if again else []
        self._queue.complete(batch, delivered=delivered, lost={"rejected": lost} if lost else {}, instead=instead)

    def _lose(self, batch: Batch, reason: str, text: str) -> None:
        log.error("sink %s: set a batch of %d events aside: %s", self.name, batch.events, text)
        self._queue.complete(batch, delivered={}, lost={reason: batch.forks})

    def _later(self, outcome: Outcome, jitter: Uniform) -> float:
        self._failures += 1
        if self.state != self._said:
            log.warning("sink %s: %s", self.name, self.state)
            self._said = self.state
        if outcome.result is Result.HOLD:
            return jitter(_HOLD_S / 2, _HOLD_S)
        if outcome.pause_s is None:
            return _BACKOFF.full_jitter(self._failures, jitter)
        # What was asked for is the least; a little more, so that not all come back in the same moment.
        return outcome.pause_s + jitter(0, 1)

    async def _pause(self, seconds: float, *, watching: bool) -> None:
        """`watching`: over as soon as somebody has replaced a file, for that may be what was wrong."""
        while seconds > 0:
            step = min(seconds, _LOOK_S) if watching else seconds
            await asyncio.sleep(step)
            seconds -= step
            if self._connection.changed():
                return

    def _count(self, what: str) -> None:
        self.answers[what] = self.answers.get(what, 0) + 1


def became(batch: Batch, refused: set[int], again: Sequence[int], rejected: int) -> tuple[Counter[int], Counter[int]]:
    """Delivered and lost forks by cgroup. With those of `again` they are the batch's, always.

    `rejected`: so many more were refused, and nobody said which. Forks of one cgroup can be counted all the same; of several,
    whose were delivered can't be said any more, and all of them are NOBODY's. What was refused is taken to be forks as long as
    there are any, and not events of the agent's own: rather too few delivered than too many.
    """
    apart = refused.union(again)
    delivered = Counter(cgroup for at, cgroup in enumerate(batch.cgroups) if at not in apart) if apart else batch.forks
    lost = Counter(batch.cgroups[at] for at in refused)
    del delivered[NOBODY], lost[NOBODY]  # a Counter minds no key that is not there
    if rejected > 0 and delivered:
        many = delivered.total()
        gone = min(rejected, many)
        if gone == many:
            lost, delivered = lost + delivered, Counter()
        else:
            (whose,) = delivered if len(delivered) == 1 else (NOBODY,)
            delivered = Counter({whose: many - gone})
            lost[whose] += gone
    return delivered, lost
