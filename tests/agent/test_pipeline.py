"""The hall, with a probe that only says who it is: what goes wrong before the first fork is told as what it is."""

import asyncio
import socket

import pytest

from agent.identity.cgroups import Hierarchy
from agent.pipeline import Pipeline
from agent.settings import Settings


class FakeProbe:
    """Attached, not started, and never asked for a fork."""

    boot_id = "0ac846b9-54b9-46db-ad41-e0a5f64de594"
    epoch = "9f3c51d2a7e04b68"
    stream = f"{boot_id}.{epoch}"


@pytest.fixture
def taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


async def test_a_port_in_use_is_an_oserror_and_not_a_room_that_burned(taken_port, tmp_path):
    settings = Settings(node="node1", status=f"127.0.0.1:{taken_port}", kubernetes={"enabled": False}, state_dir=tmp_path)
    with pytest.raises(OSError, match="address already in use"):
        await Pipeline(settings, Hierarchy(0, None, tmp_path), FakeProbe()).run(asyncio.Event())
