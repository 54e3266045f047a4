"""What a fork and a summary cost forklore's own collector: CPU of its process.

The real collector with its embedded store, in a process of its own, takes what the agents of a hundred nodes would post.
`python -m dev.bench.ingest` runs it, in a minute. Reading is in `store`.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp

from agent.model import NO_CGROUP, Batch
from dev.bench.__main__ import cpu_s, rss_mib
from dev.bench.volume import BATCHES, Traffic, batches, build_sink_format
from dev.demo.children import Child, free_port

NODES = 100
FORKS = 200_000  # of each round; a quarter where batches are small, which cost more
ORDINARY = 50  # of an ordinary node, a second
INTERVALS = 10  # of summaries, each a batch of its own
Posts = list[list[Batch]]  # by node


class Cost(NamedTuple):
    """`us`: CPU of the collector an event; `rss_mib`: its memory after it."""

    us: float
    rss_mib: float


def streams() -> Iterator[str]:
    return (f"0ac846b9-54b9-46db-ad41-e0a5f64de594.{number:016x}" for number in range(NODES))


def forks(traffic: Traffic, size: int) -> Posts:
    """None comes twice: the collector would not file it."""
    how, each = build_sink_format("native"), (FORKS if size > 50 else FORKS // 4) // NODES
    mine = [fork._replace(sequence=at) for at, fork in enumerate(traffic.forks[:each])]
    return [batches(how, how.encoder.forks(stream, mine), [0] * each, size) for stream in streams()]


def summaries(traffic: Traffic, _size: int) -> Posts:
    how, posts = build_sink_format("native"), []
    for stream in streams():
        intervals = [*itertools.islice(traffic.summaries_of(stream), INTERVALS)]
        items = [how.encoder.event(event) for events in intervals for event in events]
        posts.append(batches(how, items, [NO_CGROUP] * len(items), len(intervals[0])))
    return posts


async def post(http: aiohttp.ClientSession, url: str, mine: Sequence[Batch], every: float) -> int:
    """`every`: s between them, not all nodes at one moment; 0: as fast as they are taken. How many were."""
    taken = 0
    await asyncio.sleep(random.random() * every)  # noqa: S311
    for batch in mine:
        again = time.monotonic() + every
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        while True:
            async with http.post(url, data=batch.body, headers=headers) as answer:
                if answer.status != 503:  # too many at once: an agent, too, comes again
                    answer.raise_for_status()
                    taken += (await answer.json())["accepted"]
                    break
            await asyncio.sleep(1)
        await asyncio.sleep(again - time.monotonic())
    return taken


async def up(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                async with http.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def measured(posts: Posts, every: float) -> Cost:
    count = sum(batch.events for mine in posts for batch in mine)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port(19_910)
        settings = {"listen": f"127.0.0.1:{port}", "store": f"chdb://{folder}/store"}
        child = await Child.start("collector", settings, Path(folder))
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=NODES)) as http:
                url = f"http://127.0.0.1:{port}"
                await up(http, f"{url}/healthz")
                before = cpu_s(child.process.pid)
                taken = sum(await asyncio.gather(*(post(http, f"{url}/v1/events", mine, every) for mine in posts)))
                assert taken == count, f"{taken} of {count} taken"
                spent, memory = cpu_s(child.process.pid) - before, rss_mib(child.process.pid)
        finally:
            await child.stop(10)
    return Cost(spent / count * 1e6, memory)


def main() -> None:
    traffic = Traffic()
    print(f"forklore's collector, embedded store, native, gzip, {NODES} nodes at once\n")
    print(f"{'':26} {'us CPU each':>12} {'a second a core':>16} {'RSS MiB':>8}")
    rounds: list[tuple[str, Callable[[Traffic, int], Posts], int, float]]
    rounds = [(f"forks, {size} a batch", forks, size, 0) for size in BATCHES]
    rounds += [(f"forks, {ORDINARY} a second", forks, ORDINARY, 1), ("summaries", summaries, 0, 0)]
    for name, made, size, every in rounds:
        cost = asyncio.run(measured(made(traffic, size), every))
        print(f"{name:26} {cost.us:>12.1f} {1e6 / cost.us:>16,.0f} {cost.rss_mib:>8.0f}")


if __name__ == "__main__":
    main()
