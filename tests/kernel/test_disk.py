"""The journal's disk: a limit that is reached, no space, read-only, overwritten, removed. Capture and delivery go on, the agent
reports the trouble, and forks that are missing in the end are declared for each pod."""

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

from tests.faults import Forward, Say

from .agent_process import PATIENCE, Agent, until
from .scenes import Forker, Scene, caught_up, eventually, has_forked, kill, loop_mounted, never_numbered
from .witness import Witness

pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(90)]
Start = Callable[..., Agent]

SEED = 4


def readiness(agent: Agent) -> str:
    try:
        with urllib.request.urlopen(f"http://{agent.status}/readyz", timeout=PATIENCE) as answer:
            return str(answer.read().decode()).strip()
    except urllib.error.HTTPError as refused:
        return refused.read().decode().strip()
    except OSError:
        return "not up yet"


def metric(agent: Agent, name: str) -> float:
    with urllib.request.urlopen(f"http://{agent.status}/metrics", timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    (value,) = [line.split()[1] for line in lines if re.match(rf"forklore_{name}(_total)? ", line)]
    return float(value)


def wait_for_trouble(agent: Agent, what: str) -> None:
    """Waits until the agent reports that its journal is in trouble."""
    until(lambda: readiness(agent).startswith("the journal: ") and what in readiness(agent), f"the agent reports {what}")
    assert metric(agent, "journal_works") == 0


def wait_for_health(agent: Agent) -> None:
    until(lambda: readiness(agent) == "ok", "the journal works again")
    assert metric(agent, "journal_works") == 1


@contextmanager
def kept_full(folder: Path) -> Iterator[None]:
    """Takes all the space there is, and what the agent frees meanwhile, until the block ends."""
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
    """The whole journal, with random bytes."""
    for path in (folder / "journal.sqlite3", folder / "journal.sqlite3-wal"):
        with path.open("r+b") as file:
            file.write(random.Random(SEED).randbytes(path.stat().st_size))  # noqa: S311  no secret


def trigger_error(disk: Path) -> None:
    """Triggers what the kernel does when it finds an error in a file system."""
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

    await eventually(enough)


async def more_arrive(here: Scene, forker: Forker) -> None:
    """Waits until the collector has got more of the pod's forks than now."""
    await arrived(here, forker, await delivered(here, forker) + 101)


async def stop_and_account(here: Scene, agent: Agent) -> dict[str, Any]:
    """Stops the agent once it has caught up. Returns the collector's ledger of the node, in which every missing fork has a
    reason."""
    await caught_up(agent)
    ledger = await asyncio.to_thread(agent.stop)
    assert ledger["closed"]
    node = await here.node()
    assert node["unexplained"] == node["on_its_way"] == 0, node
    assert node["given"] == node["received"] + sum(node["explained"].values())
    return node


async def test_when_the_journal_is_full_the_oldest_batches_are_dropped_and_counted_for_each_pod(scene: Scene) -> None:
    forkers = [await scene.forker("cart", 1500), await scene.forker("till", 3000)]
    agent = await scene.start_agent(**scene.settings(journal_bytes="1Mi"))
    for forker in forkers:
        forker.go()
    await has_forked(agent, forkers[0], 500)
    scene.proxy.usual = Say(503)  # not away(), which may lose an answer

    async def lost() -> bool:
        ledger = await asyncio.to_thread(agent.get, "/v1/ledger")
        return bool(ledger["sinks"]["collector"]["lost"].get("journal_full", 0) > 3000)

    await eventually(lost)
    scene.proxy.usual = Forward()
    made = [await asyncio.to_thread(forker.stop) for forker in forkers]
    node = await stop_and_account(scene, agent)
    pods = [await scene.pod(forker) for forker in forkers]
    for pod, forks in zip(pods, made, strict=True):
        assert pod["processes"] == forks
        assert pod["missing"] == {"journal_full": forks - pod["delivered"]}
        assert pod["missing"]["journal_full"] > 100
    assert node["missing"] == node["explained"]["journal_full"]
    (stream,) = node["streams"]
    assert stream["holes"]
    assert all(hole["last"] + 1000 < stream["cpus"][str(hole["cpu"])]["given"] for hole in stream["holes"]), (
        "the newest were kept"
    )


async def test_a_full_disk_is_reported_and_stops_nothing(scene: Scene, tmp_path: Path, witness: Witness) -> None:
    with memory_mounted(tmp_path / "disk", "size=32m") as disk:
        forker = await scene.forker("cart", 1000)
        agent, _ = await scene.start_counting(forker, 500, state_dir=str(disk))
        scene.proxy.away()  # nothing is delivered, so the journal cannot free space, and the trouble lasts
        with kept_full(disk):
            await asyncio.to_thread(wait_for_trouble, agent, "No space left on device")
            in_memory = agent.container(forker.container.id)["processes"] + 500
            await has_forked(agent, forker, in_memory)
            # Not at a single moment: the ledger file frees its blocks for an instant each time that it is written.
            await asyncio.to_thread(wait_for_trouble, agent, "No space left on device")
            scene.proxy.back()
            await arrived(scene, forker, in_memory)
        await asyncio.to_thread(wait_for_health, agent)
        made = await asyncio.to_thread(forker.stop)
        node = await stop_and_account(scene, agent)
        pod = await scene.pod(forker)
    assert node["missing"] == 0
    assert pod["delivered"] == pod["processes"] == made
    assert never_numbered(node, witness) == {}


async def test_forks_that_were_only_in_memory_when_an_agent_was_killed_on_a_full_disk_are_declared(
    scene: Scene, tmp_path: Path, witness: Witness
) -> None:
    with memory_mounted(tmp_path / "disk", "size=32m") as disk:
        forker = await scene.forker("cart", 1000)
        first, _ = await scene.start_counting(forker, 500, state_dir=str(disk))
        scene.proxy.away()
        with kept_full(disk):
            await asyncio.to_thread(wait_for_trouble, first, "No space left on device")
            # What it reads from the ring is in its memory only.
            await has_forked(first, forker, first.container(forker.container.id)["processes"] + 4000)
            kill(first)
        scene.proxy.back()
        second = await scene.start_agent(state_dir=str(disk))
        made = await asyncio.to_thread(forker.stop)
        node = await stop_and_account(scene, second)
        pod = await scene.pod(forker)
    assert pod["processes"] == made
    assert pod["delivered"] < made
    assert node["missing"] > 0
    assert never_numbered(node, witness) == {}


async def test_a_disk_that_is_read_only_at_the_start_stops_nothing(scene: Scene, tmp_path: Path) -> None:
    with memory_mounted(tmp_path / "disk", "size=32m", "ro") as disk:
        forker = await scene.forker("cart", 1000)
        agent = await scene.start_agent(wait=False, state_dir=str(disk))
        await asyncio.to_thread(wait_for_trouble, agent, "ead-only file system")
        forker.go()
        await more_arrive(scene, forker)
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,rw", disk], check=True)
        await asyncio.to_thread(wait_for_health, agent)
        made = await asyncio.to_thread(forker.stop)
        node = await stop_and_account(scene, agent)
        pod = await scene.pod(forker)
    assert node["missing"] == 0
    assert pod["delivered"] == pod["processes"] == made


async def test_a_disk_that_becomes_read_only_stops_nothing(scene: Scene, tmp_path: Path) -> None:
    with loop_mounted(tmp_path) as disk:
        forker = await scene.forker("cart", 1000)
        agent, _ = await scene.start_counting(forker, 500, state_dir=str(disk))
        scene.proxy.away()
        await has_forked(agent, forker, 1000)
        await asyncio.to_thread(trigger_error, disk)
        await asyncio.to_thread(wait_for_trouble, agent, "input/output error")
        scene.proxy.back()
        await more_arrive(scene, forker)
        # Such a file system cannot become writable while a file of it is open; the one below it is writable.
        await asyncio.to_thread(subprocess.run, ["umount", "--lazy", disk], check=True)
        await asyncio.to_thread(wait_for_health, agent)
        made = await asyncio.to_thread(forker.stop)
        node = await stop_and_account(scene, agent)
        pod = await scene.pod(forker)
    assert node["missing"] == 0
    assert pod["delivered"] == pod["processes"] == made


async def test_a_journal_that_is_overwritten_loses_no_more_than_its_content(scene: Scene, witness: Witness) -> None:
    forker = await scene.forker("cart", 1000)
    agent, _ = await scene.start_counting(forker, 500)
    scene.proxy.usual = Say(503)  # not away(), which may lose an answer
    await has_forked(agent, forker, 1500)
    overwrite(agent.state)
    await asyncio.to_thread(until, lambda: metric(agent, "journal_corruptions") == 1, "the agent notices")
    scene.proxy.usual = Forward()
    await asyncio.to_thread(wait_for_health, agent)
    made = await asyncio.to_thread(forker.stop)
    node = await stop_and_account(scene, agent)
    pod = await scene.pod(forker)
    assert list(agent.state.glob("journal.sqlite3.corrupt-*"))
    assert pod["processes"] == made
    assert pod["delivered"] + pod["missing"].get("journal_corrupt", 0) == made
    assert node["missing"] == node["explained"].get("journal_corrupt", 0)
    assert never_numbered(node, witness) == {}


@pytest.mark.parametrize("lost", ["overwritten", "journal", "all of it"])
async def test_an_agent_without_its_journal_declares_what_it_cannot_know_and_starts_a_new_stream(
    scene: Scene, lost: str, witness: Witness
) -> None:
    forker = await scene.forker("cart", 1000)
    first, _ = await scene.start_counting(forker, 1500)
    scene.proxy.away()
    await has_forked(first, forker, 2500)
    kill(first)
    if lost == "overwritten":
        overwrite(first.state)
    elif lost == "journal":
        for path in first.state.glob("journal.sqlite3*"):
            path.unlink()
    else:
        shutil.rmtree(first.state)
    scene.proxy.back()
    second = await scene.start_agent()
    made = await asyncio.to_thread(forker.stop)
    node = await stop_and_account(scene, second)
    pod = await scene.pod(forker)
    assert not (await asyncio.to_thread(second.log.read_text)).endswith("(taken over)\n")
    new, old = node["streams"]
    assert pod["processes"] == made, "the kernel has counted all of them"
    assert 0 < pod["delivered"] < made
    assert old["missing"] == old["explained"]["journal_lost"] > 0
    assert (new["missing"], new["received"]) == (0, new["given"])
    assert never_numbered(node, witness) == {}


async def test_a_journal_that_is_unreadable_at_the_start_is_used_once_it_is_readable(scene: Scene, tmp_path: Path) -> None:
    with memory_mounted(tmp_path / "disk", "size=32m") as disk:
        forker = await scene.forker("cart", 1000)
        first, _ = await scene.start_counting(forker, 1500, state_dir=str(disk))
        scene.proxy.usual = Say(503)
        await has_forked(first, forker, 3000)
        kill(first)
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,ro", disk], check=True)
        second = await scene.start_agent(wait=False, state_dir=str(disk))
        await asyncio.to_thread(wait_for_trouble, second, "ead-only file system")
        scene.proxy.usual = Forward()
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,rw", disk], check=True)
        await asyncio.to_thread(wait_for_health, second)
        made = await asyncio.to_thread(forker.stop)
        node = await stop_and_account(scene, second)
        pod = await scene.pod(forker)
    assert pod["processes"] == made
    assert made - pod["delivered"] <= node["missing"] < 1500, (
        "its batches were delivered, though they had been declared missing"
    )
