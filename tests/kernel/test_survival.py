"""No fork is lost unreported: an unreachable collector, a killed agent, an upgrade, a ring that is too small."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .agent_process import Agent
from .scenes import Forker, Scene, eventually, kill, never_numbered
from .witness import Witness

pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(240)]
Start = Callable[..., Agent]

AWAY_S = float(os.environ.get("AWAY_S", "6"))  # how long the collector is away; in the other two half as long
RATE = 2000  # forks a second
ROOT = Path(__file__).parents[2]


def another_build(folder: Path) -> tuple[str, ...]:
    """A copy of the product with other BPF programs: the command that runs it."""
    for part in ("agent", "bpf", "cli", "wire"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    source = folder / "bpf/counters.c"
    text = source.read_text()
    changed = text.replace("struct cgroup_counters fresh = {}", "struct cgroup_counters fresh = { .entered = 0 }")
    assert changed != text
    source.write_text(changed)
    return "env", "-C", str(folder)


async def kill_three_times(scene: Scene, away_s: float, command: tuple[str, ...] = ()) -> tuple[Forker, int]:
    """Kills the agent three times while the collector is unreachable. Returns a pod and how often it has forked."""
    agent = await scene.start_agent()
    forker = await scene.forker("cart", RATE)
    before = await asyncio.to_thread(agent.known_container, forker.container.id)
    forker.go()
    await asyncio.sleep(1)
    scene.proxy.away()
    for _ in range(3):
        await asyncio.sleep(away_s / 4)
        kill(agent)
        agent = await scene.start_agent(command=command)
    await asyncio.sleep(away_s / 4)
    scene.proxy.back()
    made = await asyncio.to_thread(forker.stop)

    async def all_delivered() -> bool:
        ledger = await asyncio.to_thread(agent.get, "/v1/ledger")
        assert ledger["closed"], shortened(ledger)
        pod = await asyncio.to_thread(agent.container, forker.container.id)
        # This pod only: other processes of this machine never stop forking.
        return not ledger["former"] and pod["delivered"]["collector"] + pod["lost"] == pod["processes"]

    await eventually(all_delivered, 120)  # the longest pause between tries is 30 s
    ledger = await asyncio.to_thread(agent.stop)
    assert ledger["closed"], shortened(ledger)
    return forker, before["processes"] + made


def shortened(ledger: dict[str, Any]) -> str:
    """The agent's ledger, in short."""
    keys = ("unaccounted", "captured", "emitted", "received", "suppressed", "lost", "filtered", "sinks", "former")
    return json.dumps({key: ledger[key] for key in keys}, indent=1)


@pytest.fixture
def capture(pins: Path) -> dict[str, Any]:
    return {"pin": str(pins), "keep": False, "summary_interval": "2s", "storm_limit": 0}


async def test_each_fork_arrives_once_while_the_collector_is_unreachable_and_the_agent_is_killed_three_times(
    scene: Scene, witness: Witness
) -> None:
    forker, made = await kill_three_times(scene, AWAY_S)
    pod, ledger = await scene.pod(forker), await scene.get("/v1/ledger")
    assert made > RATE * AWAY_S * 0.5, "the pod forked too slowly for this test"
    assert pod["processes"] == pod["delivered"] == made
    assert pod["missing"] == {}
    (node,) = ledger["nodes"]
    assert (node["state"], node["missing"], node["received"]) == ("complete", 0, node["given"])
    assert len(node["streams"]) == 1, "a restart goes on with the same program instance"
    assert never_numbered(node, witness) == {}


async def test_an_upgrade_of_the_bpf_programs_loses_nothing(scene: Scene, tmp_path: Path, witness: Witness) -> None:
    build = another_build(tmp_path / "build")
    forker, made = await kill_three_times(scene, AWAY_S / 2, build)
    pod, ledger = await scene.pod(forker), await scene.get("/v1/ledger")
    assert pod["processes"] == pod["delivered"] == made
    (node,) = ledger["nodes"]
    assert len(node["streams"]) == 2, "the other programs have an instance of their own"
    assert [(stream["state"], stream["missing"]) for stream in node["streams"]] == [("complete", 0)] * 2
    assert never_numbered(node, witness) == {}


async def test_forks_lost_by_a_ring_that_is_too_small_are_reported_exactly(scene: Scene, capture: dict[str, Any]) -> None:
    capture["ring_bytes"] = "128Ki"  # 512 forks: a quarter of a second
    forker, made = await kill_three_times(scene, AWAY_S / 2)
    pod, ledger = await scene.pod(forker), await scene.get("/v1/ledger")
    assert pod["processes"] == made, "the counts are still right"
    assert pod["lost"] > 0
    assert pod["delivered"] + pod["lost"] == made
    assert pod["missing"] == {"ring_full": pod["lost"]}
    (node,) = ledger["nodes"]
    assert node["missing"] == node["explained"]["ring_full"] >= pod["lost"]
    assert node["unexplained"] == 0
