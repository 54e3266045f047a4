"""A sink as the agent makes it (settings, encoder, packer, journal, sender), between forks of a test's and a real receiver.

Nothing of it is replaced but the length of its pauses. Must not live here: what any answer means.
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

__all__ = ["Line", "line", "until"]

_CGROUP = 7


class Line:
    """`said`: the sender's words at each pause, `pauses`: their bounds in seconds. `ids`: of all forks that were put in."""

    def __init__(self, journal: Journal, given: Mapping[str, Any]) -> None:
        settings = SinkSettings.model_validate({"name": "siem", **given})
        self.journal = journal
        self.stream = f"{uuid.uuid4()}.{secrets.token_hex(8)}"
        self.sink = build_sink(settings, journal, "demo", "node1", ())
        self.sender = self.sink.sender
        self.queue = journal.queue("siem")
        self.said: list[str] = []
        self.pauses: list[tuple[float, float]] = []
        self.ids: list[str] = []

    def put(self, many: int = 6, comms: Sequence[str] = ()) -> list[str]:
        """One batch of so many forks, as far as `batch` allows; their ids."""
        first = len(self.ids)
        names = [*comms, *["sh"] * (many - len(comms))]
        forks = [
            a_fork(sequence=number, child=a_task(100 + number), parent_context=a_parent_context(comm=comm), counted=_CGROUP)
            for number, comm in enumerate(names, first)
        ]
        made = [f"{self.stream}.0.{fork.sequence}" for fork in forks]
        self.ids += made
        self.sink.take(self.stream, forks, 0.0)
        self.sink.close()
        return made

    @property
    def delivered(self) -> int:
        return self.journal.account(self.stream, "siem").delivered.total()

    @property
    def lost(self) -> dict[str, int]:
        return self.journal.account(self.stream, "siem").lost_by_reason()

    def closes(self) -> bool:
        """Every fork that was put in is delivered, lost or queued."""
        return self.delivered + sum(self.lost.values()) + self.queue.forks == len(self.ids)

    @asynccontextmanager
    async def running(self, pause_s: float = 0.001) -> AsyncIterator[Line]:
        """The sender at work, and a commit a hundred times a second; `pause_s` is what it draws of its bounds."""

        def jitter(low: float, high: float) -> float:
            self.said.append(self.sender.state)
            self.pauses.append((low, high))
            return pause_s

        async with asyncio.TaskGroup() as group:  # what ends ends the test
            tasks = [group.create_task(self.sender.run(jitter)), group.create_task(self._commit())]
            yield self
            assert self.closes()
            for task in tasks:
                task.cancel()

    async def ship(self, seconds: float = 20.0) -> None:
        """Until nothing waits any more."""
        async with self.running(), asyncio.timeout(seconds):
            await self.queue.empty()

    async def _commit(self) -> None:
        while True:
            await self.journal.commit()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def line(folder: Path, **sink: Any) -> AsyncIterator[Line]:
    """`sink`: its settings, but for the name."""
    journal = Journal(folder / "journal.sqlite3", {"siem": 1 << 22})
    await journal.open()
    try:
        yield Line(journal, sink)
    finally:
        await journal.close()


async def until(holds: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  counters tell nobody that they changed
            await asyncio.sleep(0.005)
