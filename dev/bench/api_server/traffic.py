"""The load of one agent on the API server: requests and bytes at the start, over a relist and in a quiet hour.

The real PodWatch and the official client against the stand-in, with pods as a real cluster had them. `python -m
dev.bench.api_server.traffic` runs it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from agent.attribution.pods import Pods
from agent.attribution.pods import watch as pod_watch_module
from agent.attribution.pods.watch import PodWatch
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster
from dev.demo.kubernetes.pod_objects import Json

PODS = 110  # kubelet's default limit
RECORDED = Path(__file__).parents[3] / "tests/data/kubernetes-1.36"
SPEEDUP = 100  # by which the quiet hour is shortened
BOOKMARKS_S = 60.0  # about a real server's interval
HOUR_S = 3600.0


@dataclass(frozen=True)
class Traffic:
    """`requests` by kind, as the server counts them; `sent`: bytes of the bodies it sent, uncompressed."""

    requests: Counter[str]
    sent: int

    def __sub__(self, before: Traffic) -> Traffic:
        return Traffic(self.requests - before.requests, self.sent - before.sent)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.requests.items()))
        return f"{self.requests.total():3} requests ({kinds}), {self.sent:,} bytes"


def traffic(api: KubernetesApi) -> Traffic:
    return Traffic(api.requests.copy(), api.bytes_sent)


def pods_as_recorded() -> list[Json]:
    """As many pods as a node holds, in the recorded shapes, each with a uid, a name and container ids of its own."""
    models = json.loads((RECORDED / "list-running.json").read_bytes())["items"]
    created = []
    for number in range(PODS):
        pod = copy.deepcopy(models[number % len(models)])
        pod["metadata"]["uid"] = f"{pod['metadata']['uid'][:-4]}{number:04x}"
        pod["metadata"]["name"] = f"{pod['metadata']['name'][:-3]}{number:03d}"
        for one in pod["status"]["containerStatuses"]:
            one["containerID"] = f"{one['containerID'][:-4]}{number:04x}"
        created.append(pod)
    return created


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  the condition has no event to wait for
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def watching(bookmarks: float) -> AsyncIterator[tuple[KubernetesApi, PodWatch, Pods]]:
    """A server, and an agent's watch on it that has received all its pods."""
    cluster, pods = Cluster(), Pods()
    for pod in pods_as_recorded():
        cluster.add_pod(pod)
    with tempfile.TemporaryDirectory() as folder:
        async with KubernetesApi(cluster, bookmarks=bookmarks) as api:
            api.write_kubeconfig(Path(folder) / "kubeconfig")
            watch = PodWatch(pods, "node1", Path(folder) / "kubeconfig")
            task = asyncio.create_task(watch.run())
            try:
                await until(lambda: len(pods) == PODS and api.requests["watch"])
                yield api, watch, pods
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def start_and_relist() -> tuple[Traffic, Traffic]:
    """Counted at one server: from nothing to watching, and from an expired version to watching again."""
    async with watching(BOOKMARKS_S) as (api, watch, pods):
        started = traffic(api)
        deleted = next(iter(api.cluster))["metadata"]["uid"]
        await api.stop()
        api.cluster.delete_pod(deleted)
        api.compact()
        await api.start()
        await until(lambda: len(pods) == PODS - 1 and api.requests["watch"] == 3)
        assert watch.requests["expired"] == 1
        return started, traffic(api) - started


async def quiet_hour() -> Traffic:
    """An hour in which no pod changes, with the intervals of server and agent shortened by SPEEDUP."""
    shortened = {name: getattr(pod_watch_module, name) / SPEEDUP for name in ("_WATCH_S", "_STABLE_S")}
    defaults = {name: getattr(pod_watch_module, name) for name in shortened}
    vars(pod_watch_module).update(shortened)
    try:
        async with watching(BOOKMARKS_S / SPEEDUP) as (api, watch, _):
            before = traffic(api)
            await asyncio.sleep(HOUR_S / SPEEDUP)
            assert set(watch.requests) == {"list", "watch"}, f"not a quiet hour: {watch.requests}"
            return traffic(api) - before
    finally:
        vars(pod_watch_module).update(defaults)


async def measure() -> None:
    started, relisted = await start_and_relist()
    hour = await quiet_hour()
    print(f"\nWhat the API server sees of one agent on a node with {PODS} pods in the shapes of a recorded cluster's\n")
    print(f"  start          {started}")
    print(f"  relist (410)   {relisted}")
    print(f"  a quiet hour   {hour}")
    least, most = pod_watch_module._WATCH_S, 2 * pod_watch_module._WATCH_S
    print(
        "\nBytes are of bodies before compression. Start and relist are counted as they happen. The hour is simulated, all of"
        f"\nits intervals {SPEEDUP} times shortened: a bookmark each {BOOKMARKS_S:.0f} s, and a new"
        f"\nwatch each {least} to {most} s. No pod changes in it; each change would add a line."
    )


def main() -> None:
    logging.getLogger(pod_watch_module.__name__).setLevel(logging.ERROR)  # a connection is lost on purpose
    asyncio.run(measure())


if __name__ == "__main__":
    main()
