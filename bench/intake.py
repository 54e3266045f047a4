"""What a fork and a summary cost forklore's own collector: CPU of its process, and bytes on its disk.

The real collector with its embedded store, in a process of its own, takes what the agents of ten nodes would post. `python -m
bench.intake` runs it, in half a minute. Must not live here: reading what was stored.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp

from agent.nouns import NOBODY, Batch
from bench.__main__ import cpu_s, rss_mib
from bench.volume import BATCHES, Traffic, batches, form_of
from demo.children import Child, free_port

NODES = 10
FORKS = 60_000  # of each round; a quarter where batches are small, which cost more
INTERVALS = 20  # of summaries, each a batch of its own
Posts = list[list[Batch]]  # by node


class Cost(NamedTuple):
    """`us`: CPU of the collector an event; `disk`: bytes an event, indexes included; `rss_mib`: its memory after it."""

    us: float
    disk: float
    rss_mib: float


def streams() -> Iterator[str]:
    return (f"0ac846b9-54b9-46db-ad41-e0a5f64de594.{number:016x}" for number in range(NODES))


def forks(traffic: Traffic, size: int) -> Posts:
    """None comes twice: the collector would not file it."""
    how, each = form_of("native"), (FORKS if size > 50 else FORKS // 4) // NODES
    mine = [fork._replace(sequence=at) for at, fork in enumerate(traffic.forks[:each])]
    return [batches(how, how.encoder.forks(stream, mine), [0] * each, size) for stream in streams()]


def summaries(traffic: Traffic, _size: int) -> Posts:
    how, posts = form_of("native"), []
    for stream in streams():
        told = [*itertools.islice(traffic.summaries_of(stream), INTERVALS)]
        items = [how.encoder.event(event) for events in told for event in events]
        posts.append(batches(how, items, [NOBODY] * len(items), len(told[0])))
    return posts


async def post(http: aiohttp.ClientSession, url: str, mine: Sequence[Batch]) -> int:
    taken = 0
    for batch in mine:
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        async with http.post(url, data=batch.body, headers=headers) as answer:
            answer.raise_for_status()
            taken += (await answer.json())["accepted"]
    return taken


async def up(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                async with http.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


def bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "store").rglob("*") if file.is_file() and not file.is_symlink())


async def measured(posts: Posts) -> Cost:
    count = sum(batch.events for mine in posts for batch in mine)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port(19_910)
        settings = {"listen": f"127.0.0.1:{port}", "store": f"chdb://{folder}/store"}
        child = await Child.start("collector", settings, Path(folder))
        try:
            async with aiohttp.ClientSession() as http:
                url = f"http://127.0.0.1:{port}"
                await up(http, f"{url}/healthz")
                before = cpu_s(child.process.pid)
                taken = sum(await asyncio.gather(*(post(http, f"{url}/v1/events", mine) for mine in posts)))
                assert taken == count, f"{taken} of {count} taken"
                spent, memory = cpu_s(child.process.pid) - before, rss_mib(child.process.pid)
        finally:
            await child.stop(10)
        disk = bytes_in(Path(folder))
    return Cost(spent / count * 1e6, disk / count, memory)


def main() -> None:
    traffic = Traffic()
    print(f"forklore's collector, embedded store, native, gzip, {NODES} nodes at once\n")
    print(f"{'':26} {'us CPU each':>12} {'a second a core':>16} {'bytes on disk':>14} {'RSS MiB':>8}")
    rounds = [(f"forks, {size} a batch", forks, size) for size in BATCHES] + [("summaries", summaries, 0)]
    for name, made, size in rounds:
        cost = asyncio.run(measured(made(traffic, size)))
        print(f"{name:26} {cost.us:>12.1f} {1e6 / cost.us:>16,.0f} {cost.disk:>14.0f} {cost.rss_mib:>8.0f}")


if __name__ == "__main__":
    main()
