"""A container with a new name for each fork, beside a quiet one, with the real kernel: it is only counted after its burst,
and the quiet one loses nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from .conftest import Receiver
from .scenes import FORKER, Scene, caught_up, eventually, has_forked

pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(120)]

LIMIT = 20
RENAMED = FORKER.replace("import json, os, time", "import ctypes, json, os, time\nlibc = ctypes.CDLL(None)").replace(
    '            os.posix_spawn("/nothing"', '            libc.prctl(15, b"x%d" % done)\n            os.posix_spawn("/nothing"'
)
assert RENAMED.count("libc") == 2


@pytest.fixture
def capture(pins: Path) -> dict[str, Any]:
    return {"pin": str(pins), "keep": False, "summary_interval": "1s", "storm_limit": 0, "uniqueness_limit": LIMIT}


async def test_a_container_with_a_new_name_for_each_fork_is_only_counted_and_another_loses_none(
    scene: Scene, receiver: Receiver
) -> None:
    hostile, quiet = await scene.forker("hostile", 0, RENAMED), await scene.forker("quiet", 50)
    sinks = [*scene.settings()["sinks"], {"name": "other", "url": receiver.url, "batch": {"wait": "200ms"}}]
    agent = await scene.start_agent(sinks=sinks)
    quiet.go()
    hostile.go()

    async def is_only_counted() -> bool:
        return bool((await asyncio.to_thread(agent.container, hostile.container.id))["suppressed"])

    async def is_reported() -> bool:
        return any(event["event"] == "fork_storm" for event in receiver.events)

    await has_forked(agent, hostile, 1)
    await eventually(is_only_counted)
    await eventually(is_reported)
    made, made_quietly = await asyncio.to_thread(hostile.stop), await asyncio.to_thread(quiet.stop)
    counts = await asyncio.to_thread(agent.container, hostile.container.id)
    await caught_up(agent)
    ledger = await asyncio.to_thread(agent.stop)
    pod, other = await scene.pod(hostile), await scene.pod(quiet)
    assert counts["processes"] == made == counts["emitted"] + counts["suppressed"]
    assert counts["suppressed"] > 0
    assert counts["emitted"] > 10 * LIMIT, "its burst is sent"
    assert pod["delivered"] == counts["emitted"]
    assert other["processes"] == other["delivered"] == made_quietly
    assert other["missing"] == {}
    assert ledger["closed"]
    start, *_ = [event for event in receiver.events if event["event"] == "fork_storm"]
    assert (start["phase"], start["reason"], start["limit"]) == ("start", "uniqueness", LIMIT)
    assert start["container"]["id"] == hostile.container.id
