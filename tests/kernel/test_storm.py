"""Overload: a fork bomb beside a quiet pod, cgroups that a container creates, a ring that fills while the agent is stopped, a
CPU that goes offline. Other pods lose nothing, and every count is exact."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.kernel.layouts.cgroup_maps import MAX_TRACKED
from agent.kernel.libbpf import load_libbpf
from agent.kernel.maps import BpfMap
from agent.kernel.pins import MAP_PINS
from agent.kernel.records import CGROUP_COUNTERS, CgroupCounters
from dev.demo.containers import leftovers

from .agent_process import PATIENCE, Agent
from .conftest import hierarchy, remove_cgroups
from .scenes import FORKER, Scene, caught_up, eventually, has_forked
from .witness import Witness

pytestmark = [pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(120)]
Start = Callable[..., Agent]

BOMB_FORKS = int(os.environ.get("BOMB_FORKS", "30000"))  # after which the bomb is stopped
ROOT = Path(__file__).parents[2]
LIMIT = 2000  # capture.storm_limit's default, events a second
ENDPOINTS = ("/healthz", "/readyz", "/metrics", "/v1/pods", "/v1/ledger")
CPU = Path("/sys/devices/system/cpu/cpu1/online")

# As FORKER at rate 0, from as many processes as there are CPUs; they are forks, too.
BOMB = FORKER.replace(
    "start = time.monotonic()",
    """start = time.monotonic()
read, write = os.pipe()
others = os.cpu_count() - 1
workers = [pid for _ in range(others) if (pid := os.fork())]
leader = len(workers) == others""",
).replace(
    'with open("/work/done.new"',
    """if not leader:
    os.write(write, done.to_bytes(8, "little"))
    os._exit(0)
for pid in workers:
    done += 1 + int.from_bytes(os.read(read, 8), "little")
    os.waitpid(pid, 0)
with open("/work/done.new\"""",
)
# Creates cgroups below its own, moves into each, and forks there.
NESTER = FORKER.replace(
    "rate, done =",
    """
import ctypes
kind, options = {hierarchy}
assert ctypes.CDLL(None, use_errno=True).mount(b"none", b"/tmp", kind, 0, options) == 0, os.strerror(ctypes.get_errno())
mine = "/tmp" + [line.split(":", 2)[2] for line in open("/proc/self/cgroup").read().splitlines() if {line}][0]
made = 0
rate, done =""",
).replace(
    "        try:",
    """        if done % 100 == 0:
            here = f"{{mine}}/deep{{made % 50}}/deeper"
            made += 1
            os.makedirs(here, exist_ok=True)
            open(f"{{here}}/cgroup.procs", "w").write("0")
        try:""",
)


@contextmanager
def memory_cgroup(limit: int) -> Iterator[Path]:
    """A memory cgroup with that limit, bytes; removed at the end."""
    (mount,) = [place for place in leftovers.hierarchies() if (place / "memory.usage_in_bytes").exists() or is_unified(place)][
        :1
    ]
    folder = mount / f"forklore-test-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / ("memory.max" if is_unified(mount) else "memory.limit_in_bytes")).write_text(str(limit))
        yield folder
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        remove_cgroups(folder)


def is_unified(place: Path) -> bool:
    controllers = place / "cgroup.subtree_control"
    return controllers.exists() and "memory" in controllers.read_text().split()


def oom_kills(folder: Path) -> int:
    file = next(place for place in (folder / "memory.events", folder / "memory.oom_control") if place.exists())
    return int(re.findall(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)[0])


def peak_mib(agent: Agent) -> float:
    """The peak of the agent's resident memory."""
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    return int(re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[0]) / 1024


class Poller:
    """Requests the status endpoints all the time. `failed`: those without an answer; `slowest`: the longest answer, seconds."""

    def __init__(self, agent: Agent) -> None:
        self.asked = 0
        self.failed: list[str] = []
        self.slowest = 0.0
        self._agent = agent
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll)

    def __enter__(self) -> Poller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._over.wait(0.2):
            for path in ENDPOINTS:
                begun = time.monotonic()
                try:
                    with urllib.request.urlopen(f"http://{self._agent.status}{path}", timeout=PATIENCE) as answer:
                        answer.read()
                except OSError as error:
                    self.failed.append(f"{path}: {error}")
                self.slowest = max(self.slowest, time.monotonic() - begun)
                self.asked += 1


def adds_up(ledger: dict[str, Any], witness: Witness) -> bool:
    """Whether the counters and the kernel's workers add up to the growth of /proc/stat, which the kernel counts by itself."""
    (attach_before, attach_after), (now_before, now_after) = ledger["proc_stat"]["attach"], ledger["proc_stat"]["now"]
    counted = ledger["captured"] + ledger["kernel_workers"] + ledger["lost"]["recursion"]
    return now_before - attach_after - witness.unseen() <= counted <= now_after - attach_before


@pytest.fixture
def capture(pins: Path) -> dict[str, Any]:
    """With the default storm limit."""
    return {"pin": str(pins), "keep": False, "summary_interval": "2s"}


async def test_each_fork_of_a_fork_bomb_is_counted_and_another_pod_loses_none(
    scene: Scene, capsys: pytest.CaptureFixture[str], witness: Witness
) -> None:
    values = yaml.safe_load((ROOT / "charts/forklore/values.yaml").read_text())
    limit = int(values["agent"]["resources"]["limits"]["memory"].removesuffix("Mi")) << 20
    with memory_cgroup(limit) as folder:
        bomb, quiet = await scene.forker("bomb", 0, BOMB), await scene.forker("quiet", 100)
        within = ("sh", "-c", f'echo $$ >{folder}/cgroup.procs && exec "$@"', "sh")
        agent = await scene.start_agent(command=within)
        with Poller(agent) as poller:
            quiet.go()
            bomb.go()
            begun = time.monotonic()
            await has_forked(agent, bomb, BOMB_FORKS)
            seconds = time.monotonic() - begun
            made = await asyncio.to_thread(bomb.stop)

            async def is_over() -> Any:
                page = await scene.page(bomb)  # without storms while the collector does not know the pod
                return [storm for storm in page.get("storms", ()) if storm["state"] == "over"]

            (storm,) = await eventually(is_over, 30)
            made_quietly = await asyncio.to_thread(quiet.stop)
        counts = await asyncio.to_thread(agent.container, bomb.container.id)
        await caught_up(agent)
        peak = peak_mib(agent)
        oom_kill_count = oom_kills(folder)
        ledger = await asyncio.to_thread(agent.stop)
        bombing, other, node = await scene.pod(bomb), await scene.pod(quiet), await scene.node()
    rate, share = made / seconds, counts["suppressed"] / made
    with capsys.disabled():
        sys.stdout.write(f"\n{rate:,.0f} forks a second, {share:.1%} of them only counted; agent {peak:.0f} MiB at most; ")
        sys.stdout.write(f"slowest answer {poller.slowest:.2f} s\n")
    assert counts["processes"] == bombing["processes"] == made
    assert counts["suppressed"] == bombing["suppressed"] > made / 2
    assert counts["emitted"] + counts["suppressed"] == made
    assert bombing["delivered"] == counts["emitted"]
    assert storm["limit"] == LIMIT
    assert storm["counts"]["suppressed"] == counts["suppressed"], "one storm, from its start to its end"
    assert storm["totals"]["processes"] == counts["processes"]

    assert other["processes"] == other["delivered"] == made_quietly
    assert other["missing"] == {}
    assert other["storms_in_all"] == 0
    assert ledger["closed"]
    assert adds_up(ledger, witness)
    assert (node["missing"], node["received"]) == (0, node["given"])

    assert poller.asked > 5 * len(ENDPOINTS)
    assert poller.failed == []
    assert oom_kill_count == 0
    assert peak * 2**20 < limit


def read_counters(folder: Path) -> dict[int, CgroupCounters]:
    """Of pods in the pinned program instance, by cgroup, read without the agent."""
    (pin,) = folder.glob(f"*/{MAP_PINS['pod_counters']}")
    descriptor = load_libbpf().bpf_obj_get(os.fsencode(pin))
    assert descriptor >= 0
    try:
        items = BpfMap(descriptor, 8, CGROUP_COUNTERS.size, 2 * MAX_TRACKED).items()
        return {int.from_bytes(key, "little"): CgroupCounters._make(CGROUP_COUNTERS.unpack(value)) for key, value in items}
    finally:
        os.close(descriptor)


async def test_no_container_escapes_its_limit_or_fills_the_map_by_creating_cgroups(
    scene: Scene, capture: dict[str, Any], pins: Path, witness: Witness
) -> None:
    limit = capture["storm_limit"] = 500  # a second; far below the rate at which it forks, on a busy machine too
    here_is = hierarchy()
    kind, options = (b"cgroup", here_is.controller.encode()) if here_is.controller else (b"cgroup2", b"")
    mine = f'"{here_is.controller}" in line.split(":")[1].split(",")' if here_is.controller else 'line.startswith("0:")'
    script = NESTER.replace("{hierarchy}", repr((kind, options))).replace("{line}", mine)
    nester = await scene.forker("nester", 0, script, privileged=True)
    own = next(place for place in leftovers.directories(nester.container.cgroups_path) if place.is_relative_to(here_is.root))
    agent = await scene.start_agent()
    nester.go()
    await has_forked(agent, nester, 10_000)  # twice through all 50
    made = await asyncio.to_thread(nester.stop)
    nested = {path.stat().st_ino for path in own.rglob("*") if path.is_dir()}
    counters = read_counters(pins)
    counts = await asyncio.to_thread(agent.container, nester.container.id)
    await caught_up(agent)
    ledger = await asyncio.to_thread(agent.stop)
    pod = await scene.pod(nester)
    assert len(nested) == 100, "50 that it moved into, and their parents"
    assert not nested & counters.keys()
    assert counters[own.stat().st_ino].processes == counts["processes"] == pod["processes"] == made
    assert made > 2 * limit
    assert counts["suppressed"] > 0
    assert counts["emitted"] + counts["suppressed"] == made
    assert pod["delivered"] == counts["emitted"] <= limit * 2, "the limit, in two seconds"
    assert adds_up(ledger, witness)


async def test_forks_that_a_full_ring_lost_while_the_agent_was_stopped_are_declared_for_each_pod(
    scene: Scene, capture: dict[str, Any], witness: Witness
) -> None:
    capture |= {"ring_bytes": "64Ki", "storm_limit": 0}  # 256 forks
    forkers = [await scene.forker("cart", 300), await scene.forker("till", 900)]
    agent = await scene.start_agent()
    for forker in forkers:
        forker.go()
    await has_forked(agent, forkers[0], 100)
    agent.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(2)
    agent.process.send_signal(signal.SIGCONT)
    await asyncio.sleep(1)
    made = [await asyncio.to_thread(forker.stop) for forker in forkers]
    await caught_up(agent)
    ledger = await asyncio.to_thread(agent.stop)
    pods, node = [await scene.pod(forker) for forker in forkers], await scene.node()
    for pod, forks in zip(pods, made, strict=True):
        assert pod["processes"] == forks
        assert pod["lost"] > 100
        assert pod["delivered"] + pod["lost"] == forks
        assert pod["missing"] == {"ring_full": pod["lost"]}
    assert ledger["closed"]
    assert adds_up(ledger, witness)
    assert node["missing"] == node["explained"]["ring_full"] == ledger["lost"]["ring"] >= sum(pod["lost"] for pod in pods)
    assert node["unexplained"] == 0


@contextmanager
def without_the_second_cpu() -> Iterator[None]:
    """CPU 1 is offline, and online again afterwards, also when this process is killed."""
    # cgroup v1 removes an offline CPU from every cpuset, and never adds it again.
    cpusets = [
        place
        for mount in leftovers.hierarchies()
        for folder in leftovers.walk(mount)
        if (place := folder / "cpuset.cpus").exists()
    ]
    before = {place: place.read_text() for place in cpusets}
    safety = subprocess.Popen(["sh", "-c", f"sleep 30; echo 1 >{CPU}"], start_new_session=True)
    try:
        CPU.write_text("0")
        yield
    finally:
        CPU.write_text("1")
        for place, cpus in sorted(before.items(), key=lambda item: len(item[0].parts)):  # parents first
            with suppress(OSError):  # removed by now, or the root's, which the kernel restores
                place.write_text(cpus)
        os.killpg(safety.pid, signal.SIGKILL)
        safety.wait()


async def test_a_cpu_that_goes_offline_loses_no_fork_and_no_count(scene: Scene, witness: Witness) -> None:
    if not os.access(CPU, os.W_OK):
        pytest.skip("this machine has no CPU that can go offline")

    def ledgers_while_offline() -> list[dict[str, Any]]:
        with without_the_second_cpu():
            first = agent.get("/v1/ledger")
            time.sleep(0.7)
            return [first, agent.get("/v1/ledger")]

    forker = await scene.forker("cart", 500)
    agent = await scene.start_agent()
    os.sched_setaffinity(forker.container.pid, {1})
    forker.go()
    await asyncio.sleep(0.7)
    try:
        gone = await asyncio.to_thread(ledgers_while_offline)
    except OSError as error:
        pytest.skip(f"the CPU of this machine cannot go offline: {error.strerror}")
    os.sched_setaffinity(forker.container.pid, {1})
    await asyncio.sleep(0.7)
    made = await asyncio.to_thread(forker.stop)
    await caught_up(agent)
    ledger = await asyncio.to_thread(agent.stop)
    pod, node = await scene.pod(forker), await scene.node()
    heads = [one["heads"]["1"] for one in (*gone, ledger)]
    assert 0 < heads[0] == heads[1] < heads[2], "its counts are kept, and it continues from them"
    assert all(adds_up(one, witness) for one in (*gone, ledger))
    assert pod["processes"] == pod["delivered"] == made
    assert (node["missing"], node["received"]) == (0, node["given"])
    assert ledger["closed"]
