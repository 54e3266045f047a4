"""The agent under a steady load for half an hour: memory and descriptors must not grow, and the ledger must close.

    python -m tests.kernel.soak [--for 30m] [--rate 1000] [--every 60]

Two pods fork at half the rate each; a third is created and deleted all the time, with a new name and new cgroups. Prints a line
at each interval, and in the end the growth of memory. Exit code: 0 all is accounted for, 1 it is not. Tasks of /proc/stat that
the agent did not count must be missing in ftrace, too (docs/decisions/0010-unseen.md).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.kernel.pins import BPF_FS, Pins
from agent.settings.values import parse_duration
from dev.demo.containers.runtime import Runtime

from .agent_process import Agent
from .scenes import Forker, Scene, caught_up, eventually, open_scene
from .witness import Witness

HEADS = ("minutes", "forks", "a second", "MiB", "descriptors", "threads", "journal MiB", "lag ms", "CPU %", "us a fork")
WARM_S = 900.0  # names are kept for ten minutes; then memory must not grow. In a shorter run its second half


@dataclass(frozen=True)
class Sample:
    """The agent at one moment. `seconds`: since the start; `cpu`: seconds of CPU."""

    seconds: float
    captured: int
    resident: int  # bytes
    descriptors: int
    threads: int
    journal: float  # bytes on disk
    lag: float  # seconds
    cpu: float


def read_sample(agent: Agent, seconds: float) -> Sample:
    with urllib.request.urlopen(f"http://{agent.status}/metrics", timeout=5) as answer:
        lines = [one.rsplit(" ", 1) for one in answer.read().decode().splitlines() if not one.startswith("#")]
    metrics = {name.partition("{")[0]: float(value) for name, value in lines}
    place = Path(f"/proc/{agent.process.pid}")
    status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines())
    return Sample(
        seconds,
        agent.get("/v1/ledger")["captured"],
        int(status["VmRSS"].split()[0]) << 10,
        len([*(place / "fd").iterdir()]),
        int(status["Threads"]),
        metrics["forklore_journal_disk_bytes"],
        metrics["forklore_delivery_lag_seconds"],
        metrics["process_cpu_seconds_total"],
    )


def line(before: Sample, now: Sample) -> str:
    seconds, forks, cpu = now.seconds - before.seconds, now.captured - before.captured, now.cpu - before.cpu
    cells = (
        f"{now.seconds / 60:.1f}", f"{now.captured:,}", f"{forks / seconds:,.0f}", f"{now.resident / 2**20:.1f}",
        f"{now.descriptors}", f"{now.threads}", f"{now.journal / 2**20:.1f}", f"{now.lag * 1000:.0f}",
        f"{100 * cpu / seconds:.1f}", f"{1e6 * cpu / max(forks, 1):.1f}",
    )  # fmt: skip
    return "  ".join(cell.rjust(len(head)) for cell, head in zip(cells, HEADS, strict=True))


def slope(samples: list[Sample]) -> float:
    """Growth of memory by least squares, bytes per second."""
    times, sizes = [one.seconds for one in samples], [one.resident for one in samples]
    middle, mean = sum(times) / len(samples), sum(sizes) / len(samples)
    spread = sum((at - middle) ** 2 for at in times)
    return sum((at - middle) * (size - mean) for at, size in zip(times, sizes, strict=True)) / spread if spread else 0.0


async def come_and_go(here: Scene, seconds: float) -> int:
    """Short-lived pods, one after the other. Returns how many there were."""
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        forker = await here.forker(f"guest-{number}", 50)
        forker.go()
        await asyncio.sleep(2)
        await asyncio.to_thread(forker.stop)
        await asyncio.to_thread(here.runtime.delete, forker.container)
        here.cluster.delete_pod(forker.uid)
        number += 1
    return number


async def watched(agent: Agent, seconds: float, every: float) -> list[Sample]:
    samples = [await asyncio.to_thread(read_sample, agent, 0.0)]
    begun = time.monotonic()
    sys.stdout.write("  ".join(HEADS) + "\n")
    while samples[-1].seconds < seconds:
        await asyncio.sleep(min(every, max(0.0, seconds - samples[-1].seconds)))
        samples.append(await asyncio.to_thread(read_sample, agent, time.monotonic() - begun))
        sys.stdout.write(line(samples[-2], samples[-1]) + "\n")
        sys.stdout.flush()
    return samples


async def soak(folder: Path, pins: Path, seconds: float, rate: int, every: float) -> list[str]:
    """Returns what does not add up in the end."""
    with Runtime(folder / "runtime") as runtime:
        async with open_scene(runtime, folder) as here:
            forkers = [await here.forker(name, rate // 2) for name in ("cart", "till")]
            capture = {"pin": str(pins), "keep": False}
            with Witness() as witness:
                agent = Agent(folder, {**here.settings(batch={"wait": "1s"}), "capture": capture})
                try:
                    return await run(here, agent, witness, forkers, seconds, every)
                finally:
                    agent.process.kill()
                    agent.process.wait()


async def run(here: Scene, agent: Agent, witness: Witness, forkers: list[Forker], seconds: float, every: float) -> list[str]:
    async def ready() -> bool:
        return await asyncio.to_thread(agent.ready)

    await eventually(ready)
    for forker in forkers:
        forker.go()
    guests = asyncio.create_task(come_and_go(here, seconds))
    samples = await watched(agent, seconds, every)
    number = await guests
    made = [await asyncio.to_thread(forker.stop) for forker in forkers]
    await caught_up(agent)
    ledger = await asyncio.to_thread(agent.stop)
    unseen = witness.unseen()
    warm = [one for one in samples if one.seconds >= min(WARM_S, seconds / 2)]
    sys.stdout.write(f"{number} guests. Memory, once warm: {slope(warm) * 60 / 1024:+.1f} KiB a minute\n")
    sys.stdout.write(f"Descriptors, once warm: {warm[0].descriptors} at first, {warm[-1].descriptors} in the end\n")
    reported = ledger["lost"]["unseen"]
    sys.stdout.write(f"Tasks that called no tracepoint: {unseen} by ftrace and /proc/stat, {reported} by the agent\n")
    return complaints(ledger, unseen, await here.node(), [await here.pod(forker) for forker in forkers], made)


def complaints(
    ledger: dict[str, Any], unseen: int, node: dict[str, Any], pods: list[dict[str, Any]], made: list[int]
) -> list[str]:
    found = []
    if not ledger["closed"]:
        found.append(f"the agent's ledger is off by {ledger['unaccounted']}")
    if queued := sum(ledger["sinks"]["collector"]["queued"].values()):
        found.append(f"{queued} forks are still queued")
    if node["missing"]:
        found.append(f"the collector lacks {node['missing']} of {node['given']}: {node['explained']}")
    (attach_before, attach_after), (now_before, now_after) = ledger["proc_stat"]["attach"], ledger["proc_stat"]["now"]
    counted = ledger["captured"] + ledger["kernel_workers"] + ledger["lost"]["recursion"]
    if not now_before - attach_after - unseen <= counted <= now_after - attach_before:
        found.append(f"counted {counted}, but /proc/stat says {now_before - attach_after} to {now_after - attach_before}")
    if ledger["lost"]["unseen"] > unseen:
        found.append(f"the agent reports {ledger['lost']['unseen']} tasks without a tracepoint, ftrace {unseen}")
    for pod, forks in zip(pods, made, strict=True):
        if not pod["processes"] == pod["delivered"] + sum(pod["missing"].values()) == forks:
            found.append(f"{pod['pod']} forked {forks} times: counted {pod['processes']}, came {pod['delivered']}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("--for", dest="seconds", type=parse_duration, default=1800.0, metavar="TIME", help="default: 30m")
    parser.add_argument("--rate", type=int, default=1000, help="forks a second; default: 1000")
    parser.add_argument("--every", type=float, default=60.0, metavar="SECONDS", help="between two lines; default: 60")
    options = parser.parse_args()
    pins = BPF_FS / f"forklore-soak-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="forklore-soak-") as folder:
        try:
            found = asyncio.run(soak(Path(folder), pins, options.seconds, options.rate, options.every))
        finally:
            if pins.exists():
                left = Pins(pins)
                left.remove_all()
                left.close()
    for complaint in found:
        sys.stdout.write(f"NOT CLOSED: {complaint}\n")
    sys.stdout.write("" if found else "closed: every fork is accounted for\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
