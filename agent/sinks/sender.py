"""A batch from the journal to its receiver, over HTTP: at least once, in order, with pauses that back off.

Must not live here: what an answer means (answers), what is in a body.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp

from agent.ledger import Account
from agent.nouns import Batch
from agent.sinks.answers import Answer, Fate, http_answer
from agent.sinks.bodies import Packer
from agent.sinks.journal import Journal
from wire.batch import BATCH_ID, CONTENT_TYPE

__all__ = ["Sender"]

log = logging.getLogger(__name__)

_BACKOFF_S: Final = (0.5, 30.0)  # first and longest pause, with full jitter
_HOLD_S: Final = 30.0  # between tries while the settings are wrong
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=30)
_MOST_ANSWER: Final = 1 << 20


class Sender:
    """`token_file` is read again whenever it changed. `state` is one line for people: what the receiver last said."""

    def __init__(
        self,
        name: str,
        url: str,
        journal: Journal,
        account: Account,
        packer: Packer,
        compression: str,
        token_file: Path | None,
        headers: Mapping[str, str],
    ) -> None:
        self.name = name
        self._url = url
        self._journal = journal
        self._account = account
        self._packer = packer
        self._token_file = token_file
        self._headers = {**headers, "Content-Type": CONTENT_TYPE}
        if compression != "none":
            self._headers["Content-Encoding"] = compression
        self.state = "nothing sent yet"
        self.answers: dict[str, int] = {}  # by status, or by the error's name
        self.last_taken: float | None = None
        self._failures = 0

    async def run(self, session: aiohttp.ClientSession, jitter: Callable[[float, float], float] = random.uniform) -> None:
        """Forever: the oldest batch, again and again until it is taken or can't be."""
        while True:
            batch = await self._journal.head()
            answer = await self._post(session, batch)
            if pause := self._settle(batch, answer, jitter):
                await asyncio.sleep(pause)

    async def _post(self, session: aiohttp.ClientSession, batch: Batch) -> Answer:
        try:
            headers = {**self._headers, BATCH_ID: batch.id, **self._authorization()}
            async with session.post(
                self._url, data=batch.body, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                body = b""
                async for chunk in response.content.iter_any():  # to the end: half an answer is no answer
                    body = (body + chunk)[:_MOST_ANSWER]
                self._count(str(response.status))
                return http_answer(response.status, response.headers, body, datetime.now(UTC))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._count(type(error).__name__)
            return Answer(Fate.RETRY, f"{type(error).__name__}: {str(error)[:200]}")

    def _settle(self, batch: Batch, answer: Answer, jitter: Callable[[float, float], float]) -> float:
        """Moves the cursor as the answer says; returns the pause until the next try, seconds."""
        before, self.state = self.state, f"{answer.fate.value}: {answer.text}"
        if answer.fate in (Fate.RETRY, Fate.HOLD):
            self._failures += 1
            if self._failures == 1 or self.state != before:
                log.warning("sink %s: %s", self.name, self.state)
            if answer.fate is Fate.HOLD:
                return jitter(_HOLD_S / 2, _HOLD_S)
            longest = min(_BACKOFF_S[1], _BACKOFF_S[0] * 2.0 ** min(self._failures, 16))
            # What was asked for is the least; a little more, so that not all come back in the same moment.
            return jitter(0, longest) if answer.pause_s is None else answer.pause_s + jitter(0, 1)
        if self._failures:
            log.info("sink %s: answers again after %d tries", self.name, self._failures)
            self._failures = 0
        if answer.fate is Fate.SPLIT and (halves := self._packer.halve(batch)):
            self._journal.replace(batch, halves)
        elif answer.fate is Fate.TAKEN:
            self.last_taken = asyncio.get_running_loop().time()
            refused = self._packer.forks_at(batch, answer.refused) if answer.refused else {}
            if self._journal.done(batch):
                self._account.deliver({cgroup: number - refused.get(cgroup, 0) for cgroup, number in batch.forks.items()})
                if refused:
                    self._account.lose("rejected", refused)
        else:
            log.error("sink %s: set a batch of %d events aside: %s", self.name, batch.events, answer.text)
            if self._journal.done(batch):
                self._account.lose("rejected", batch.forks)
        return 0

    def _authorization(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        # A small file, once a batch: cheaper than to be wrong about whether it changed.
        return {"Authorization": f"Bearer {self._token_file.read_text(encoding='ascii').strip()}"}

    def _count(self, what: str) -> None:
        self.answers[what] = self.answers.get(what, 0) + 1
