"""`make bench`: CPU time and memory of the agent, of forkstat and of the usual BCC script, under the same load, in turns.

Then of the collector. On a busy machine the least of the rounds is nearest to the tool's own cost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from aiohttp import web

from agent.attribution.hierarchy import choose_hierarchy
from agent.kernel.capture import open_capture
from dev.bench import enrichment, ingest, schemas
from dev.bench.api_server import traffic
from dev.bench.processes import cpu_s, rss_mib

# A shell that forks and waits in a loop, as a busy pod does.
LOAD = "i=0; while [ $i -lt {} ]; do (:); i=$((i+1)); done"


@dataclass(frozen=True)
class Cost:
    """`cpu_us`: user and system time of the tool's own process per fork of the load. `rss_mib`: right after it."""

    cpu_us: float
    rss_mib: float


def load(forks: int) -> None:
    subprocess.run(["busybox", "sh", "-c", LOAD.format(forks)], check=True)


def measure(pid: int, forks: int, delivered: Callable[[], bool]) -> Cost:
    before = cpu_s(pid)
    load(forks)
    deadline = time.monotonic() + 30
    while not delivered() and time.monotonic() < deadline:
        time.sleep(0.2)
    return Cost((cpu_s(pid) - before) / forks * 1e6, rss_mib(pid))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("the tool under measurement did not start")
        time.sleep(0.05)


@contextlib.contextmanager
def running(command: list[str], **more: object) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, **more)  # type: ignore[call-overload]
    try:
        yield child
    finally:
        child.terminate()
        child.wait()


@contextlib.contextmanager
def forklore(folder: Path, compression: str) -> Iterator[tuple[int, Callable[[], bool]]]:
    """The real agent, which sends to a receiver in a process of its own that accepts everything."""
    port, status = free_port(), free_port()
    config = folder / "agent.yaml"
    settings = {
        "node": "bench",
        "status": f"127.0.0.1:{status}",
        "state_dir": str(folder),
        "kubernetes": {"enabled": False},
        "sinks": [{"name": "bench", "url": f"http://127.0.0.1:{port}/", "compression": compression}],
    }
    config.write_text(yaml.safe_dump(settings))

    def ledger() -> dict[str, object]:
        with urllib.request.urlopen(f"http://127.0.0.1:{status}/v1/ledger", timeout=5) as answer:
            return dict(json.loads(answer.read()))

    def is_up() -> bool:
        try:
            return bool(ledger())
        except OSError:
            return False

    def delivered() -> bool:
        sink = ledger()["sinks"]["bench"]  # type: ignore[index]
        return sum(sink["queued"].values()) < 50

    receiver = [sys.executable, "-m", "dev.bench", "--receive", str(port)]
    with running(receiver), running([sys.executable, "-m", "cli", "agent", "--config", str(config)]) as agent:
        until(is_up)
        yield agent.pid, delivered


@contextlib.contextmanager
def forkstat(_folder: Path) -> Iterator[tuple[int, Callable[[], bool]]]:
    with running(["forkstat", "-e", "fork"]) as tool:
        time.sleep(1)
        yield tool.pid, lambda: True


@contextlib.contextmanager
def usual(folder: Path) -> Iterator[tuple[int, Callable[[], bool]]]:
    ready = folder / "ready"
    with running([sys.executable, "-m", "dev.bench.usual", str(ready)]) as tool:
        until(ready.exists)
        yield tool.pid, lambda: True


def in_kernel(forks: int) -> dict[str, float]:
    """ns per run of each BPF program, by the kernel's own statistics, which add about 60 ns."""
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = switch.read_text(encoding="ascii")
    hierarchy = choose_hierarchy(
        Path("/proc/self/mountinfo").read_text(encoding="utf-8"), Path("/proc/self/cgroup").read_text(encoding="utf-8")
    )
    capture = open_capture(16 << 20, hierarchy.number, hierarchy.controller, None)
    try:
        switch.write_text("1", encoding="ascii")
        capture.current.start(threads=False, storm_limit=0, alive_ns=300 * 10**9)
        load(forks)
        return {name: stats.time_ns / stats.runs for name, stats in capture.program_stats().items() if stats.runs > forks / 2}
    finally:
        switch.write_text(before, encoding="ascii")
        capture.close(keep=False)


def receive(port: int) -> None:
    async def accept(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    async def serve() -> None:
        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/", accept)
        runner = web.AppRunner(app, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()

    asyncio.run(serve())


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--forks", type=int, default=20_000, help="forks a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--receive", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        receive(options.receive)
        return
    tools = {
        "forklore, gzip": lambda folder: forklore(folder, "gzip"),
        "forklore, zstd": lambda folder: forklore(folder, "zstd"),
        "forkstat (Debian)": forkstat,
        "usual BCC way": usual,
    }
    costs: dict[str, list[Cost]] = {name: [] for name in tools}
    for _ in range(options.rounds):  # in turns, so that a busy machine affects all alike
        for name, tool in tools.items():
            with tempfile.TemporaryDirectory() as folder, tool(Path(folder)) as (pid, delivered):
                time.sleep(1)
                costs[name].append(measure(pid, options.forks, delivered))
    print(f"{options.rounds} rounds of {options.forks} forks, in turns; medians (least to most)\n")
    print(f"{'':20} {'CPU us a fork':>24} {'ratio':>7} {'RSS MiB':>9}")
    base = statistics.median(cost.cpu_us for cost in costs["usual BCC way"])
    for name, rounds in costs.items():
        cpu = sorted(cost.cpu_us for cost in rounds)
        middle = statistics.median(cpu)
        spread = f"{middle:.1f} ({cpu[0]:.1f} to {cpu[-1]:.1f})"
        print(f"{name:20} {spread:>24} {middle / base:>7.2f} {statistics.median(c.rss_mib for c in rounds):>9.1f}")
    print(
        "\nforklore: from the ring to an accepted POST, every field, all of the agent's process. forkstat and the usual way"
        "\nname no pod, have six fields at most and send nothing; the usual way is the 1.00 of the ratios."
    )
    programs = in_kernel(options.forks)
    parts = ", ".join(f"{name} {ns:.0f} ns" for name, ns in programs.items())
    print(f"\nIn the kernel, in the forking process's own time: {sum(programs.values()):.0f} ns a fork ({parts}).")
    print()
    ingest.main()
    enrichment.main()
    schemas.main()
    traffic.main()


if __name__ == "__main__":
    main()
