"""Tasks that the kernel creates without calling a tracepoint: /proc/stat counts them, and the agent reports their number."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.kernel.maps import BpfMap
from agent.kernel.programs import forks_since_boot

from .agent_process import Agent, until
from .conftest import Receiver, pinned

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(60)]

FIRST = bytes(4)
NO_SLOT = (16).to_bytes(4, "little")  # beyond the dispatcher's slots


def test_tasks_that_reach_no_program_are_reported_as_unseen(
    start_agent: Callable[..., Agent], receiver: Receiver, pins: Path, offline: dict[str, Any]
) -> None:
    sinks = [{"name": "siem", "url": receiver.url, "batch": {"wait": "100ms"}}]
    capture = {"pin": str(pins), "keep": False, "summary_interval": "1s"}
    agent = start_agent(sinks=sinks, capture=capture, **offline)
    assert agent.get("/v1/ledger")["lost"]["unseen"] == 0
    with pinned(pins, "base") as descriptor:
        base = BpfMap(descriptor, 4, 4, 1)
        active = base.get(FIRST) or b""
        before = forks_since_boot()
        base.put(FIRST, NO_SLOT)
        for _ in range(97):
            subprocess.run(["true"], check=True)
        base.put(FIRST, active)
        after = forks_since_boot()
    until(lambda: agent.get("/v1/ledger")["lost"]["unseen"] > 0, "unseen tasks are reported")
    last = agent.stop()
    assert 97 <= last["lost"]["unseen"] <= after - before
    assert last["closed"]
    heartbeats = [event for event in receiver.events if event["event"] == "node_summary"]
    assert heartbeats[-1]["ledger"]["lost"]["unseen"] == last["lost"]["unseen"]
