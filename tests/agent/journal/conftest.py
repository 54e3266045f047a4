"""Journals in a folder, closed at the end; opened anew as the next agent would."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest

from agent.journal import Journal

LIMITS = {"siem": 1 << 20, "collector": 1 << 20}


class Place:
    """A state directory. `opened` is what an agent does that starts there."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "journal.sqlite3"
        self.wal = folder / "journal.sqlite3-wal"
        self._journals = []

    async def opened(self, now=time.time, **limits):
        journal = Journal(self.file, limits or LIMITS, now)
        self._journals.append(journal)
        await journal.open()
        return journal

    async def again(self, journal, **limits):
        """The next agent, after this one left."""
        await journal.close()
        self._journals.remove(journal)
        return await self.opened(**limits)

    def aside(self):
        return sorted(path.name for path in self.folder.iterdir() if ".corrupt-" in path.name)

    def sql(self, *statements):
        """Somebody else's hand in the file, while no agent has it."""
        connection = sqlite3.connect(self.file)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    async def close(self):
        for journal in self._journals:
            await journal.close()


@pytest.fixture(scope="session")
def quick():
    """Makes folders where a new file waits for no disk."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield lambda: Path(tempfile.mkdtemp(dir=folder))


@pytest.fixture
async def place(quick):
    place = Place(quick() / "state")
    yield place
    await place.close()


@pytest.fixture
async def disk(tmp_path):
    """A place on the real disk."""
    place = Place(tmp_path / "state")
    yield place
    await place.close()
