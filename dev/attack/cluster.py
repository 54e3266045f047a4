"""A node to attack: a stand-in for the Kubernetes API, pods with real containers, a collector, and the agent."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from dev.attack.servers import Server, running
from dev.demo.containers.runtime import Container, Runtime
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster
from dev.demo.kubernetes.pod_objects import Pod

__all__ = ["AttackedPod", "Node", "eventually", "open_node"]

ANSWER_S: Final = 30.0
PATIENCE_S: Final = 90.0
COMPLETE_S: Final = 45.0
NODE: Final = "node1"
# From the marker `go` to the marker `stop`, or `most` times: forks at a rate (0: as fast as it can), then writes how often. To
# spawn a file that does not exist is one clone, whose child is reaped when the call returns.
FORKER: Final = """
import ctypes, os, time
libc, rate, most, done = ctypes.CDLL(None, use_errno=True), {rate}, {most}, 0
{before}
open("/work/here", "w").close()
while not os.path.exists("/work/go"):
    time.sleep(0.02)
{first}
begun = time.monotonic()
while done < most and not os.path.exists("/work/stop"):
    due = min(most, int((time.monotonic() - begun) * rate) if rate else done + 1000)
    while done < due:
        {each}
        try:
            os.posix_spawn("/nothing", ["x"], {{}})
        except FileNotFoundError:
            done += 1
    if rate:
        time.sleep(0.005)
with open("/work/done.new", "w") as file:
    file.write(str(done))
os.rename("/work/done.new", "/work/done")
time.sleep(3600)
"""


@dataclass(frozen=True)
class AttackedPod:
    """A pod with one container, which counts its forks itself."""

    name: str
    uid: str
    container: Container

    def go(self) -> None:
        """The agent was started after it."""
        (self.container.work / "go").touch()

    def stop(self) -> None:
        (self.container.work / "stop").touch()

    async def result(self) -> int:
        """How often it has forked, once it is done."""
        done = self.container.work / "done"
        await eventually(partial(asyncio.to_thread, done.exists))
        return int(await asyncio.to_thread(done.read_text))


class Node:
    """Pods, and what agent and collector report about them."""

    def __init__(
        self, cluster: Cluster, runtime: Runtime, http: aiohttp.ClientSession, collector: Server, folder: Path
    ) -> None:
        self._cluster, self._runtime, self._http, self._collector, self._folder = cluster, runtime, http, collector, folder

    async def pod(
        self,
        name: str,
        *,
        rate: int = 0,
        most: int = 10**9,
        before: str = "",
        first: str = "",
        each: str = "pass",
        privileged: bool = False,
    ) -> AttackedPod:
        """A pod that waits for `go`. `before`, `first`, `each`: what it does before it waits, after, and before each fork."""
        uid, container_id = str(uuid.uuid4()), secrets.token_hex(32)
        self._cluster.add_pod(Pod("shop", name, uid, (("app", ("python3",)),), node=NODE))
        script = FORKER.format(rate=rate, most=most, before=before, first=first, each=each)
        command = ["/usr/bin/python3", "-c", script]
        container = await asyncio.to_thread(
            self._runtime.start, command, pod_uid=uid, container_id=container_id, privileged=privileged
        )
        self._cluster.container_running(uid, "app", container_id)
        await eventually(partial(asyncio.to_thread, (container.work / "here").exists))
        return AttackedPod(name, uid, container)

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Server]:
        """As the chart configures it, without pins: the machine's own agent, if there is one, keeps its capture."""
        settings = {
            "node": NODE, "cluster": "attack", "state_dir": str(self._folder / "state"),
            "kubernetes": {"kubeconfig": str(self._folder / "kubeconfig")},
            "capture": {"pin": None, "summary_interval": "2s"},
            "sinks": [{"name": "collector", "url": f"{self._collector.url}/v1/events", "batch": {"wait": "200ms"}}],
        }  # fmt: skip
        async with running("agent", self._folder, settings) as server:
            yield server

    async def ask(self, server: Server, path: str = "/healthz") -> int:
        """The status of the answer."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with self._http.get(f"{server.url}{path}", timeout=timeout) as answer:
            return answer.status

    async def is_ready(self, server: Server) -> bool:
        with suppress(aiohttp.ClientError, TimeoutError):
            return await self.ask(server, "/readyz") == 200
        return False

    async def metrics(self, server: Server) -> dict[str, float]:
        """By name, and labels in their order as in `name{label=value}`."""
        async with self._http.get(f"{server.url}/metrics", timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as answer:
            text = await answer.text()
        samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
        return {
            one.name + "".join(f"{{{key}={value}}}" for key, value in sorted(one.labels.items())): one.value for one in samples
        }

    async def counts(self, agent: Server, pod: AttackedPod) -> dict[str, Any]:
        """What the agent counts for its container; empty while it does not know it."""
        pods = (await self._json(f"{agent.url}/v1/pods"))["pods"]
        return next((one for one in pods if one["container_id"] == pod.container.id), {})

    async def go(self, agent: Server, pod: AttackedPod) -> int:
        """Lets it fork. How many forks the agent has counted for it before: runc's, which start the container."""
        named = await eventually(partial(self._named, agent, pod))
        pod.go()
        return int(named["processes"])

    async def accounted(self, agent: Server, pod: AttackedPod, before: int) -> dict[str, int]:
        """Waits until each fork that the agent counts for the pod is delivered, suppressed or lost; those numbers, what the pod
        itself counts as `made`, and what the collector counts as `stored`. `before`: from `go`."""
        made = await pod.result() + before

        async def numbers() -> dict[str, int]:
            counts = await self.counts(agent, pod)
            found = {key: counts.get(key, 0) for key in ("processes", "suppressed", "lost")}
            delivered = counts.get("delivered", {}).get("collector", 0)
            return found | {"made": made, "delivered": delivered, "stored": await self._stored(pod)}

        async def is_complete() -> dict[str, int] | None:
            found = await numbers()
            booked = found["delivered"] + found["suppressed"] + found["lost"] >= found["processes"] > 0
            return found if booked and found["stored"] >= found["processes"] else None

        with suppress(TimeoutError):
            return dict(await eventually(is_complete, COMPLETE_S))
        sink = (await self._json(f"{agent.url}/v1/ledger"))["sinks"]["collector"]
        print(f"{pod.name}: not all delivered after {COMPLETE_S:.0f} s: {sink}", file=sys.stderr)
        return await numbers()

    async def _named(self, agent: Server, pod: AttackedPod) -> dict[str, Any]:
        """Empty while the agent does not know the pod's name."""
        counts = await self.counts(agent, pod)
        return counts if counts.get("pod") == pod.name else {}

    async def _stored(self, pod: AttackedPod) -> int:
        """Forks that the collector counts for the pod."""
        pods = (await self._json(f"{self._collector.url}/v1/pods"))["pods"]
        return next((int(one["processes"]) for one in pods if one["pod_uid"] == pod.uid), 0)

    async def _json(self, url: str) -> Any:  # noqa: ANN401  a document
        async with self._http.get(url, timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as answer:
            return await answer.json()


@asynccontextmanager
async def open_node(folder: Path) -> AsyncIterator[Node]:
    """Without an agent yet."""
    cluster = Cluster()
    with Runtime(folder / "containers") as runtime:
        async with (
            KubernetesApi(cluster) as api,
            running("collector", folder, {"store": f"chdb://{folder}/store"}) as collector,
            aiohttp.ClientSession() as http,
        ):
            api.write_kubeconfig(folder / "kubeconfig")
            yield Node(cluster, runtime, http, collector, folder)


async def eventually(what: Callable[[], Awaitable[Any]], seconds: float = PATIENCE_S) -> Any:  # noqa: ANN401  what it gives
    """Waits until it gives something true, and returns that. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(aiohttp.ClientError, TimeoutError):
            if found := await what():
                return found
        await asyncio.sleep(0.1)
    raise TimeoutError(f"not within {seconds:.0f} s")
