"""Nothing is lost without a word: a collector that is away, an agent that is killed, an upgrade, a ring that is too small."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.demo.containers.runtime import Runtime

from .conftest import Agent
from .scenes import Forker, Scene, scene, settled

pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(240)]
Start = Callable[..., Agent]

AWAY_S = float(os.environ.get("AWAY_S", "20"))  # how long the collector is away; in the other two half as long
RATE = 2000  # forks a second
ROOT = Path(__file__).parents[2]


def killed(agent: Agent) -> None:
    agent.process.kill()
    agent.process.wait()


def another_build(folder: Path) -> tuple[str, ...]:
    """A copy of the product with other BPF programs: the command that runs it."""
    for part in ("agent", "bpf", "cli", "wire"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    source = folder / "bpf/fork.c"
    text = source.read_text()
    changed = text.replace("struct cgroup_counters fresh = {}", "struct cgroup_counters fresh = { .entered = 0 }")
    assert changed != text
    source.write_text(changed)
    return "env", "-C", str(folder)


async def through_it_all(
    here: Scene, start: Start, settings: dict[str, Any], away_s: float, command: tuple[str, ...] = ()
) -> tuple[Forker, int]:
    """The collector is away, the agent is killed three times meanwhile; a pod, and how often it was forked in in the end."""
    agent = await asyncio.to_thread(start, **settings)
    forker = await here.forker("cart", RATE)
    before = await asyncio.to_thread(agent.container, forker.container.id)
    forker.go()
    await asyncio.sleep(1)
    here.proxy.away()
    for _ in range(3):
        await asyncio.sleep(away_s / 4)
        killed(agent)
        agent = await asyncio.to_thread(start, command=command, **settings)
    await asyncio.sleep(away_s / 4)
    here.proxy.back()
    made = await asyncio.to_thread(forker.stop)

    async def all_delivered() -> bool:
        ledger = await asyncio.to_thread(agent.get, "/v1/ledger")
        assert ledger["closed"], told(ledger)
        pod = await asyncio.to_thread(agent.container, forker.container.id)
        # The pod's own: others on this machine never stop forking.
        return not ledger["former"] and pod["delivered"]["collector"] + pod["lost"] == pod["processes"]

    await settled(all_delivered, 120)  # the longest pause between tries is 30 s
    ledger = await asyncio.to_thread(agent.leave)
    assert ledger["closed"], told(ledger)
    return forker, before["processes"] + made


def told(ledger: dict[str, Any]) -> str:
    """The agent's ledger, in short."""
    keys = ("unaccounted", "captured", "emitted", "received", "suppressed", "lost", "filtered", "sinks", "former")
    return json.dumps({key: ledger[key] for key in keys}, indent=1)


async def the_pod(here: Scene, forker: Forker) -> dict[str, Any]:
    (pod,) = [pod for pod in (await here.get("/v1/pods"))["pods"] if pod["pod_uid"] == forker.uid]
    return dict(pod)


@pytest.fixture
def settings(pins: Path) -> dict[str, Any]:
    return {"pin": str(pins), "keep": False, "summary_interval": "2s", "storm_limit": 0}


async def test_each_fork_arrives_once_though_the_collector_was_away_and_the_agent_killed_three_times(
    start_agent: Start, runtime: Runtime, tmp_path: Path, settings: dict[str, Any]
) -> None:
    async with scene(runtime, tmp_path) as here:
        forker, made = await through_it_all(here, start_agent, {**here.settings(), "capture": settings}, AWAY_S)
        pod, ledger = await the_pod(here, forker), await here.get("/v1/ledger")
    assert made > RATE * AWAY_S * 0.5, "the pod was to fork more than that"
    assert pod["processes"] == pod["delivered"] == made
    assert pod["missing"] == {}
    (node,) = ledger["nodes"]
    assert (node["state"], node["missing"], node["received"]) == ("complete", 0, node["given"])
    assert len(node["streams"]) == 1, "a restart goes on with the same epoch"
    assert not node["never_numbered"]


async def test_an_upgrade_to_another_probe_loses_nothing_either(
    start_agent: Start, runtime: Runtime, tmp_path: Path, settings: dict[str, Any]
) -> None:
    async with scene(runtime, tmp_path) as here:
        build = another_build(tmp_path / "build")
        forker, made = await through_it_all(here, start_agent, {**here.settings(), "capture": settings}, AWAY_S / 2, build)
        pod, ledger = await the_pod(here, forker), await here.get("/v1/ledger")
    assert pod["processes"] == pod["delivered"] == made
    (node,) = ledger["nodes"]
    assert len(node["streams"]) == 2, "the other probe has an epoch of its own"
    assert [(stream["state"], stream["missing"]) for stream in node["streams"]] == [("complete", 0)] * 2
    assert not node["never_numbered"]


async def test_what_a_ring_that_is_too_small_had_no_room_for_is_told_exactly(
    start_agent: Start, runtime: Runtime, tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings["ring_bytes"] = "128Ki"  # 512 forks: a quarter of a second
    async with scene(runtime, tmp_path) as here:
        forker, made = await through_it_all(here, start_agent, {**here.settings(), "capture": settings}, AWAY_S / 2)
        pod, ledger = await the_pod(here, forker), await here.get("/v1/ledger")
    assert pod["processes"] == made, "the counts are right all the same"
    assert pod["lost"] > 0
    assert pod["delivered"] + pod["lost"] == made
    assert pod["missing"] == {"ring_full": pod["lost"]}
    (node,) = ledger["nodes"]
    assert node["missing"] == node["explained"]["ring_full"] >= pod["lost"]
    assert node["unexplained"] == 0
