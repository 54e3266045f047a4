"""How an agent ends, and what the next one reports: after SIGTERM, a second SIGTERM, an error, a hung disk, or a kill with no
other agent for too long or without pins. A kill with pins is in test_survival."""

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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.kernel.maps import BpfMap
from agent.kernel.meta import META_BYTES
from agent.kernel.records import CONFIG, CPU_COUNTERS, CpuCounters

from .agent_process import PATIENCE, Agent, until
from .conftest import pinned
from .scenes import FORKER, Scene, caught_up, eventually, has_forked, kill, loop_mounted, never_numbered
from .witness import Witness

pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(90)]
Start = Callable[..., Agent]

GRACE_S = 30  # terminationGracePeriodSeconds, by default
FIRST = bytes(4)


def last_line(agent: Agent) -> str:
    return agent.log.read_text().splitlines()[-1]


def terminate(agent: Agent) -> int:
    """Sends SIGTERM. Returns its exit code."""
    agent.process.send_signal(signal.SIGTERM)
    return agent.process.wait(GRACE_S)


def verdict(agent: Agent, path: str) -> str:
    """The body of a status endpoint, also of an answer that is an error."""
    try:
        with urllib.request.urlopen(f"http://{agent.status}{path}", timeout=PATIENCE) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as refused:
        return refused.read().decode()


def counted(stream: dict[str, Any]) -> int:
    """Reported tasks of a stream: the sum of its last heartbeat, and the events after it; without those that were in the ring
    then and are lost with it, because they are in a gap."""
    reported = stream["reported"]
    if reported is None:  # it ended before its first heartbeat
        return int(stream["since"])
    sink = reported["sinks"]["collector"]
    numbered = sink["delivered"] + sum(sink["queued"].values()) + sum(sink["lost"].values()) + reported["lost"]["ring"]
    twice = max(0, numbered - stream["given"])  # forked while the counters were read: in the sum, and an event later
    tasks = reported["captured"] + reported["kernel_workers"] + reported["lost"]["recursion"] + stream["since"]
    return int(tasks - twice - stream["explained"].get("restart", 0))


def bracket(first: dict[str, Any], last: dict[str, Any], witness: Witness) -> tuple[int, int]:
    """Bounds of the growth of /proc/stat from the first ledger's attach to the last one's now. A fork that is between its two
    tracepoints when an instance stops is not counted: one for each CPU. Nor is a task that called no tracepoint."""
    (begun_before, begun_after), (now_before, now_after) = first["proc_stat"]["attach"], last["proc_stat"]["now"]
    return now_before - begun_after - (os.cpu_count() or 1) - witness.unseen(), now_after - begun_before


async def test_sigterm_delivers_what_was_captured_and_detaches_the_programs(scene: Scene, pins: Path, witness: Witness) -> None:
    forker = await scene.forker("cart", 1000)
    first, begun = await scene.start_counting(forker, 1000)
    code = await asyncio.to_thread(terminate, first)
    assert code == 0, first.log.read_text()
    assert not await asyncio.to_thread(pins.exists)
    left, node = await scene.pod(forker), await scene.node()
    await asyncio.sleep(0.5)
    second = await scene.start_agent()
    made, last, pod, after = await scene.finish(second, forker)
    assert left["delivered"] == left["processes"] >= 1000
    assert (node["missing"], node["received"]) == (0, node["given"])
    assert pod["delivered"] == pod["processes"] < made, "no agent was running for a while"
    assert pod["unknown_share"]["restart"] >= made - pod["processes"]
    least, most = bracket(begun, last, witness)
    assert least <= sum(map(counted, after["streams"])) + after["never_numbered"]["restart"] <= most
    assert after["unexplained"] == 0


async def test_sigterm_delivers_thousands_of_forks_that_are_still_in_the_ring(scene: Scene) -> None:
    forker = await scene.forker("cart", 0, FORKER.replace('not os.path.exists("/work/stop")', "done < 20_000"))
    agent = await scene.start_agent()
    agent.process.send_signal(signal.SIGSTOP)
    forker.go()
    made = await asyncio.to_thread(forker.stop)
    agent.process.send_signal(signal.SIGTERM)
    agent.process.send_signal(signal.SIGCONT)
    assert await asyncio.to_thread(agent.process.wait, GRACE_S) == 0
    pod, node = await scene.pod(forker), await scene.node()
    assert made == 20_000, "more than the agent reads in one turn"
    assert pod["delivered"] == pod["processes"] == made
    assert (node["missing"], node["received"]) == (0, node["given"])


async def test_sigterm_keeps_the_programs_running_for_the_next_agent_when_keep_is_set(
    scene: Scene, capture: dict[str, Any], pins: Path, witness: Witness
) -> None:
    capture["keep"] = True
    forker = await scene.forker("cart", 1000)
    first, _ = await scene.start_counting(forker, 1000)
    code = await asyncio.to_thread(terminate, first)
    assert code == 0, first.log.read_text()
    assert (pins / "dispatch").exists()
    await asyncio.sleep(0.5)
    second = await scene.start_agent()
    made, ledger, pod, node = await scene.finish(second, forker)
    assert ledger["taken_over"]
    assert ledger["closed"]
    assert pod["delivered"] == pod["processes"] == made
    assert (node["missing"], never_numbered(node, witness)) == (node["on_its_way"], {})
    assert len(node["streams"]) == 1


@pytest.mark.parametrize("keep", [True, False])
async def test_after_a_second_sigterm_the_agent_exits_at_once_and_the_next_one_delivers_the_rest(
    scene: Scene, capture: dict[str, Any], keep: bool, witness: Witness
) -> None:
    capture["keep"] = keep
    forker = await scene.forker("cart", 1000)
    first, begun = await scene.start_counting(forker, 500)
    scene.proxy.away()
    await has_forked(first, forker, 1000)
    first.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(until, lambda: "not capturing" in verdict(first, "/readyz"), "the agent is stopping")
    await asyncio.sleep(0.5)
    code = await asyncio.to_thread(terminate, first)
    assert code == 70
    assert last_line(first).startswith("forklore agent: exiting at once")
    scene.proxy.back()
    await asyncio.sleep(0.5)
    second = await scene.start_agent()
    await asyncio.sleep(0.5)
    made, last, pod, node = await scene.finish(second, forker)
    assert last["closed"]
    assert pod["delivered"] == pod["processes"]
    assert node["missing"] == node["on_its_way"]
    if keep:
        assert last["taken_over"]
        assert pod["processes"] == made
        assert never_numbered(node, witness) == {}
    else:
        unseen = node["never_numbered"]["restart"]
        assert 0 < made - pod["processes"] <= unseen
        least, most = bracket(begun, last, witness)
        assert least <= sum(map(counted, node["streams"])) + unseen <= most


async def test_after_an_error_the_agent_exits_with_one_line_and_the_next_one_reports_what_is_missing(
    scene: Scene, pins: Path, witness: Witness
) -> None:
    forker = await scene.forker("cart", 1000)
    first, begun = await scene.start_counting(forker, 1500)
    with pinned(pins, "map-forks") as ring:
        position = memoryview(mmap.mmap(ring, mmap.PAGESIZE))[:8].cast("Q")
        position[0] += 1 << 30  # ahead of the producer: the kernel takes the ring for full from now on
    code = await asyncio.to_thread(first.process.wait, GRACE_S)
    assert code == 70
    last_words = r"forklore agent: unhandled error, exiting: ValueError\('.*position.*'\)"
    assert re.fullmatch(last_words, last_line(first))
    second = await scene.start_agent()
    made, last, pod, node = await scene.finish(second, forker)
    assert not last["taken_over"], "an invalid ring must not be taken over"
    assert last["closed"]
    unseen = node["never_numbered"]["restart"]
    assert made - unseen <= pod["processes"] + pod["since"] <= made
    assert pod["delivered"] > 0
    least, most = bracket(begun, last, witness)
    assert least <= sum(map(counted, node["streams"])) + unseen <= most
    assert node["unexplained"] == 0


async def test_forks_that_the_next_version_cannot_read_are_reported_by_their_number(
    scene: Scene, pins: Path, witness: Witness
) -> None:
    forker = await scene.forker("cart", 1000)
    first, begun = await scene.start_counting(forker, 1500)
    kill(first)
    with pinned(pins, "meta") as descriptor:
        meta = BpfMap(descriptor, 4, META_BYTES, 1)
        items = json.loads((meta.get(FIRST) or b"").rstrip(b"\0"))
        meta.put(FIRST, json.dumps({**items, "layout": 99}).encode().ljust(META_BYTES, b"\0"))
    await asyncio.sleep(0.5)
    second = await scene.start_agent()
    made, last, pod, node = await scene.finish(second, forker)
    assert not last["taken_over"]
    assert pod["processes"] < made
    assert node["unexplained"] == 0
    least, most = bracket(begun, last, witness)
    assert least <= sum(map(counted, node["streams"])) + node["never_numbered"]["restart"] <= most


@contextmanager
def frozen(place: Path) -> Iterator[None]:
    """Writes to this file system block. It is thawed at the end, also when this process is killed."""
    safety = subprocess.Popen(["sh", "-c", f"sleep 40; fsfreeze --unfreeze {place}"], start_new_session=True)
    try:
        subprocess.run(["fsfreeze", "--freeze", place], check=True)
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", place], check=True)
        os.killpg(safety.pid, signal.SIGKILL)
        safety.wait()


async def test_a_hung_disk_fails_the_liveness_check_and_loses_no_fork(scene: Scene, tmp_path: Path, witness: Witness) -> None:
    with loop_mounted(tmp_path) as place:
        forker = await scene.forker("cart", 300)
        agent = await scene.start_agent(state_dir=str(place))
        forker.go()
        await has_forked(agent, forker, 300)
        assert verdict(agent, "/healthz") == "ok\n"
        with frozen(place):
            await asyncio.to_thread(
                until, lambda: "has not turned" in verdict(agent, "/healthz"), "healthz reports that the agent hangs"
            )
        await asyncio.to_thread(until, lambda: verdict(agent, "/healthz") == "ok\n", "the agent works again")
        made = await asyncio.to_thread(forker.stop)
        await caught_up(agent)
        assert await asyncio.to_thread(terminate, agent) == 0
        pod, node = await scene.pod(forker), await scene.node()
    assert pod["delivered"] == pod["processes"] == made
    assert (node["missing"], node["received"], never_numbered(node, witness)) == (0, node["given"], {})


async def test_forks_made_after_too_long_a_time_without_an_agent_are_counted_as_orphaned(
    scene: Scene, pins: Path, witness: Witness
) -> None:
    forker = await scene.forker("cart", 1000)
    first, begun = await scene.start_counting(forker, 500)
    kill(first)
    with pinned(pins, "map-config") as descriptor:
        config = BpfMap(descriptor, 4, CONFIG.size, 1)
        enabled, threads, limit, _alive_until, pod_level = CONFIG.unpack(config.get(FIRST) or b"")
        config.put(FIRST, CONFIG.pack(enabled, threads, limit, 1, pod_level))
    await asyncio.sleep(1)
    second = await scene.start_agent()
    with pinned(pins, "map-cpus") as descriptor:
        size = CPU_COUNTERS.size * len(begun["heads"])
        raw = BpfMap(descriptor, 4, size, 1).get(FIRST) or b""
        orphans = sum(CpuCounters._make(one).orphaned for one in CPU_COUNTERS.iter_unpack(raw))
    made, last, pod, node = await scene.finish(second, forker)
    assert last["taken_over"]
    assert last["closed"]
    assert last["lost"]["orphaned"] == orphans == node["never_numbered"]["orphaned"]
    assert pod["delivered"] == pod["processes"]
    assert 500 < made - pod["processes"] <= orphans
    assert pod["unknown_share"] == {"orphaned": orphans}
    (stream,) = node["streams"]
    least, most = bracket(begun, last, witness)
    assert least <= counted(stream) <= most, "captured includes orphaned forks"
    assert (node["missing"], node["received"]) == (0, node["given"])


async def wait_for_heartbeat(scene: Scene) -> None:
    """Waits for the agent's next heartbeat."""

    async def newest() -> Any:
        return [stream["as_of"] for node in (await scene.get("/v1/ledger"))["nodes"] for stream in node["streams"]]

    before = await newest()

    async def newer() -> bool:
        return await newest() != before

    await eventually(newer)


@pytest.mark.parametrize("at_once", [True, False])
async def test_forks_missed_after_the_kill_of_an_agent_without_pins_are_reported_by_a_number_that_fits_proc_stat(
    scene: Scene, capture: dict[str, Any], at_once: bool, witness: Witness
) -> None:
    """`at_once`: killed just after a heartbeat, before all forks that were counted by then were committed."""
    capture["pin"] = None
    forker = await scene.forker("cart", 2000)
    first, begun = await scene.start_counting(forker, 2000)
    await wait_for_heartbeat(scene)
    if not at_once:
        await asyncio.sleep(0.7)
    kill(first)
    await asyncio.sleep(0.5)
    second = await scene.start_agent()
    made, last, pod, node = await scene.finish(second, forker)
    assert not last["taken_over"]
    assert made > pod["processes"] > 0
    assert node["unexplained"] == 0, node
    least, most = bracket(begun, last, witness)
    assert least <= sum(map(counted, node["streams"])) + node["never_numbered"]["restart"] <= most
