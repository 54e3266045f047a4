"""State directories with journals, which are closed at the end of a test."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest

from agent.journal import Journal

LIMITS = {"siem": 1 << 20, "collector": 1 << 20}


class StateDirectory:
    """A state directory. `opened`: the journal of an agent that starts there."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "journal.sqlite3"
        self.wal = folder / "journal.sqlite3-wal"
        self._journals = []

    async def opened(self, now=time.time, unreadable=lambda _: None, **limits):
        journal = Journal(self.file, limits or LIMITS, now, unreadable)
        self._journals.append(journal)
        await journal.open()
        return journal

    async def next_agent(self, journal, **limits):
        """Closes the journal and opens that of the next agent."""
        await journal.close()
        self._journals.remove(journal)
        return await self.opened(**limits)

    def aside(self):
        return sorted(path.name for path in self.folder.iterdir() if ".corrupt-" in path.name)

    def sql(self, *statements):
        """Changes the file while no journal is open."""
        connection = sqlite3.connect(self.file)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    async def close(self):
        for journal in self._journals:
            await journal.close()


@pytest.fixture(scope="session")
def in_memory():
    """Makes directories in memory, where no write waits for a disk."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield lambda: Path(tempfile.mkdtemp(dir=folder))


@pytest.fixture
async def state_dir(in_memory):
    state_dir = StateDirectory(in_memory() / "state")
    yield state_dir
    await state_dir.close()


@pytest.fixture
async def disk(tmp_path):
    """A state directory on the real disk."""
    state_dir = StateDirectory(tmp_path / "state")
    yield state_dir
    await state_dir.close()
