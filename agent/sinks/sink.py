"""One sink: encoder + journal + sender, and the account of what became of what it was given.

Must not live here: a second sink's anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import aiohttp

from agent.ledger import Account
from agent.nouns import Event, Fork
from agent.sinks.bodies import Packer, line_bytes
from agent.sinks.journal import Journal
from agent.sinks.sender import Sender

__all__ = ["Encoder", "Sink"]


class Encoder(Protocol):
    """A schema: a line for each fork, and for each event of the agent's own."""

    def forks(self, forks: Sequence[Fork]) -> list[str]: ...

    def event(self, event: Event) -> str: ...


class Sink:
    """`wait_s`: how long a line may wait for others to fill its batch. Positions are the ring's."""

    def __init__(
        self,
        name: str,
        url: str,
        encoder: Encoder,
        *,
        compression: str,
        events: int,
        size: int,
        wait_s: float,
        journal_bytes: int,
        token_file: Path | None,
        headers: dict[str, str],
        stream: str,
    ) -> None:
        self.name = name
        self.account = Account()
        self._encoder = encoder
        self._events = events
        self._size = size
        self._wait_s = wait_s
        self._packer = Packer(compression, events, size, f"{stream}.{name}")
        self.journal = Journal(journal_bytes)
        self.sender = Sender(name, url, self.journal, self.account, self._packer, compression, token_file, headers)
        self._lines: list[str] = []
        self._cgroups: list[int | None] = []
        self._bytes = 0
        self._opened = 0.0
        self.safe = 0

    @property
    def open_forks(self) -> int:
        """Forks that are encoded and not yet in the journal; the ring still has them, too."""
        return len(self._cgroups) - self._cgroups.count(None)

    def lag(self, now: float) -> float:
        """Seconds that the oldest line has been waiting here; 0 when there is none."""
        since = self.journal.oldest() or (self._opened if self._lines else None)
        return 0.0 if since is None else now - since

    def take(self, forks: Sequence[Fork], now: float) -> None:
        lines = self._encoder.forks(forks)
        self._add(lines, [fork.counted for fork in forks], now)

    def tell(self, event: Event, now: float) -> None:
        self._add([self._encoder.event(event)], [None], now)

    def commit(self, now: float, position: int, *, all_of_it: bool = False) -> None:
        """Puts the open lines into the journal when there are enough of them, or they waited long enough.

        `position`: up to where the ring has been handed over. When nothing is open any more, all of that is the journal's, and
        `safe` says so: the ring's room can be given back.
        """
        due = len(self._lines) >= self._events or self._bytes >= self._size or now - self._opened >= self._wait_s
        if self._lines and (due or all_of_it):
            for batch in self._packer.pack(self._lines, self._cgroups, self._opened):
                if lost := self.journal.put(batch):
                    self.account.lose("journal_full", lost)
            self._lines, self._cgroups, self._bytes = [], [], 0
        if not self._lines:
            self.safe = position

    async def run(self, session: aiohttp.ClientSession) -> None:
        await self.sender.run(session)

    def _add(self, lines: list[str], cgroups: Sequence[int | None], now: float) -> None:
        if not lines:
            return
        if not self._lines:
            self._opened = now
        self._lines += lines
        self._cgroups += cgroups
        self._bytes += sum(map(line_bytes, lines))
