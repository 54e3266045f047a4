"""How an agent ends, and what the next one makes of it: politely, at once, sick, hung, as an orphan's parent, or without pins.

Must not live here: a killed agent whose pins are there (test_survival).
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from agent.kernel.maps import BpfMap
from agent.kernel.meta import META_BYTES
from agent.kernel.records import CONFIG, CPU_COUNTERS
from dev.demo.containers.runtime import Runtime

from .conftest import Agent, pinned, until
from .scenes import FORKER, Scene, caught_up, eventually, has_forked, kill, loop_mounted, scene
from .witness import Witness

pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(90)]
Start = Callable[..., Agent]

GRACE_S = 30  # terminationGracePeriodSeconds, by default
FIRST = bytes(4)


@pytest.fixture
def capture(pins: Path) -> dict[str, Any]:
    return {"pin": str(pins), "keep": False, "summary_interval": "1s", "storm_limit": 0}


def last_line(agent: Agent) -> str:
    return agent.log.read_text().splitlines()[-1]


def terminated(agent: Agent) -> int:
    """Asked to go; its exit code."""
    agent.process.send_signal(signal.SIGTERM)
    return agent.process.wait(GRACE_S)


def verdict(agent: Agent, path: str) -> str:
    with suppress(urllib.error.HTTPError), urllib.request.urlopen(f"http://{agent.status}{path}", timeout=1) as answer:
        return str(answer.read().decode())
    try:
        urllib.request.urlopen(f"http://{agent.status}{path}", timeout=1).close()
    except urllib.error.HTTPError as refused:
        return refused.read().decode()
    return "ok\n"


def counted(stream: dict[str, Any]) -> int:
    """Tasks of a stream that somebody was told of: the heartbeat's sum, and events that came after it; but not those that were
    in the ring then and are gone with it, for they are in a gap."""
    said = stream["reported"]
    if said is None:  # it ended before its first heartbeat
        return int(stream["since"])
    sink = said["sinks"]["collector"]
    numbered = sink["delivered"] + sum(sink["queued"].values()) + sum(sink["lost"].values()) + said["lost"]["ring"]
    twice = max(0, numbered - stream["given"])  # made while the tally was read: in its sum, and told as an event later
    told = said["captured"] + said["kernel_workers"] + said["lost"]["recursion"] + stream["since"]
    return int(told - twice - stream["explained"].get("restart", 0))


def bracket(first: dict[str, Any], last: dict[str, Any], witness: Witness) -> tuple[int, int]:
    """What /proc/stat grew by from the first ledger's attach to the last one's now, at least and at most. A fork that is
    between its two tracepoints when a probe stops is in no count: one a CPU. Nor is what called no tracepoint."""
    (begun_before, begun_after), (now_before, now_after) = first["proc_stat"]["attach"], last["proc_stat"]["now"]
    return now_before - begun_after - (os.cpu_count() or 1) - witness.unseen(), now_after - begun_before


async def test_sigterm_ships_what_was_captured_and_takes_the_probe_away(
    capture: dict[str, Any], pins: Path, start_agent: Start, runtime: Runtime, tmp_path: Path, witness: Witness
) -> None:
    async with scene(runtime, tmp_path) as here:
        forker = await here.forker("cart", 1000)
        first = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        begun = await asyncio.to_thread(first.get, "/v1/ledger")
        forker.go()
        await has_forked(first, forker, 1000)
        code = await asyncio.to_thread(terminated, first)
        assert code == 0, first.log.read_text()
        assert not await asyncio.to_thread(pins.exists)
        left, node = await here.pod(forker), await here.node()
        await asyncio.sleep(0.5)
        second = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        made = await asyncio.to_thread(forker.stop)
        await caught_up(second)
        last = await asyncio.to_thread(second.stop)
        pod, after = await here.pod(forker), await here.node()
    assert left["delivered"] == left["processes"] >= 1000
    assert (node["missing"], node["received"]) == (0, node["given"])
    assert pod["delivered"] == pod["processes"] < made, "nobody was there for a while"
    assert pod["unknown_share"]["restart"] >= made - pod["processes"]
    least, most = bracket(begun, last, witness)
    assert least <= sum(map(counted, after["streams"])) + after["never_numbered"]["restart"] <= most
    assert after["unexplained"] == 0


async def test_sigterm_ships_also_what_lay_in_the_ring_by_the_thousand(
    capture: dict[str, Any], start_agent: Start, runtime: Runtime, tmp_path: Path
) -> None:
    async with scene(runtime, tmp_path) as here:
        forker = await here.forker("cart", 0, FORKER.replace('not os.path.exists("/work/stop")', "done < 20_000"))
        agent = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        agent.process.send_signal(signal.SIGSTOP)
        forker.go()
        made = await asyncio.to_thread(forker.stop)
        agent.process.send_signal(signal.SIGTERM)
        agent.process.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(agent.process.wait, GRACE_S) == 0
        pod, node = await here.pod(forker), await here.node()
    assert made == 20_000, "more than the agent takes out at once"
    assert pod["delivered"] == pod["processes"] == made
    assert (node["missing"], node["received"]) == (0, node["given"])


async def test_sigterm_leaves_the_probe_at_work_for_the_next_agent_when_that_is_wanted(
    capture: dict[str, Any], pins: Path, start_agent: Start, runtime: Runtime, tmp_path: Path
) -> None:
    capture["keep"] = True
    async with scene(runtime, tmp_path) as here:
        forker = await here.forker("cart", 1000)
        first = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        forker.go()
        await has_forked(first, forker, 1000)
        code = await asyncio.to_thread(terminated, first)
        assert code == 0, first.log.read_text()
        assert (pins / "dispatch").exists()
        await asyncio.sleep(0.5)
        second = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        made = await asyncio.to_thread(forker.stop)
        await caught_up(second)
        ledger = await asyncio.to_thread(second.stop)
        pod, node = await here.pod(forker), await here.node()
    assert ledger["taken_over"]
    assert ledger["closed"]
    assert pod["delivered"] == pod["processes"] == made
    assert (node["missing"], node["never_numbered"]) == (node["on_its_way"], {})
    assert len(node["streams"]) == 1


@pytest.mark.parametrize("keep", [True, False])
async def test_the_second_sigterm_leaves_at_once_and_the_next_agent_delivers_what_was_left(
    capture: dict[str, Any], start_agent: Start, runtime: Runtime, tmp_path: Path, keep: bool, witness: Witness
) -> None:
    capture["keep"] = keep
    async with scene(runtime, tmp_path) as here:
        forker = await here.forker("cart", 1000)
        first = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        begun = await asyncio.to_thread(first.get, "/v1/ledger")
        forker.go()
        await has_forked(first, forker, 500)
        here.proxy.away()
        await has_forked(first, forker, 1000)
        first.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(until, lambda: "not capturing" in verdict(first, "/readyz"), "the agent is leaving")
        await asyncio.sleep(0.5)
        code = await asyncio.to_thread(terminated, first)
        assert code == 70
        assert last_line(first).startswith("forklore agent: exiting at once")
        here.proxy.back()
        await asyncio.sleep(0.5)
        second = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        await asyncio.sleep(0.5)
        made = await asyncio.to_thread(forker.stop)
        await caught_up(second)
        last = await asyncio.to_thread(second.stop)
        pod, node = await here.pod(forker), await here.node()
    assert last["closed"]
    assert pod["delivered"] == pod["processes"]
    assert node["missing"] == node["on_its_way"]
    if keep:
        assert last["taken_over"]
        assert pod["processes"] == made
        assert node["never_numbered"] == {}
    else:
        unseen = node["never_numbered"]["restart"]
        assert 0 < made - pod["processes"] <= unseen
        least, most = bracket(begun, last, witness)
        assert least <= sum(map(counted, node["streams"])) + unseen <= most


async def test_a_sick_agent_ends_with_one_clear_line_and_the_next_one_says_what_is_missing(
    capture: dict[str, Any], pins: Path, start_agent: Start, runtime: Runtime, tmp_path: Path, witness: Witness
) -> None:
    async with scene(runtime, tmp_path) as here:
        forker = await here.forker("cart", 1000)
        first = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        begun = await asyncio.to_thread(first.get, "/v1/ledger")
        forker.go()
        await has_forked(first, forker, 1500)
        with pinned(pins, "map-forks") as ring:
            position = memoryview(mmap.mmap(ring, mmap.PAGESIZE))[:8].cast("Q")
            position[0] += 1 << 30  # where the kernel has not been yet: it takes the ring for full from here on
        code = await asyncio.to_thread(first.process.wait, GRACE_S)
        assert code == 70
        last_words = r"forklore agent: unhandled error, exiting: ValueError\('.*position.*'\)"
        assert re.fullmatch(last_words, last_line(first))
        second = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        made = await asyncio.to_thread(forker.stop)
        await caught_up(second)
        last = await asyncio.to_thread(second.stop)
        pod, node = await here.pod(forker), await here.node()
    assert not last["taken_over"], "a ring like that is nobody's to go on with"
    assert last["closed"]
    unseen = node["never_numbered"]["restart"]
    assert made - unseen <= pod["processes"] + pod["since"] <= made
    assert pod["delivered"] > 0
    least, most = bracket(begun, last, witness)
    assert least <= sum(map(counted, node["streams"])) + unseen <= most
    assert node["unexplained"] == 0


async def test_what_a_probe_saw_that_the_next_version_can_not_read_is_told_as_a_number(
    capture: dict[str, Any], pins: Path, start_agent: Start, runtime: Runtime, tmp_path: Path, witness: Witness
) -> None:
    async with scene(runtime, tmp_path) as here:
        forker = await here.forker("cart", 1000)
        first = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        begun = await asyncio.to_thread(first.get, "/v1/ledger")
        forker.go()
        await has_forked(first, forker, 1500)
        kill(first)
        with pinned(pins, "meta") as descriptor:
            meta = BpfMap(descriptor, 4, META_BYTES, 1)
            said = json.loads((meta.get(FIRST) or b"").rstrip(b"\0"))
            meta.put(FIRST, json.dumps({**said, "layout": 99}).encode().ljust(META_BYTES, b"\0"))
        await asyncio.sleep(0.5)
        second = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        made = await asyncio.to_thread(forker.stop)
        await caught_up(second)
        last = await asyncio.to_thread(second.stop)
        pod, node = await here.pod(forker), await here.node()
    assert not last["taken_over"]
    assert pod["processes"] < made
    assert node["unexplained"] == 0
    least, most = bracket(begun, last, witness)
    assert least <= sum(map(counted, node["streams"])) + node["never_numbered"]["restart"] <= most


@contextmanager
def frozen(place: Path) -> Iterator[None]:
    """Whoever writes there waits. Thawed at the end, also when this process is killed."""
    safety = subprocess.Popen(["sh", "-c", f"sleep 40; fsfreeze --unfreeze {place}"], start_new_session=True)
    try:
        subprocess.run(["fsfreeze", "--freeze", place], check=True)
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", place], check=True)
        os.killpg(safety.pid, signal.SIGKILL)
        safety.wait()


async def test_a_hung_disk_is_noticed_by_the_liveness_probe_and_costs_no_fork(
    capture: dict[str, Any], start_agent: Start, runtime: Runtime, tmp_path: Path
) -> None:
    with loop_mounted(tmp_path) as place:
        async with scene(runtime, tmp_path) as here:
            forker = await here.forker("cart", 300)
            settings = {**here.settings(), "state_dir": str(place), "capture": capture}
            agent = await asyncio.to_thread(start_agent, **settings)
            forker.go()
            await has_forked(agent, forker, 300)
            assert verdict(agent, "/healthz") == "ok\n"
            with frozen(place):
                await asyncio.to_thread(
                    until, lambda: "has not turned" in verdict(agent, "/healthz"), "healthz says that it hangs"
                )
            await asyncio.to_thread(until, lambda: verdict(agent, "/healthz") == "ok\n", "it turns again")
            made = await asyncio.to_thread(forker.stop)
            await caught_up(agent)
            assert await asyncio.to_thread(terminated, agent) == 0
            pod, node = await here.pod(forker), await here.node()
    assert pod["delivered"] == pod["processes"] == made
    assert (node["missing"], node["received"], node["never_numbered"]) == (0, node["given"], {})


async def test_what_was_forked_while_no_agent_was_there_for_too_long_is_told_exactly(
    capture: dict[str, Any], pins: Path, start_agent: Start, runtime: Runtime, tmp_path: Path, witness: Witness
) -> None:
    async with scene(runtime, tmp_path) as here:
        forker = await here.forker("cart", 1000)
        first = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        begun = await asyncio.to_thread(first.get, "/v1/ledger")
        forker.go()
        await has_forked(first, forker, 500)
        kill(first)
        with pinned(pins, "map-config") as descriptor:
            config = BpfMap(descriptor, 4, CONFIG.size, 1)
            enabled, threads, limit, _alive_until = CONFIG.unpack(config.get(FIRST) or b"")
            config.put(FIRST, CONFIG.pack(enabled, threads, limit, 1))
        await asyncio.sleep(1)
        second = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        with pinned(pins, "map-cpus") as descriptor:
            size = CPU_COUNTERS.size * len(begun["heads"])
            orphans = sum(row[5] for row in CPU_COUNTERS.iter_unpack(BpfMap(descriptor, 4, size, 1).get(FIRST) or b""))
        made = await asyncio.to_thread(forker.stop)
        await caught_up(second)
        last = await asyncio.to_thread(second.stop)
        pod, node = await here.pod(forker), await here.node()
    assert last["taken_over"]
    assert last["closed"]
    assert last["lost"]["orphaned"] == orphans == node["never_numbered"]["orphaned"]
    assert pod["delivered"] == pod["processes"]
    assert 500 < made - pod["processes"] <= orphans
    assert pod["unknown_share"] == {"orphaned": orphans}
    (stream,) = node["streams"]
    least, most = bracket(begun, last, witness)
    assert least <= counted(stream) <= most, "captured has the orphans in it"
    assert (node["missing"], node["received"]) == (0, node["given"])


async def a_heartbeat(here: Scene) -> None:
    """Waits for the agent's next."""

    async def newest() -> Any:
        return [stream["as_of"] for node in (await here.get("/v1/ledger"))["nodes"] for stream in node["streams"]]

    before = await newest()

    async def newer() -> bool:
        return await newest() != before

    await eventually(newer)


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_nobody_saw_after_the_kill_of_an_agent_without_pins_is_told_as_a_number_that_fits_proc_stat(
    start_agent: Start, runtime: Runtime, tmp_path: Path, at_once: bool, witness: Witness
) -> None:
    """`at_once`: killed just after a heartbeat, before what had been counted by then was all committed."""
    capture = {"pin": None, "summary_interval": "1s", "storm_limit": 0}
    async with scene(runtime, tmp_path) as here:
        forker = await here.forker("cart", 2000)
        first = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        begun = await asyncio.to_thread(first.get, "/v1/ledger")
        forker.go()
        await has_forked(first, forker, 2000)
        await a_heartbeat(here)
        if not at_once:
            await asyncio.sleep(0.7)
        kill(first)
        await asyncio.sleep(0.5)
        second = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        made = await asyncio.to_thread(forker.stop)
        await caught_up(second)
        last = await asyncio.to_thread(second.stop)
        pod, node = await here.pod(forker), await here.node()
    assert not last["taken_over"]
    assert made > pod["processes"] > 0
    assert node["unexplained"] == 0, node
    least, most = bracket(begun, last, witness)
    assert least <= sum(map(counted, node["streams"])) + node["never_numbered"]["restart"] <= most
