"""The attacks on an agent: by strangers at its status port, by containers, and by what they made before it starts."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp

from dev.attack import cgroups, strangers
from dev.attack import containers as hostile
from dev.attack.certificates import Certificates
from dev.attack.cluster import Node, eventually, open_node
from dev.attack.measure import attack
from dev.attack.servers import Server, running

__all__ = ["among_deep_directories", "among_directories", "containers", "strangers_only"]

PART: Final = "agent"
POD: Final = "/kubepods/burstable/podaaaaaaaa-0000-4000-8000-{0:012x}/{0:064x}"
UNITS: Final = 8  # of the storm in which each stays below the limit


async def strangers_only(folder: Path, *, tls: bool) -> None:
    """At the status port. Others are the kubelet's checks. `tls`: on request."""
    certificates = Certificates(folder) if tls else None
    settings: dict[str, object] = {
        "kubernetes": {"enabled": False}, "state_dir": str(folder / "state"), "capture": {"pin": None},
    }  # fmt: skip
    if certificates:
        settings |= {"status_cert_file": str(certificates.file), "status_key_file": str(certificates.key)}
    async with (
        running(PART, folder, settings, certificates and certificates.client()) as server,
        aiohttp.ClientSession(connector=server.connector()) as http,
    ):

        async def ask() -> int:
            async with http.get(f"{server.url}/healthz", timeout=aiohttp.ClientTimeout(total=10)) as answer:
                return answer.status

        await attack("half-open requests", server, ask, partial(strangers.half_open, server))
        await attack("idle connections", server, ask, partial(strangers.idle, server))


async def containers(folder: Path, storm_s: float) -> None:
    """And loops outside pods; `storm_s`: seconds of each."""
    async with open_node(folder) as node, node.agent() as server:
        await eventually(partial(node.is_ready, server))
        for name, run in {
            "34,000 cgroups by a container": partial(hostile.flood, node, server),
            "a pod's path outside the kubelet's root": partial(hostile.another_path, node, server),
            "a storm in a unit outside pods": partial(hostile.storm, node, server, 1, storm_s),
            f"a storm in {UNITS} units outside pods": partial(hostile.storm, node, server, UNITS, storm_s),
            "a container where each fork is new": partial(hostile.uniqueness, node, server),
        }.items():
            await attack(name, server, partial(node.ask, server), run)


async def among_deep_directories(folder: Path) -> None:
    """An agent that starts when a container's process is in a cgroup with a path longer than PATH_MAX."""
    async with open_node(folder) as node:
        pod = await hostile.deep_pod(node)
        with hostile.removed(pod):
            async with node.agent() as server:
                await eventually(partial(node.is_ready, server))
                await attack(
                    "a path longer than PATH_MAX", server, partial(node.ask, server), partial(hostile.deep, node, server, pod)
                )


async def among_directories(folder: Path, count: int) -> None:
    """An agent that starts when a container has made so many cgroups."""
    with cgroups.made(POD.format(count)) as container:
        cgroups.directories(container, count)
        async with open_node(folder) as node:
            begun = time.monotonic()
            async with node.agent() as server:
                run = partial(_becomes_ready, node, server, begun)
                await attack(f"{count:,} cgroups before a start", server, partial(node.ask, server), run, begun)


async def _becomes_ready(node: Node, server: Server, begun: float) -> str:
    await eventually(partial(node.is_ready, server))
    seconds = time.monotonic() - begun
    unread = (await node.metrics(server))["forklore_unread_cgroups"]
    return f"ready {seconds:.1f} s after its start; {unread:,.0f} directories left out, and counted"
