"""The disk under the journal: a limit that is reached, no room, read-only, noise, gone. Capture and delivery go on, it is said,
and what is missing in the end is declared, pod by pod.

Must not live here: what the journal alone makes of such a disk (tests/agent/journal).
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from dev.demo.containers.runtime import Runtime
from tests.faults import Forward, Say

from .conftest import Agent, until
from .scenes import Forker, Scene, caught_up, has_forked, killed, loop_mounted, scene, settled

pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(90)]
Start = Callable[..., Agent]

SEED = 4


@pytest.fixture
def capture(pins: Path) -> dict[str, Any]:
    return {"pin": str(pins), "keep": False, "summary_interval": "1s", "storm_limit": 0}


def readiness(agent: Agent) -> str:
    try:
        with urllib.request.urlopen(f"http://{agent.status}/readyz", timeout=5) as answer:
            return str(answer.read().decode()).strip()
    except urllib.error.HTTPError as refused:
        return refused.read().decode().strip()
    except OSError:
        return "not up yet"


def metric(agent: Agent, name: str) -> float:
    with urllib.request.urlopen(f"http://{agent.status}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    (value,) = [line.split()[1] for line in lines if re.match(rf"forklore_{name}(_total)? ", line)]
    return float(value)


def in_trouble(agent: Agent, what: str) -> None:
    """Waits until the agent says that."""
    until(lambda: readiness(agent).startswith("the journal: ") and what in readiness(agent), f"it says {what}")
    assert metric(agent, "journal_works") == 0


def healthy(agent: Agent) -> None:
    until(lambda: readiness(agent) == "ok", "the journal works again")
    assert metric(agent, "journal_works") == 1


@contextmanager
def kept_full(folder: Path) -> Iterator[None]:
    """Takes all the room there is, and what the agent frees meanwhile, until the block ends."""
    filler, ended = folder / "filler", threading.Event()

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            while not ended.is_set():
                with suppress(OSError):
                    file.write(bytes(4096))
                    continue
                ended.wait(0.005)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        filler.unlink()


def overwrite(folder: Path) -> None:
    """The journal, whole, with noise."""
    for path in (folder / "journal.sqlite3", folder / "journal.sqlite3-wal"):
        with path.open("r+b") as file:
            file.write(random.Random(SEED).randbytes(path.stat().st_size))  # noqa: S311  noise, not a secret


def fail(disk: Path) -> None:
    """What the kernel does when it finds its file system in disorder."""
    device = Path(os.path.realpath(f"/sys/dev/block/{os.major(disk.stat().st_dev)}:{os.minor(disk.stat().st_dev)}")).name
    Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("a test")


@contextmanager
def memory_mounted(place: Path, *options: str) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


async def delivered(here: Scene, forker: Forker) -> int:
    """How many of the pod's forks the collector has; 0 while it knows no such pod."""
    return sum(int(pod["delivered"]) for pod in (await here.get("/v1/pods"))["pods"] if pod["pod_uid"] == forker.uid)


async def arrived(here: Scene, forker: Forker, forks: int) -> None:
    """Waits until the collector has that many of the pod's forks."""

    async def enough() -> bool:
        return await delivered(here, forker) >= forks

    await settled(enough)


async def more_arrive(here: Scene, forker: Forker) -> None:
    """Waits until the collector has got more of the pod's forks than now."""
    await arrived(here, forker, await delivered(here, forker) + 101)


async def left_whole(here: Scene, agent: Agent) -> dict[str, Any]:
    """Lets it go, when all is quiet; the collector's account of the node, with no fork missing for no reason."""
    await caught_up(agent)
    ledger = await asyncio.to_thread(agent.leave)
    assert ledger["closed"]
    node = await here.node()
    assert node["unexplained"] == node["on_its_way"] == 0, node
    assert node["given"] == node["received"] + sum(node["explained"].values())
    return node


async def test_when_the_journal_is_full_the_oldest_go_and_each_pod_is_told_how_many(
    capture: dict[str, Any], start_agent: Start, runtime: Runtime, tmp_path: Path
) -> None:
    async with scene(runtime, tmp_path) as here:
        forkers = [await here.forker("cart", 1500), await here.forker("till", 3000)]
        settings = {**here.settings(journal_bytes="1Mi"), "capture": capture}
        agent = await asyncio.to_thread(start_agent, **settings)
        for forker in forkers:
            forker.go()
        await has_forked(agent, forkers[0], 500)
        here.proxy.usual = Say(503)  # not away(), which may take a receipt with it

        async def lost() -> bool:
            said = await asyncio.to_thread(agent.get, "/v1/ledger")
            return bool(said["sinks"]["collector"]["lost"].get("journal_full", 0) > 3000)

        await settled(lost)
        here.proxy.usual = Forward()
        made = [await asyncio.to_thread(forker.stop) for forker in forkers]
        node = await left_whole(here, agent)
        pods = [await here.pod(forker) for forker in forkers]
    for pod, forks in zip(pods, made, strict=True):
        assert pod["processes"] == forks
        assert pod["missing"] == {"journal_full": forks - pod["delivered"]}
        assert pod["missing"]["journal_full"] > 100
    assert node["missing"] == node["explained"]["journal_full"]
    (stream,) = node["streams"]
    assert stream["holes"]
    assert all(hole["last"] + 1000 < stream["cpus"][str(hole["cpu"])]["given"] for hole in stream["holes"]), "the newest stayed"


async def test_a_full_disk_is_said_and_stops_nothing(
    capture: dict[str, Any], start_agent: Start, runtime: Runtime, tmp_path: Path
) -> None:
    with memory_mounted(tmp_path / "disk", "size=32m") as disk:
        async with scene(runtime, tmp_path) as here:
            forker = await here.forker("cart", 1000)
            settings = {**here.settings(), "capture": capture, "state_dir": str(disk)}
            agent = await asyncio.to_thread(start_agent, **settings)
            forker.go()
            await has_forked(agent, forker, 500)
            here.proxy.away()  # nothing is delivered, so nothing that the journal holds can go: the trouble lasts
            with kept_full(disk):
                await asyncio.to_thread(in_trouble, agent, "No space left on device")
                in_memory = agent.container(forker.container.id)["processes"] + 500
                await has_forked(agent, forker, in_memory)
                assert "No space left" in readiness(agent), "the last 500 are not on the disk"
                here.proxy.back()
                await arrived(here, forker, in_memory)
            await asyncio.to_thread(healthy, agent)
            made = await asyncio.to_thread(forker.stop)
            node = await left_whole(here, agent)
            pod = await here.pod(forker)
    assert node["missing"] == 0
    assert pod["delivered"] == pod["processes"] == made
    assert node["never_numbered"] == {}


async def test_what_only_memory_held_when_an_agent_died_on_a_full_disk_is_declared(
    capture: dict[str, Any], start_agent: Start, runtime: Runtime, tmp_path: Path
) -> None:
    with memory_mounted(tmp_path / "disk", "size=32m") as disk:
        async with scene(runtime, tmp_path) as here:
            forker = await here.forker("cart", 1000)
            settings = {**here.settings(), "capture": capture, "state_dir": str(disk)}
            first = await asyncio.to_thread(start_agent, **settings)
            forker.go()
            await has_forked(first, forker, 500)
            here.proxy.away()
            with kept_full(disk):
                await asyncio.to_thread(in_trouble, first, "No space left on device")
                # What it takes out of the ring it holds in memory only.
                await has_forked(first, forker, first.container(forker.container.id)["processes"] + 4000)
                killed(first)
            here.proxy.back()
            second = await asyncio.to_thread(start_agent, **settings)
            made = await asyncio.to_thread(forker.stop)
            node = await left_whole(here, second)
            pod = await here.pod(forker)
    assert pod["processes"] == made
    assert pod["delivered"] < made
    assert node["missing"] > 0
    assert node["never_numbered"] == {}


async def test_a_disk_that_is_read_only_at_the_start_stops_nothing(
    capture: dict[str, Any], start_agent: Start, runtime: Runtime, tmp_path: Path
) -> None:
    with memory_mounted(tmp_path / "disk", "size=32m", "ro") as disk:
        async with scene(runtime, tmp_path) as here:
            forker = await here.forker("cart", 1000)
            settings = {**here.settings(), "capture": capture, "state_dir": str(disk)}
            agent = await asyncio.to_thread(start_agent, wait=False, **settings)
            await asyncio.to_thread(in_trouble, agent, "ead-only file system")
            forker.go()
            await more_arrive(here, forker)
            await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,rw", disk], check=True)
            await asyncio.to_thread(healthy, agent)
            made = await asyncio.to_thread(forker.stop)
            node = await left_whole(here, agent)
            pod = await here.pod(forker)
    assert node["missing"] == 0
    assert pod["delivered"] == pod["processes"] == made


async def test_a_disk_that_becomes_read_only_stops_nothing(
    capture: dict[str, Any], start_agent: Start, runtime: Runtime, tmp_path: Path
) -> None:
    with loop_mounted(tmp_path) as disk:
        async with scene(runtime, tmp_path) as here:
            forker = await here.forker("cart", 1000)
            settings = {**here.settings(), "capture": capture, "state_dir": str(disk)}
            agent = await asyncio.to_thread(start_agent, **settings)
            forker.go()
            await has_forked(agent, forker, 500)
            here.proxy.away()
            await has_forked(agent, forker, 1000)
            await asyncio.to_thread(fail, disk)
            await asyncio.to_thread(in_trouble, agent, "input/output error")
            here.proxy.back()
            await more_arrive(here, forker)
            # Such a file system can't be made writable again while somebody has a file of it open; what is below it can.
            await asyncio.to_thread(subprocess.run, ["umount", "--lazy", disk], check=True)
            await asyncio.to_thread(healthy, agent)
            made = await asyncio.to_thread(forker.stop)
            node = await left_whole(here, agent)
            pod = await here.pod(forker)
    assert node["missing"] == 0
    assert pod["delivered"] == pod["processes"] == made


async def test_a_journal_that_is_overwritten_with_noise_costs_no_more_than_what_was_in_it(
    capture: dict[str, Any], start_agent: Start, runtime: Runtime, tmp_path: Path
) -> None:
    async with scene(runtime, tmp_path) as here:
        forker = await here.forker("cart", 1000)
        agent = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        forker.go()
        await has_forked(agent, forker, 500)
        here.proxy.usual = Say(503)  # not away(), which may take a receipt with it
        await has_forked(agent, forker, 1500)
        overwrite(agent.state)
        await asyncio.to_thread(until, lambda: metric(agent, "journal_corruptions") == 1, "it is noticed")
        here.proxy.usual = Forward()
        await asyncio.to_thread(healthy, agent)
        made = await asyncio.to_thread(forker.stop)
        node = await left_whole(here, agent)
        pod = await here.pod(forker)
    assert list(agent.state.glob("journal.sqlite3.corrupt-*"))
    assert pod["processes"] == made
    assert pod["delivered"] + pod["missing"].get("journal_corrupt", 0) == made
    assert node["missing"] == node["explained"].get("journal_corrupt", 0)
    assert node["never_numbered"] == {}


@pytest.mark.parametrize("lost", ["overwritten", "journal", "all of it"])
async def test_an_agent_that_finds_no_journal_says_what_it_can_not_know_and_begins_anew(
    capture: dict[str, Any], start_agent: Start, runtime: Runtime, tmp_path: Path, lost: str
) -> None:
    async with scene(runtime, tmp_path) as here:
        forker = await here.forker("cart", 1000)
        first = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        forker.go()
        await has_forked(first, forker, 1500)
        here.proxy.away()
        await has_forked(first, forker, 2500)
        killed(first)
        if lost == "overwritten":
            overwrite(first.state)
        elif lost == "journal":
            for path in first.state.glob("journal.sqlite3*"):
                path.unlink()
        else:
            shutil.rmtree(first.state)
        here.proxy.back()
        second = await asyncio.to_thread(start_agent, **here.settings(), capture=capture)
        made = await asyncio.to_thread(forker.stop)
        node = await left_whole(here, second)
        pod = await here.pod(forker)
    assert not (await asyncio.to_thread(second.log.read_text)).endswith("(taken over)\n")
    new, old = node["streams"]
    assert pod["processes"] == made, "the kernel has counted all the same"
    assert 0 < pod["delivered"] < made
    assert old["missing"] == old["explained"]["journal_lost"] > 0
    assert (new["missing"], new["received"]) == (0, new["given"])
    assert node["never_numbered"] == {}


async def test_a_journal_that_could_not_be_read_at_the_start_is_taken_up_when_it_can(
    capture: dict[str, Any], start_agent: Start, runtime: Runtime, tmp_path: Path
) -> None:
    with memory_mounted(tmp_path / "disk", "size=32m") as disk:
        async with scene(runtime, tmp_path) as here:
            forker = await here.forker("cart", 1000)
            settings = {**here.settings(), "capture": capture, "state_dir": str(disk)}
            first = await asyncio.to_thread(start_agent, **settings)
            forker.go()
            await has_forked(first, forker, 1500)
            here.proxy.usual = Say(503)
            await has_forked(first, forker, 3000)
            killed(first)
            await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,ro", disk], check=True)
            second = await asyncio.to_thread(start_agent, wait=False, **settings)
            await asyncio.to_thread(in_trouble, second, "ead-only file system")
            here.proxy.usual = Forward()
            await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,rw", disk], check=True)
            await asyncio.to_thread(healthy, second)
            made = await asyncio.to_thread(forker.stop)
            node = await left_whole(here, second)
            pod = await here.pod(forker)
    assert pod["processes"] == made
    assert made - pod["delivered"] <= node["missing"] < 1500, "what lay in it has come after all, though it had been given up"
