"""What tests of delivery share: pods that count their forks, the stand-in API, the real collector behind a fault proxy."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import pytest

from dev.demo.containers.runtime import Container, Runtime
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster
from dev.demo.kubernetes.pod_objects import Pod
from tests.faults import FaultProxy

from .agent_process import Agent, until
from .witness import Witness

__all__ = [
    "FORKER",
    "Forker",
    "Scene",
    "caught_up",
    "eventually",
    "has_forked",
    "kill",
    "loop_mounted",
    "never_numbered",
    "open_scene",
]

NEARLY_NONE = 500  # events that `Agent.stop` delivers in a moment
# Forks at a rate (0: as fast as it can), from the marker `go` to the marker `stop`, then writes how often. To spawn a file that
# does not exist is one clone, whose child has exited and is reaped when the call returns: 60 us, where fork() of a Python takes
# ten times as long.
FORKER = """
import json, os, time
rate, done = {rate}, 0
open("/work/here", "w").close()
while not os.path.exists("/work/go"):
    time.sleep(0.02)
start = time.monotonic()
while not os.path.exists("/work/stop"):
    due = int((time.monotonic() - start) * rate) if rate else done + 1000
    while done < due:
        try:
            os.posix_spawn("/nothing", ["x"], {{}})
        except FileNotFoundError:
            done += 1
    if rate:
        time.sleep(0.005)
with open("/work/done.new", "w") as file:
    json.dump({{"forks": done, "seconds": time.monotonic() - start}}, file)
os.rename("/work/done.new", "/work/done")
time.sleep(600)
"""


@dataclass(frozen=True)
class Forker:
    """A pod with one container that forks, and counts its forks."""

    namespace: str
    name: str
    uid: str
    container: Container

    def go(self) -> None:
        (self.container.work / "go").touch()

    def stop(self) -> int:
        """Returns how often it has forked since `go`."""
        (self.container.work / "stop").touch()
        until((self.container.work / "done").exists, "the forker is done")
        return int(json.loads((self.container.work / "done").read_text())["forks"])


class Finish(NamedTuple):
    """The end of a test with one pod: how often it has forked, the agent's last ledger, and the collector's counts of the pod
    and of the node."""

    made: int
    ledger: dict[str, Any]
    pod: dict[str, Any]
    node: dict[str, Any]


class Scene:
    """A Kubernetes API and a collector behind a fault proxy. `start`: how agents are started; `capture`: their settings."""

    def __init__(self, cluster: Cluster, api: KubernetesApi, runtime: Runtime, collector: str, folder: Path) -> None:
        self.cluster = cluster
        self.api = api
        self.runtime = runtime
        self.collector = collector
        self.kubeconfig = folder / "kubeconfig"
        api.write_kubeconfig(self.kubeconfig)
        self.proxy: FaultProxy
        self.start: Callable[..., Agent]
        self.capture: dict[str, Any] = {}

    async def forker(self, name: str, rate: int, script: str = FORKER, *, privileged: bool = False) -> Forker:
        """A pod that is started, known to the API, and waits for `go`. `script`: with {rate}, what it runs."""
        uid, container_id = str(uuid.uuid4()), secrets.token_hex(32)
        self.cluster.add_pod(Pod("shop", name, uid, (("app", ("python3",)),), labels=(("app", name),)))
        command = ["/usr/bin/python3", "-c", script.format(rate=rate)]
        container = await asyncio.to_thread(
            self.runtime.start, command, pod_uid=uid, container_id=container_id, privileged=privileged
        )
        self.cluster.container_running(uid, "app", container_id)
        await asyncio.to_thread(until, (container.work / "here").exists, "the forker waits")
        return Forker("shop", name, uid, container)

    async def start_agent(self, *, command: tuple[str, ...] = (), wait: bool = True, **settings: Any) -> Agent:
        """`command`: runs it, as a prefix. `wait`: until it is ready. `settings`: besides those of the scene."""
        merged = {**self.settings(), "capture": self.capture, **settings}
        return await asyncio.to_thread(self.start, command, wait=wait, **merged)

    async def start_counting(self, forker: Forker, forks: int, **settings: Any) -> tuple[Agent, dict[str, Any]]:
        """Starts an agent, lets the pod fork, and waits until the agent has counted so many forks. Returns the agent and its
        ledger before the first fork."""
        agent = await self.start_agent(**settings)
        ledger = await asyncio.to_thread(agent.get, "/v1/ledger")
        forker.go()
        await has_forked(agent, forker, forks)
        return agent, ledger

    async def finish(self, agent: Agent, forker: Forker) -> Finish:
        """Stops the pod and, when everything is delivered, the agent."""
        made = await asyncio.to_thread(forker.stop)
        await caught_up(agent)
        ledger = await asyncio.to_thread(agent.stop)
        return Finish(made, ledger, await self.pod(forker), await self.node())

    async def get(self, path: str) -> Any:
        async with aiohttp.ClientSession() as http, http.get(f"{self.collector}{path}") as answer:
            return await answer.json()

    async def pod(self, forker: Forker) -> dict[str, Any]:
        """The collector's counts of the pod."""
        (pod,) = [pod for pod in (await self.get("/v1/pods"))["pods"] if pod["pod_uid"] == forker.uid]
        return dict(pod)

    async def page(self, forker: Forker) -> dict[str, Any]:
        """All that the collector has of the pod, with its storms and gaps."""
        return dict(await self.get(f"/v1/pods/{forker.namespace}/{forker.name}"))

    async def node(self) -> dict[str, Any]:
        """The collector's ledger of the node, with its streams."""
        (node,) = (await self.get("/v1/ledger"))["nodes"]
        return dict(node)

    def settings(self, **sink: Any) -> dict[str, Any]:
        """The agent's settings: all events go through the proxy."""
        one = {"name": "collector", "url": self.proxy.url("/v1/events"), "batch": {"wait": "200ms"}, **sink}
        return {"kubernetes": {"kubeconfig": str(self.kubeconfig), "wait": "2s"}, "sinks": [one]}


@asynccontextmanager
async def open_scene(runtime: Runtime, folder: Path, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scene]:
    """`tls`: of the proxy."""
    from collector.server.app import running_collector  # noqa: PLC0415  the guests of make kernels have no store
    from collector.settings import Settings  # noqa: PLC0415

    cluster = Cluster()
    store = f"chdb://{folder}/store"
    async with KubernetesApi(cluster) as api, running_collector(Settings(listen="127.0.0.1:0", store=store)) as url:
        here = Scene(cluster, api, runtime, url, folder)
        address = urlsplit(url)
        with FaultProxy((str(address.hostname), int(address.port or 0)), tls=tls) as here.proxy:
            yield here


async def eventually(what: Any, seconds: float = 60.0) -> Any:
    """Waits until an awaitable function returns something true, and returns that."""
    async with asyncio.timeout(seconds):
        while not (found := await what()):  # noqa: ASYNC110  it asks another process
            await asyncio.sleep(0.2)
        return found


def never_numbered(node: dict[str, Any], witness: Witness) -> dict[str, int]:
    """The node's forks without a number, by reason; without those that the witness has not seen either (decision 0010)."""
    reasons = dict(node["never_numbered"])
    unseen = reasons.pop("unseen", 0)
    assert unseen <= witness.unseen_at_most()
    return reasons


async def caught_up(agent: Agent, sink: str = "collector", seconds: float = 60.0) -> None:
    """Waits until no former program instance is left and the sink has delivered nearly everything. Some events are always
    queued, because other processes of this machine fork, too; `Agent.stop` delivers them."""

    async def it_has() -> bool:
        ledger = await asyncio.to_thread(agent.get, "/v1/ledger")
        state, queued = ledger["sinks"][sink]["state"], sum(ledger["sinks"][sink]["queued"].values())
        return not ledger["former"] and state.startswith("accepted") and queued < NEARLY_NONE

    await eventually(it_has, seconds)


async def has_forked(agent: Agent, forker: Forker, times: int) -> None:
    """Waits until the agent has counted that many forks, or more."""
    await asyncio.to_thread(until, lambda: agent.container(forker.container.id)["processes"] >= times, f"{times} forks")


def kill(agent: Agent) -> None:
    """With SIGKILL."""
    agent.process.kill()
    agent.process.wait()


@contextmanager
def loop_mounted(folder: Path) -> Iterator[Path]:
    """Mounts a new ext4 from a file; it becomes read-only after an error."""
    image, place = folder / "image", folder / "mounted"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", "-F", image], capture_output=True, check=False)
    mounted = subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, place], capture_output=True, check=False)
    if made.returncode or mounted.returncode:
        pytest.skip(f"no file system can be mounted from a file here: {(made.stderr + mounted.stderr).decode()}")
    try:
        yield place
    finally:
        if place.is_mount():
            subprocess.run(["umount", "--lazy", place], check=True)
