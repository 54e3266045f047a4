"""The CPU time of forklore's own collector for a fork and for a summary.

The real collector with its embedded store runs in a process of its own, and receives the batches of a hundred nodes' agents.
`python -m dev.bench.ingest` runs it, in some minutes. `store` measures reading.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp

from agent.model import NO_CGROUP, Batch
from dev.bench.processes import cpu_s, rss_mib
from dev.bench.volume import BATCHES, Traffic, batches, build_sink_format
from dev.demo.children import Child, free_port

NODES = 100
FORKS = 200_000  # per round; a quarter of them with small batches, which cost more
ROUNDS = 3  # in turns, so that a busy machine affects all alike
ORDINARY = 50  # forks per second of an ordinary node
INTERVALS = 10  # of summaries, each in a batch of its own
Posts = list[list[Batch]]  # by node


class Cost(NamedTuple):
    """`us`: the collector's CPU time per event, microseconds. `rss_mib`: its memory afterwards."""

    us: float
    rss_mib: float


def streams() -> Iterator[str]:
    return (f"0ac846b9-54b9-46db-ad41-e0a5f64de594.{number:016x}" for number in range(NODES))


def forks(traffic: Traffic, size: int) -> Posts:
    """Each fork has an id of its own: the collector would not insert a duplicate."""
    form, each = build_sink_format("native"), (FORKS if size > 50 else FORKS // 4) // NODES
    forks_of_node = [fork._replace(sequence=index) for index, fork in enumerate(traffic.forks[:each])]
    return [batches(form, form.encoder.forks(stream, forks_of_node), [0] * each, size) for stream in streams()]


def summaries(traffic: Traffic, _size: int) -> Posts:
    form, posts = build_sink_format("native"), []
    for stream in streams():
        intervals = [*itertools.islice(traffic.summaries_of(stream), INTERVALS)]
        items = [form.encoder.event(event) for events in intervals for event in events]
        posts.append(batches(form, items, [NO_CGROUP] * len(items), len(intervals[0])))
    return posts


async def post(http: aiohttp.ClientSession, url: str, node_batches: Sequence[Batch], every: float) -> int:
    """Posts one node's batches; returns how many events were accepted. `every`: seconds between two batches; 0: none."""
    accepted = 0
    await asyncio.sleep(random.random() * every)  # noqa: S311
    for batch in node_batches:
        next_at = time.monotonic() + every
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        while True:
            async with http.post(url, data=batch.body, headers=headers) as answer:
                if answer.status != 503:  # too many at once: an agent retries, too
                    answer.raise_for_status()
                    accepted += (await answer.json())["accepted"]
                    break
            await asyncio.sleep(1)
        await asyncio.sleep(next_at - time.monotonic())
    return accepted


async def wait_until_up(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                async with http.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def measure(posts: Posts, every: float) -> Cost:
    count = sum(batch.events for node_batches in posts for batch in node_batches)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port(19_910)
        settings = {"listen": f"127.0.0.1:{port}", "store": f"chdb://{folder}/store"}
        child = await Child.start("collector", settings, Path(folder))
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=NODES)) as http:
                url = f"http://127.0.0.1:{port}"
                await wait_until_up(http, f"{url}/healthz")
                before = cpu_s(child.process.pid)
                accepted = sum(await asyncio.gather(*(post(http, f"{url}/v1/events", own, every) for own in posts)))
                assert accepted == count, f"{accepted} of {count} accepted"
                spent, memory = cpu_s(child.process.pid) - before, rss_mib(child.process.pid)
        finally:
            await child.stop(10)
    return Cost(spent / count * 1e6, memory)


def main() -> None:
    traffic = Traffic()
    print(f"forklore's collector, embedded store, native, gzip, {NODES} nodes at once; least of {ROUNDS} rounds (most)\n")
    print(f"{'':26} {'us CPU each':>16} {'a second a core':>16} {'RSS MiB':>8}")
    rounds: list[tuple[str, Callable[[Traffic, int], Posts], int, float]]
    rounds = [(f"forks, {size} a batch", forks, size, 0) for size in BATCHES]
    rounds += [(f"forks, {ORDINARY} a second", forks, ORDINARY, 1), ("summaries", summaries, 0, 0)]
    costs: dict[str, list[Cost]] = {name: [] for name, *_ in rounds}
    for _ in range(ROUNDS):
        for name, make_posts, size, every in rounds:
            costs[name].append(asyncio.run(measure(make_posts(traffic, size), every)))
    for name, measured in costs.items():
        least, most = min(cost.us for cost in measured), max(cost.us for cost in measured)
        spread, memory = f"{least:.1f} ({most:.1f})", statistics.median(cost.rss_mib for cost in measured)
        print(f"{name:26} {spread:>16} {1e6 / least:>16,.0f} {memory:>8.0f}")


if __name__ == "__main__":
    main()
