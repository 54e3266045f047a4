"""Several sinks, and a receiver that does everything wrong that one can do: each fork arrives at each of them, and counts once.

Must not live here: what one answer or one broken connection means (tests/agent/sinks).
"""

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

from .conftest import Agent, Receiver
from .scenes import caught_up, killed, scene, settled

pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(150)]
Start = Callable[..., Agent]

STALL_S = float(os.environ.get("STALL_S", "10"))  # how long one of the two sinks says nothing
FAULTS = int(os.environ.get("FAULTS", "16"))  # how many things go wrong on the way


@pytest.fixture
def capture(pins: Path) -> dict[str, Any]:
    return {"pin": str(pins), "keep": True, "summary_interval": "1s", "storm_limit": 0}


class Clocked(Receiver):
    """`arrivals`: of each event, seconds from when it happened to when it was here."""

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
        """Of the container's forks; `since`: without so many events that were here before."""
        both = zip(self.events[since:], self.arrivals[since:], strict=False)
        return [seconds for event, seconds in both if (event.get("container") or {}).get("id") == container]


@pytest.fixture
def clocked() -> Iterator[Clocked]:
    here = Clocked()
    yield here
    here.close()


def latency(seconds: list[float]) -> str:
    return f"median {median(seconds) * 1000:4.0f} ms, p95 {quantiles(seconds, n=20)[-1] * 1000:4.0f} ms of {len(seconds):,}"


async def test_a_sink_that_stalls_delays_no_other_and_a_restart_meanwhile_loses_nothing_for_either(
    capture: dict[str, Any],
    start_agent: Start,
    runtime: Runtime,
    tmp_path: Path,
    clocked: Clocked,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with scene(runtime, tmp_path) as here:
        forker = await here.forker("cart", 500)
        settings = {**here.settings(), "capture": capture}
        settings["sinks"].append({"name": "other", "url": clocked.url, "batch": {"wait": "200ms"}})
        first = await asyncio.to_thread(start_agent, **settings)
        forker.go()
        await asyncio.sleep(3)
        before, since = clocked.latencies(forker.container.id, 0), len(clocked.arrivals)
        here.proxy.usual = Stall(3600)
        await asyncio.sleep(STALL_S)
        during = clocked.latencies(forker.container.id, since)
        ledger = await asyncio.to_thread(first.get, "/v1/ledger")
        killed(first)
        second = await asyncio.to_thread(start_agent, **settings)
        made = await asyncio.to_thread(forker.stop)

        async def all_at_the_other() -> bool:
            return len(clocked.forks(forker.container.id)) >= made

        await settled(all_at_the_other)
        stalled = [request.fault for request in here.proxy.requests if isinstance(request.fault, Stall)]
        here.proxy.usual = Forward()
        here.proxy.away()  # ends what is stalled
        here.proxy.back()
        await caught_up(second)
        last = await asyncio.to_thread(second.leave)
        pod, node = await here.pod(forker), await here.node()
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
    *(TooLarge(4000), TooLarge(4000, early=True), Half(), Half(Say(503)), Reset("asked"), Reset("read"), Reset("taken")),
    *(Close(), Garbage(), Drip(0.001), Stall(0.3), Forward(close=True)),
)


async def test_whatever_goes_wrong_on_the_way_each_fork_arrives_and_counts_once(
    capture: dict[str, Any], start_agent: Start, runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(10**6)))
    choice = random.Random(seed)  # noqa: S311  a test's dice
    faults: list[Fault] = []
    for _ in range(FAULTS):  # now and then two in a row
        faults += [choice.choice(WRONG), *[Forward()] * choice.choice((0, 1, 1, 2))]
    with capsys.disabled():
        sys.stdout.write(f"\nSEED={seed}: {', '.join(map(str, faults))}\n")
    known, stranger = Authority(), Authority()
    ca_file = stranger.file(tmp_path)
    async with scene(runtime, tmp_path, known.server()) as here:
        here.proxy.play(*faults)
        forker = await here.forker("cart", 500)
        sink = {"ca_file": str(ca_file), "batch": {"wait": "100ms"}}
        agent = await asyncio.to_thread(start_agent, **here.settings(**sink), capture=capture)
        forker.go()

        async def it_says_why() -> bool:
            said = await asyncio.to_thread(agent.get, "/v1/ledger")
            return "certificate" in said["sinks"]["collector"]["state"]

        await settled(it_says_why)
        assert not here.proxy.requests
        known.file(tmp_path)  # somebody mends it

        async def all_went_wrong() -> bool:
            return len(here.proxy.requests) > len(faults)

        await settled(all_went_wrong, 120)
        made = await asyncio.to_thread(forker.stop)
        await caught_up(agent)
        ledger = await asyncio.to_thread(agent.leave)
        pod, node = await here.pod(forker), await here.node()
    assert {type(request.fault) for request in here.proxy.requests} >= {type(fault) for fault in faults}
    assert not sum(ledger["sinks"]["collector"]["lost"].values())
    assert pod["delivered"] == pod["processes"] == made
    assert (node["missing"], node["unexplained"], node["never_numbered"]) == (node["on_its_way"], 0, {})
