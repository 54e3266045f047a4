"""A sink as the agent builds it (settings, encoder, packer, journal, sender), with a test's forks and a real receiver.

Only the length of its pauses is replaced.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.journal import Journal
from agent.lifecycle.build import build_sink
from agent.settings import SinkSettings
from tests.agent.sinks.model_strategies import a_fork, a_parent_context, a_task

__all__ = ["SinkScene", "open_sink", "until"]

_CGROUP = 7


class SinkScene:
    """`states`: the sender's state at each pause; `pauses`: their bounds in seconds. `ids`: of all forks that were put in."""

    def __init__(self, journal: Journal, given: Mapping[str, Any]) -> None:
        settings = SinkSettings.model_validate({"name": "siem", **given})
        self.journal = journal
        self.stream = f"{uuid.uuid4()}.{secrets.token_hex(8)}"
        self.sink = build_sink(settings, journal, "demo", "node1", ())
        self.sender = self.sink.sender
        self.queue = journal.queue("siem")
        self.states: list[str] = []
        self.pauses: list[tuple[float, float]] = []
        self.ids: list[str] = []

    def put(self, many: int = 6, comms: Sequence[str] = ()) -> list[str]:
        """Puts one batch of `many` forks, if the setting `batch` allows; returns their ids."""
        first = len(self.ids)
        names = [*comms, *["sh"] * (many - len(comms))]
        forks = [
            a_fork(sequence=number, child=a_task(100 + number), parent_context=a_parent_context(comm=comm), counted=_CGROUP)
            for number, comm in enumerate(names, first)
        ]
        made = [f"{self.stream}.0.{fork.sequence}" for fork in forks]
        self.ids += made
        self.sink.emit_forks(self.stream, forks, 0.0)
        self.sink.close_batch()
        return made

    @property
    def delivered(self) -> int:
        return self.journal.account(self.stream, "siem").delivered.total()

    @property
    def lost(self) -> dict[str, int]:
        return self.journal.account(self.stream, "siem").lost_by_reason()

    def balances(self) -> bool:
        """Every fork that was put in is delivered, lost or queued."""
        return self.delivered + sum(self.lost.values()) + self.queue.forks == len(self.ids)

    @asynccontextmanager
    async def running(self, pause_s: float = 0.001) -> AsyncIterator[SinkScene]:
        """Runs the sender, and a hundred commits a second. `pause_s`: the length of each pause within its bounds."""

        def jitter(low: float, high: float) -> float:
            self.states.append(self.sender.state)
            self.pauses.append((low, high))
            return pause_s

        async with asyncio.TaskGroup() as group:  # the test fails when one of them ends
            tasks = [group.create_task(self.sender.run(jitter)), group.create_task(self._commit())]
            yield self
            assert self.balances()
            for task in tasks:
                task.cancel()

    async def ship(self, seconds: float = 20.0) -> None:
        """Until the queue is empty."""
        async with self.running(), asyncio.timeout(seconds):
            await self.queue.empty()

    async def _commit(self) -> None:
        while True:
            await self.journal.commit()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def open_sink(folder: Path, **sink: Any) -> AsyncIterator[SinkScene]:
    """`sink`: its settings, without the name."""
    journal = Journal(folder / "journal.sqlite3", {"siem": 1 << 22})
    await journal.open()
    try:
        yield SinkScene(journal, sink)
    finally:
        await journal.close()


async def until(holds: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  counters do not notify
            await asyncio.sleep(0.005)
