"""Attacks of containers, and of loops outside pods, on the record of the pods beside them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dev.attack import cgroups
from dev.attack.cluster import AttackedPod, Node, eventually
from dev.attack.servers import Server
from dev.demo.containers import leftovers

__all__ = ["another_path", "deep", "deep_pod", "flood", "removed", "storm", "uniqueness"]

FLOOD: Final = 34_000
BESIDE: Final = 100  # forks a second of the pod beside an attack
LATE: Final = 20_000  # forks of a pod that comes after the flood
DEEP, LONG, DEEP_FORKS = 24, 200, 7_993  # nested directories, characters of each, forks in the innermost
CLAIMED: Final = 500  # forks below a path that claims to be another pod's
UNIQUE: Final = 30_000  # forks, each with a new name
# A loop outside pods: forks so often, or until something is on its standard input, then prints how often.
LOOP: Final = """
import os, select, sys
done, most = 0, int(sys.argv[1])
while done < most and not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(min(200, most - done)):
        try:
            os.posix_spawn("/nothing", ["x"], {})
        except FileNotFoundError:
            done += 1
print(done)
"""


async def flood(node: Node, agent: Server) -> str:
    """A privileged container makes 34,000 cgroups, and moves through some. A pod that comes after has its storm limit."""
    script = cgroups.container_script()
    make = f"for number in range({FLOOD}):\n    os.mkdir(f'{{mine}}/x{{number}}')"
    move = f"open(f'{{mine}}/x{{done * 7 % {FLOOD}}}/cgroup.procs', 'w').write('0')"
    hostile = await node.pod("flood", rate=BESIDE, before=script, first=make, each=move, privileged=True)
    with removed(hostile):
        async with _beside(node, agent) as beside:
            before = await node.go(agent, hostile)
            await _has_begun(node, agent, hostile, before)
            late = await node.pod("late", most=LATE)
            its = await node.accounted(agent, late, await node.go(agent, late))
            hostile.stop()
            own = await node.accounted(agent, hostile, before)
        fills = {key: value for key, value in (await node.metrics(agent)).items() if "table_fill_ratio" in key}
        folded = (await node.metrics(agent))["forklore_folded_cgroups"]
    return (
        f"{FLOOD:,} made, {folded:,.0f} folded; fullest table {max(fills.values()):.0%}; its own forks: {_counts(own)}; a late "
        f"pod: {_counts(its)}; {beside.outcome}"
    )


async def deep(node: Node, agent: Server, hostile: AttackedPod) -> str:
    """The forks of a process whose cgroup's path is longer than PATH_MAX. `hostile`: from `deep_pod`."""
    async with _beside(node, agent) as beside:
        hostile.go()
        own = await node.accounted(agent, hostile, 0)
    walks = (await node.metrics(agent))["forklore_cgroup_walks_total"]
    return f"{DEEP} directories of {LONG} characters; its forks: {_counts(own)}; {walks:.0f} walks more; {beside.outcome}"


async def deep_pod(node: Node) -> AttackedPod:
    """A pod whose process is in a cgroup of such a path already. Its cgroups must be removed with `removed`."""
    nest = f"""
os.chdir(mine)
for _ in range({DEEP}):
    os.mkdir("d" * {LONG})
    os.chdir("d" * {LONG})
open("cgroup.procs", "w").write("0")
"""
    return await node.pod("deep", most=DEEP_FORKS, before=cgroups.container_script() + nest, privileged=True)


async def another_path(node: Node, agent: Server) -> str:
    """Processes outside the kubelet's root whose cgroups' paths claim to be a pod's."""
    async with _beside(node, agent) as beside:
        container = beside.pod.container  # its count must not grow by these forks
        above = ("/user.slice/user-1000.slice/user@1000.service", f"/docker-{container.id}.scope")
        for prefix in above:
            with cgroups.made(prefix + container.cgroups_path) as folder:
                await (await _start_loop(folder, CLAIMED)).communicate()
    return f"{CLAIMED} forks in each of {len(above)} paths; {beside.outcome}"


async def storm(node: Node, agent: Server, units: int, seconds: float) -> str:
    """Loops outside pods that fork as fast as they can, one in each of so many systemd units."""
    before = await node.metrics(agent)
    async with _beside(node, agent) as beside:
        with ExitStack() as stack:
            root = f"/forklore-attack-{os.getpid()}.slice"
            stack.enter_context(cgroups.made(root))
            places = [stack.enter_context(cgroups.made(f"{root}/storm{number}.service")) for number in range(units)]
            loops = [await _start_loop(place) for place in places]
            try:
                await asyncio.sleep(seconds)
            finally:
                ended = await asyncio.gather(*(loop.communicate(b"\n") for loop in loops))
            made = sum(int(output) for output, _ in ended)
    after = await node.metrics(agent)
    suppressed, lost = (
        after[key] - before[key] for key in ("forklore_suppressed_forks_total", "forklore_lost_forks_total{reason=ring}{sink=}")
    )
    reported = f"{made:,} forks, {made / seconds:,.0f} a second; {suppressed:,.0f} only counted, {lost:,.0f} lost by the ring"
    return f"{reported}; {beside.outcome}"


async def uniqueness(node: Node, agent: Server) -> str:
    """A container with a new name for each fork."""
    rename = "libc.prctl(15, b'x%d' % done)"
    hostile = await node.pod("unique", most=UNIQUE, each=rename)
    async with _beside(node, agent) as beside:
        own = await node.accounted(agent, hostile, await node.go(agent, hostile))
    return f"its forks: {_counts(own)}; {beside.outcome}"


@dataclass
class _Beside:
    """A quiet pod; `outcome` is what became of its forks, afterwards."""

    pod: AttackedPod
    outcome: str = ""


@asynccontextmanager
async def _beside(node: Node, agent: Server) -> AsyncIterator[_Beside]:
    """A pod that forks 100 times a second while the block runs."""
    beside = _Beside(await node.pod("beside", rate=BESIDE))
    before = await node.go(agent, beside.pod)
    yield beside
    beside.pod.stop()
    beside.outcome = f"the pod beside: {_counts(await node.accounted(agent, beside.pod, before))}"


def _counts(counts: Mapping[str, int]) -> str:
    """Of `Node.accounted`, in words."""
    reported = [f"{counts['made']:,} made, {counts['processes']:,} counted, {counts['delivered']:,} delivered"]
    reported += [
        f"{counts[what]:,} {word}" for what, word in (("suppressed", "only counted"), ("lost", "lost")) if counts[what]
    ]
    if counts["stored"] != counts["made"]:
        reported.append(f"{counts['stored']:,} in the collector's count")
    return ", ".join(reported)


@contextmanager
def removed(pod: AttackedPod) -> Iterator[None]:
    """Ends the processes of its container and removes the cgroups that it has made, at the end."""
    try:
        yield
    finally:
        leftovers.kill_processes(pod.container.cgroups_path)
        for folder in leftovers.directories(pod.container.cgroups_path):
            cgroups.remove_below(folder)


async def _has_begun(node: Node, agent: Server, pod: AttackedPod, before: int) -> None:
    """Waits until the agent has counted more forks of it than `before`: what it does first is done."""

    async def it_has() -> bool:
        return bool((await node.counts(agent, pod)).get("processes", 0) > before)

    await eventually(it_has)


async def _start_loop(folder: Path, most: int = 10**9) -> asyncio.subprocess.Process:
    """In the cgroup, which its shell enters."""
    script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    command = ("sh", "-c", script, str(folder), sys.executable, "-c", LOOP, str(most))
    return await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
