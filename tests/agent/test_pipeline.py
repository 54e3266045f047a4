"""The hall, with a capture that nobody asks: what goes wrong before the first fork is told as what it is."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.attribution.cgroups import Hierarchy
from agent.journal import Journal
from agent.pipeline import Pipeline
from agent.settings import Settings


class FakeCapture:
    """Attached, not started, and never asked for a fork."""


@pytest.fixture
def taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


async def test_a_port_in_use_is_an_oserror_and_not_a_room_that_burned(taken_port, tmp_path):
    settings = Settings(node="node1", status=f"127.0.0.1:{taken_port}", kubernetes={"enabled": False}, state_dir=tmp_path)
    journal = Journal(tmp_path / "journal.sqlite3", {})
    await journal.open()
    pipeline = Pipeline(settings, Hierarchy(0, None, tmp_path), FakeCapture(), journal)
    with pytest.raises(OSError, match="address already in use"):
        await pipeline.run(asyncio.Event(), ThreadPoolExecutor())
    await journal.close()
