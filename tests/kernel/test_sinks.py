"""Several sinks, and a receiver that fails in every way: each fork arrives at each sink, and counts once."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import pytest
from aiohttp import web

from dev.demo.containers.runtime import Runtime
from tests.certificates import Authority
from tests.faults import Close, Drip, Fault, Forward, Garbage, Half, Reset, Say, Stall, TooLarge

from .agent_process import Agent
from .conftest import Receiver
from .scenes import Scene, caught_up, eventually, has_forked, kill, never_numbered, open_scene
from .witness import Witness

pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(150)]
Start = Callable[..., Agent]

STALL_S = float(os.environ.get("STALL_S", "4"))  # how long one of the two sinks says nothing
FAULTS = int(os.environ.get("FAULTS", "16"))  # how many things go wrong on the way


@pytest.fixture
def capture(pins: Path) -> dict[str, Any]:
    return {"pin": str(pins), "keep": True, "summary_interval": "1s", "storm_limit": 0}


class Clocked(Receiver):
    """`arrivals`: for each event, seconds from the fork to its arrival."""

    def __init__(self) -> None:
        self.arrivals: list[float] = []
        super().__init__()

    async def _take(self, request: web.Request) -> web.Response:
        answer = await super()._take(request)
        now = time.time()
        fresh = self.events[len(self.arrivals) :]
        self.arrivals += [now - datetime.fromisoformat(event["timestamp"]).timestamp() for event in fresh]
        return answer

    def latencies(self, container: str, since: int) -> list[float]:
        """Of the container's forks. `since`: skips that many of the first events."""
        both = zip(self.events[since:], self.arrivals[since:], strict=False)
        return [seconds for event, seconds in both if (event.get("container") or {}).get("id") == container]


@pytest.fixture
def clocked() -> Iterator[Clocked]:
    here = Clocked()
    yield here
    here.close()


def latency(seconds: list[float]) -> str:
    return f"median {median(seconds) * 1000:4.0f} ms, p95 {quantiles(seconds, n=20)[-1] * 1000:4.0f} ms of {len(seconds):,}"


async def test_a_sink_that_stalls_delays_no_other_sink_and_a_restart_loses_nothing_for_either(
    scene: Scene, clocked: Clocked, capsys: pytest.CaptureFixture[str]
) -> None:
    forker = await scene.forker("cart", 500)
    sinks = [*scene.settings()["sinks"], {"name": "other", "url": clocked.url, "batch": {"wait": "200ms"}}]
    first = await scene.start_agent(sinks=sinks)
    forker.go()

    async def some_at_the_other() -> bool:
        return len(clocked.forks(forker.container.id)) >= 1000

    await eventually(some_at_the_other)
    before, since = clocked.latencies(forker.container.id, 0), len(clocked.arrivals)
    scene.proxy.usual = Stall(3600)
    await asyncio.sleep(STALL_S)
    during = clocked.latencies(forker.container.id, since)
    ledger = await asyncio.to_thread(first.get, "/v1/ledger")
    kill(first)
    second = await scene.start_agent(sinks=sinks)
    made = await asyncio.to_thread(forker.stop)

    async def all_at_the_other() -> bool:
        return len(clocked.forks(forker.container.id)) >= made

    await eventually(all_at_the_other)
    stalled = [request.fault for request in scene.proxy.requests if isinstance(request.fault, Stall)]
    scene.proxy.usual = Forward()
    scene.proxy.away()  # ends what is stalled
    scene.proxy.back()
    await caught_up(second)
    last = await asyncio.to_thread(second.stop)
    pod, node = await scene.pod(forker), await scene.node()
    with capsys.disabled():
        sys.stdout.write(f"\nfrom fork to arrival, before: {latency(before)}\nwhile the other is stalled: {latency(during)}\n")
    assert stalled
    assert len(during) > STALL_S * 100
    assert sum(ledger["sinks"]["collector"]["queued"].values()) > STALL_S * 100
    assert not last["sinks"]["collector"]["lost"]
    assert not last["sinks"]["other"]["lost"]
    assert pod["delivered"] == pod["processes"] == made
    assert (node["missing"], node["unexplained"]) == (node["on_its_way"], 0)
    ids = {event["id"] for event in clocked.forks(forker.container.id)}
    assert len(ids) == made


WRONG: tuple[Fault, ...] = (
    *(Say(429), Say(429, {"Retry-After": "1"}), Say(500), Say(503), Say(503, {"Retry-After": "1"})),
    *(TooLarge(4000), TooLarge(4000, early=True), Half(), Half(Say(503)), Reset("head"), Reset("body"), Reset("forwarded")),
    *(Close(), Garbage(), Drip(0.001), Stall(0.3), Forward(close=True)),
)


async def test_each_fork_arrives_and_counts_once_whatever_fails_on_the_way(
    capture: dict[str, Any],
    start_agent: Start,
    runtime: Runtime,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    witness: Witness,
) -> None:
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(10**6)))
    choice = random.Random(seed)  # noqa: S311  a test's dice
    faults: list[Fault] = []
    for _ in range(FAULTS):  # sometimes two in a row
        faults += [choice.choice(WRONG), *[Forward()] * choice.choice((0, 1, 1, 2))]
    with capsys.disabled():
        sys.stdout.write(f"\nSEED={seed}: {', '.join(map(str, faults))}\n")
    known, unknown = Authority(), Authority()
    ca_file = unknown.file(tmp_path)
    async with open_scene(runtime, tmp_path, known.server()) as here:
        here.proxy.play(*faults)
        forker = await here.forker("cart", 500)
        sink = {"ca_file": str(ca_file), "batch": {"wait": "100ms"}}
        agent = await asyncio.to_thread(start_agent, **here.settings(**sink), capture=capture)
        forker.go()

        async def it_reports_why() -> bool:
            ledger = await asyncio.to_thread(agent.get, "/v1/ledger")
            return "certificate" in ledger["sinks"]["collector"]["state"]

        await eventually(it_reports_why)
        assert not here.proxy.requests
        known.file(tmp_path)  # the operator corrects it

        async def all_faults_happened() -> bool:
            return len(here.proxy.requests) > len(faults)

        await eventually(all_faults_happened, 120)
        made = await asyncio.to_thread(forker.stop)
        await caught_up(agent)
        ledger = await asyncio.to_thread(agent.stop)
        pod, node = await here.pod(forker), await here.node()
    assert {type(request.fault) for request in here.proxy.requests} >= {type(fault) for fault in faults}
    assert not sum(ledger["sinks"]["collector"]["lost"].values())
    assert pod["delivered"] == pod["processes"] == made
    assert (node["missing"], node["unexplained"], never_numbered(node, witness)) == (node["on_its_way"], 0, {})


async def test_a_sink_that_comes_later_has_a_ledger_that_closes(scene: Scene) -> None:
    """An agent without a sink captures; the next one has a sink, and what came before is explained to it."""
    forker = await scene.forker("cart", 500)
    first, _ = await scene.start_counting(forker, 1000, sinks=[])
    before = await asyncio.to_thread(first.stop)
    second = await scene.start_agent()
    await has_forked(second, forker, 2000)
    made, ledger, pod, node = await scene.finish(second, forker)
    assert before["closed"]
    assert (ledger["closed"], pod["processes"]) == (True, made)
    filtered = ledger["sinks"]["collector"]["filtered"]
    assert filtered["before_sink"] >= 1000
    (stream,) = node["streams"]
    assert stream["explained"] == {"before_sink": filtered["before_sink"]}
    assert (node["unexplained"], node["state"] in {"complete", "on its way"}) == (0, True)
    assert pod["awaited"] <= node["on_its_way"]
