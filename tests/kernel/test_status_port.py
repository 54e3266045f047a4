"""A stranger who reaches the agent's status port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.half_open import attack, rss_mib, steady_rss_mib

from .agent_process import Agent

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(90)]


async def test_half_open_requests_cost_less_than_20_mib_and_probes_are_answered(
    start_agent: Callable[..., Agent], offline: dict[str, Any]
) -> None:
    agent = start_agent(**offline)
    before = await steady_rss_mib(agent.process.pid)
    peak = await attack(int(agent.status.rpartition(":")[2]), agent.process.pid)
    assert peak - before < 20
    assert agent.ready()
    assert rss_mib(agent.process.pid) - before < 20
