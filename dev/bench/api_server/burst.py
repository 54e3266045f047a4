"""A hundred real agents' PodWatch over real HTTP: start, broken streams, an outage; and the same, simulated.

The counts of the stand-in server and of the arithmetic are printed side by side. `fleet` has the 5,000.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from agent.attribution.pods import Pods
from agent.attribution.pods import watch as pod_watch_module
from agent.attribution.pods.watch import PodWatch
from dev.bench.api_server import virtual_time
from dev.bench.api_server.servers import ApiServers, Costs, pod_watch_uses
from dev.bench.api_server.traffic import pods_as_recorded, until
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster
from dev.demo.kubernetes.pod_objects import Json

STABLE_S: Final = pod_watch_module._STABLE_S + 1
AWAY_S: Final = 3.0  # long enough for three or four tries
STEPS: Final = ("they start", "all streams break", f"{AWAY_S:.0f} s without a server, and its past gone")


class StepCounts(NamedTuple):
    """Of all agents in one step: requests that reached a server, and the bytes that it sent. `refused`: connections."""

    lists: int
    watches: int
    refused: int
    sent: int


def pods_of(node: str, count: int) -> list[Json]:
    """Pods as pods_as_recorded has them, on a node of this name."""
    pods_of_node = []
    for number, model in enumerate(pods_as_recorded()[:count]):
        pod = copy.deepcopy(model)
        pod["metadata"]["uid"] = f"{pod['metadata']['uid'][:-12]}{node[-8:]:0>8}{number:04x}"
        pod["metadata"]["name"] = f"{pod['metadata']['name'][:-3]}{number:03d}"
        pod["spec"]["nodeName"] = node
        pods_of_node.append(pod)
    return pods_of_node


def body_of(pods: int) -> bytes:
    """The body of a list of one node's pods."""
    return json.dumps({"kind": "PodList", "items": pods_of("node1", pods)}, separators=(",", ":")).encode()


class Server:
    """The fake API server and its agents, all on one loop, so only counts are measured, and no times."""

    def __init__(self, api: KubernetesApi, watches: list[PodWatch]) -> None:
        self._api = api
        self._watches = watches
        self._before = StepCounts(0, 0, 0, 0)

    async def step_counts(self, lists: int, watches: int) -> StepCounts:
        """The counts since the last call, when so many requests have arrived, and another half second without more has
        passed."""
        api = self._api
        await until(lambda: api.requests["list"] >= lists and api.requests["watch"] >= watches)
        await asyncio.sleep(0.5)
        refused = sum(one.requests.get("ClientConnectorError", 0) for one in self._watches)
        now = StepCounts(api.requests["list"], api.requests["watch"], refused, api.bytes_sent)
        new = StepCounts(*(after - before for after, before in zip(now, self._before, strict=True)))
        self._before = now
        return new


async def run_over_http(agents: int, pods: int) -> list[StepCounts]:
    """The counts of each step."""
    cluster = Cluster()
    for number in range(agents):
        for pod in pods_of(f"node{number}", pods):
            cluster.add_pod(pod)
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        async with KubernetesApi(cluster) as api:
            api.write_kubeconfig(kubeconfig)
            watches = [PodWatch(Pods(), f"node{number}", kubeconfig) for number in range(agents)]
            tasks = [asyncio.create_task(watch.run()) for watch in watches]
            server = Server(api, watches)
            try:
                found = [await server.step_counts(agents, agents)]
                await asyncio.sleep(STABLE_S)
                api.drop_connections()
                found.append(await server.step_counts(agents, 2 * agents))
                await asyncio.sleep(STABLE_S)
                await api.stop()
                cluster.delete_pod(next(iter(cluster))["metadata"]["uid"])
                api.compact()
                await asyncio.sleep(AWAY_S)
                await api.start()
                found.append(await server.step_counts(2 * agents, 4 * agents))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def simulate(agents: int, list_bytes: int) -> list[StepCounts]:
    """The same steps in virtual time."""
    api, found = ApiServers(1, Costs(list_bytes, 0.001, 0.001)), []

    async def step(act: Callable[[], None], away: float | None = None) -> None:
        first = len(api.seen)
        act()
        if away is not None:
            await asyncio.sleep(away)
            api.start()
        await asyncio.sleep(20)  # of no real time
        kinds = Counter(one.kind for one in api.seen[first:])
        sent = sum(one.sent for one in api.seen[first:])
        found.append(StepCounts(kinds["list"], kinds["watch"] + kinds["watch (410)"], kinds["refused"], sent))

    with pod_watch_uses(api):
        tasks: list[asyncio.Task[None]] = []
        await step(lambda: tasks.extend(asyncio.create_task(PodWatch(Pods(), f"{n}", None).run()) for n in range(agents)))
        await step(api.cut)
        await step(api.stop, AWAY_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


def compare(agents: int, pods: int, list_bytes: int) -> str:
    random.seed(23)
    lines = [f"\n{agents} agents over real HTTP, and simulated: lists, watches, refused connections, MB sent\n"]
    for name, real, ours in zip(
        STEPS, asyncio.run(run_over_http(agents, pods)), virtual_time.run(simulate(agents, list_bytes)), strict=True
    ):
        columns = (f"{one.lists:>5} {one.watches:>5} {one.refused:>5} {one.sent / 1e6:>6.1f}" for one in (real, ours))
        lines.append(f"{name:42} {'   |'.join(columns)}")
    return "\n".join(lines)
