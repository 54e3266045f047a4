"""/metrics of the real agent: it can be parsed, it adds up while forks go on, and a pod's series end with the pod."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .agent_process import PATIENCE, Agent, until
from .conftest import Receiver
from .forks import forking_beside
from .scenes import Scene

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(90)]
Start = Callable[..., Agent]


class Scrape:
    def __init__(self, agent: Agent) -> None:
        with urllib.request.urlopen(f"http://{agent.status}/metrics", timeout=PATIENCE) as answer:
            text = answer.read().decode()
        families = text_string_to_metric_families(text)
        self.samples = [(one.name, one.labels, one.value) for family in families for one in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        return sum(value for of, has, value in self.samples if of == name and labels.items() <= has.items())

    def pods(self) -> set[str]:
        return {labels["pod"] for name, labels, _ in self.samples if name == "forklore_pod_captured_forks_total"}


def test_the_sums_are_consistent_at_every_scrape_while_forks_go_on(
    start_agent: Start, receiver: Receiver, offline: dict[str, Any]
) -> None:
    sink = {"name": "siem", "url": receiver.url, "batch": {"wait": "100ms"}}
    agent = start_agent(sinks=[sink], capture={"threads": False}, **offline)
    first = Scrape(agent)
    with forking_beside():
        for _ in range(20):
            now = Scrape(agent)
            assert now.sum("forklore_unaccounted_forks") == 0
            # Forks go on while the counters are read: the queue is a difference, and never below 0.
            assert now.sum("forklore_queued_forks", sink="siem", where="ring") >= 0
            here = now.sum("forklore_delivered_forks_total", sink="siem") + now.sum("forklore_queued_forks", sink="siem")
            lost = now.sum("forklore_lost_forks_total")
            held = now.sum("forklore_filtered_forks_total", sink="siem") + now.sum("forklore_suppressed_forks_total")
            assert here + lost + held == now.sum("forklore_captured_forks_total")
    assert now.sum("forklore_captured_forks_total") > first.sum("forklore_captured_forks_total") + 20
    until(lambda: Scrape(agent).sum("forklore_delivered_forks_total", sink="siem") > 20, "forks are delivered")
    last = Scrape(agent)
    assert last.sum("forklore_sink_try_duration_seconds_count", sink="siem") == last.sum("forklore_sink_tries_total") > 0
    assert last.sum("forklore_sink_answers_total", sink="siem", answer="200") > 0
    assert last.sum("forklore_journal_commit_duration_seconds_count") > 0
    assert last.sum("forklore_enriched_forks_total", state="host") > 0
    assert last.sum("process_resident_memory_bytes") > 10 << 20
    assert last.pods() == set()


@pytest.mark.containers
async def test_a_pod_has_series_while_it_exists(scene: Scene) -> None:
    wanted = {"pods": {"enabled": True, "most": 5000}}
    agent = await scene.start_agent(metrics=wanted)

    def counted() -> float:
        return Scrape(agent).sum("forklore_pod_captured_forks_total", namespace="shop", pod="cart", kind="process")

    async def wait_until(holds: Callable[[], Any], what: str) -> None:
        await asyncio.to_thread(until, holds, what)

    cart = await scene.forker("cart", 200)
    await wait_until(lambda: "cart" in Scrape(agent).pods(), "the pod has series")
    before = counted()
    cart.go()
    await wait_until(lambda: counted() > before + 100, "it forks")
    made = await asyncio.to_thread(cart.stop)
    await wait_until(lambda: counted() >= before + made, "its forks are counted")
    assert counted() == before + made
    await asyncio.to_thread(scene.runtime.delete, cart.container)
    await wait_until(lambda: "cart" not in Scrape(agent).pods(), "its series are gone")
    assert agent.container(cart.container.id)["processes"] >= before + made, "the agent itself still knows it"
