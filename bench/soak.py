"""`make soak`: half an hour of 1,000 forks a second through the whole product; is memory flat, are descriptors, does the
ledger close?

    python -m bench.soak [--minutes 30] [--rate 1000]

A real container forks, the agent captures with pins and a journal on disk, the collector files every event. A line a
minute, and at the end the slope of the agent's memory. Exit code 1: the ledger did not close, or something was lost. Must
not live here: bounds on times; how flat is flat is for the reader to say.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from demo.children import Child, free_port
from demo.containers import Runtime
from demo.pins import place_for_pins

WARM_UP = 5  # minutes that the slope leaves out: caches fill, the heap finds its size
FORKER = """
import os, time
start, done = time.monotonic(), 0
while not os.path.exists("/work/stop"):
    due = int((time.monotonic() - start) * {rate})
    while done < due:
        try:
            os.posix_spawn("/nothing", ["x"], {{}})
        except FileNotFoundError:
            done += 1
    time.sleep(0.005)
with open("/work/done.new", "w") as file:
    file.write(str(done))
os.rename("/work/done.new", "/work/done")
time.sleep(600)
"""


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def ready(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.2)


async def soak(minutes: int, rate: int, state: Path) -> int:
    async with contextlib.AsyncExitStack() as house:
        http = await house.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)))
        runtime = house.enter_context(Runtime(state / "containers"))
        pins = house.enter_context(place_for_pins(state))
        page, status = f"127.0.0.1:{free_port(9910)}", f"127.0.0.1:{free_port(9911)}"
        collector = await Child.start("collector", {"listen": page, "store": f"sqlite://{state}/collector.db"}, state)
        house.push_async_callback(collector.stop, 30)
        await ready(http, f"http://{page}/healthz")
        settings: dict[str, Any] = {
            "status": status,
            "state_dir": str(state / "agent"),
            "kubernetes": {"enabled": False},
            "capture": {"pin": str(pins)},
            "sinks": [{"name": "collector", "url": f"http://{page}/v1/events"}],
        }
        agent = await Child.start("agent", settings, state)
        house.push_async_callback(agent.stop, 45)
        await ready(http, f"http://{status}/readyz")
        container = await asyncio.to_thread(runtime.start, ["/usr/bin/python3", "-c", FORKER.format(rate=rate)])
        samples = []
        print(
            f"{'minute':>6} {'RSS MiB':>8} {'fds':>4} {'captured':>11} {'delivered':>11} {'queued':>7} {'lost':>5}", flush=True
        )
        for minute in range(1, minutes + 1):
            await asyncio.sleep(60)
            async with http.get(f"http://{status}/v1/ledger") as answer:
                ledger = await answer.json()
            sink = ledger["sinks"]["collector"]
            lost = sum(ledger["lost"].values()) + sum(sink["lost"].values())
            samples.append((minute, resident_mib(agent.process.pid), descriptors(agent.process.pid)))
            numbers = f"{ledger['captured']:>11,} {sink['delivered']:>11,} {sum(sink['queued'].values()):>7,} {lost:>5,}"
            print(f"{minute:>6} {samples[-1][1]:>8.1f} {samples[-1][2]:>4} {numbers}", flush=True)
        (container.work / "stop").touch()
        while not (container.work / "done").exists():  # noqa: ASYNC110  a container says it by a file
            await asyncio.sleep(0.1)
        made = int((container.work / "done").read_text(encoding="ascii"))
        await asyncio.sleep(1)
        await agent.stop(45)
        ledger = json.loads((state / "agent/ledger.json").read_text(encoding="utf-8"))
        (pod,) = [pod for pod in ledger["pods"] if pod["container_id"] == container.id]
        return verdict(samples, ledger, made, pod)


def verdict(samples: list[tuple[int, float, int]], ledger: dict[str, Any], made: int, pod: dict[str, Any]) -> int:
    late = [sample for sample in samples if sample[0] > min(WARM_UP, len(samples) // 2)]
    if len(late) > 1:
        slope = statistics.linear_regression([minute for minute, _, _ in late], [mib for _, mib, _ in late]).slope
        print(f"\nmemory from minute {late[0][0]} on: {slope * 60:+.2f} MiB an hour, {late[0][1]:.1f} to {late[-1][1]:.1f} MiB")
        print(f"descriptors: {min(fds for _, _, fds in late)} to {max(fds for _, _, fds in late)}")
    sink = ledger["sinks"]["collector"]
    filtered, lost = sum(sink["filtered"].values()), sum(ledger["lost"].values()) + sum(sink["lost"].values())
    numbers = f"captured {ledger['captured']:,}, delivered {sink['delivered']:,}, filtered {filtered:,}, lost {lost:,}"
    print(f"ledger: {numbers}, closed: {ledger['closed']}")
    counted = f"counted {pod['processes']:,} with the runtime's own, delivered {pod['delivered']['collector']:,}"
    print(f"the container made {made:,} forks; {counted}")
    return 0 if ledger["closed"] and not lost and 0 <= pod["processes"] - made < 10 else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.soak")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--rate", type=int, default=1000, help="forks a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/lib", prefix="forklore-soak-") as state:
        began = time.monotonic()
        code = asyncio.run(soak(options.minutes, options.rate, Path(state)))
        print(f"{(time.monotonic() - began) / 60:.1f} minutes")
        return code


if __name__ == "__main__":
    sys.exit(main())
