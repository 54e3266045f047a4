"""How many bytes a fork and a summary are: by schema, plain, packed and in the journal, and by how many forks share a batch.

Real records of a node of 30 pods, through the real enricher, encoders, packers and journal: what 5,000 nodes have on average in
the largest cluster that Kubernetes is tested with. Every fork is of a container drawn at random, which is as bad as it gets for
compression. `python -m bench.volume` runs it. Must not live here: the kernel, HTTP, time.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.journal import Journal
from agent.nouns import NOBODY, Event, Fork
from agent.sinks.bodies import Packer
from agent.sinks.forms import Wanted, form
from agent.sinks.native import whose
from agent.summaries import Interval, Summaries
from bench.enrichment import Node

PODS = 30  # 150,000 pods on 5,000 nodes
BATCHES = (5, 50, 500, 2000)  # forks; with batch.wait: 1s, as many as the node forks in a second
FORKS = 4000
INTERVAL = Interval("2026-11-22T19:48:30.000000000Z", "2026-11-22T19:48:40.000000000Z")
STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
EXAMPLES = Path(__file__).parents[1] / "wire/examples.json"
WAYS = (  # schema, protocol, compression
    ("native", "http", "gzip"),
    ("native", "http", "zstd"),
    ("native", "splunk_hec", "gzip"),
    ("ocsf", "splunk_hec", "gzip"),
    ("ecs", "elasticsearch", "gzip"),
    ("otel", "otlp", "gzip"),
)


@dataclass(frozen=True)
class Sizes:
    """Bytes. `plain`: a fork, uncompressed; `packed`: a fork, by the batch's size; `summary`: one, plain and packed, where a
    whole node's are in one batch."""

    plain: float
    packed: tuple[float, ...]
    summary: tuple[float, float]


class Traffic:
    """A node's forks, and what its agent says at the end of an interval."""

    def __init__(self, pods: int = PODS) -> None:
        self._node = node = Node(random.Random(23), pods)  # noqa: S311  the same node each time
        _, raw = node.records()
        self.forks: Sequence[Fork] = node.real().take(raw, 2 * 10**9)
        # Each container that ever forked has a row in the kernel's tally; a runtime forks in the sandbox, too.
        self._rows = [*node.owners, *node._sandboxes]
        self.heartbeat = next(one for one in json.loads(EXAMPLES.read_bytes()) if one["event"] == "node_summary")
        self.summaries = next(self.summaries_of(STREAM))

    def summaries_of(self, stream: str) -> Iterator[list[Event]]:
        """An interval's, and the next one's: a third of the containers forked in it."""
        chance = random.Random(24)  # noqa: S311
        told = Summaries(stream, self._node.subjects.best, partial(whose, cluster="prod-eu-west", node="worker-17"))
        rows = {cgroup: [chance.randrange(10**5), chance.randrange(10**6)] for cgroup in self._rows}
        while True:
            for row in chance.sample([*rows.values()], len(rows) // 3):
                row[0] += chance.randrange(100)
            yield told.next({cgroup: (*row, row[0], row[1], 0, 0, 9) for cgroup, row in rows.items()}, INTERVAL)


def sizes(traffic: Traffic, schema: str, protocol: str, compression: str, batches: Sequence[int] = BATCHES) -> Sizes:
    how = form(Wanted(name="siem", url="http://siem", protocol=protocol, schema=schema, compression=compression), "prod-eu-west", "worker-17")
    packer = Packer(how.framing, compression, 100_000, 1 << 40)
    items = how.encoder.forks(STREAM, traffic.forks)
    own = [how.encoder.event(event) for event in [*traffic.summaries, traffic.heartbeat]]

    def packed(some: Sequence[str | bytes], size: int) -> tuple[int, int]:
        bodies = [
            batch
            for at in range(0, len(some), size)
            for batch in packer.pack(STREAM, some[at : at + size], [NOBODY] * len(some[at : at + size]), 0.0)
        ]
        return sum(batch.uncompressed for batch in bodies), sum(len(batch.body) for batch in bodies)

    by_size = [packed(items[: size * max(1, FORKS // size)], size) for size in batches]
    plain, small = packed(own, len(own))
    counts = [size * max(1, FORKS // size) for size in batches]
    return Sizes(
        by_size[-1][0] / counts[-1],
        tuple(total[1] / count for total, count in zip(by_size, counts, strict=True)),
        (plain / len(own), small / len(own)),
    )


async def in_journal(traffic: Traffic, size: int) -> tuple[float, float]:
    """Bytes of the file a fork, and of bodies, which is what `journal_bytes` bounds: native, gzip, `size` forks a batch."""
    how = form(Wanted(name="siem", url="http://siem"), "prod-eu-west", "worker-17")
    packer = Packer(how.framing, "gzip", 5000, 4 << 20)
    count = bodies = 0
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.sqlite3", {"siem": 1 << 30})
        await journal.open()
        while count < 200_000:
            for at in range(0, len(traffic.forks), size):
                some = traffic.forks[at : at + size]
                for batch in packer.pack(STREAM, how.encoder.forks(STREAM, some), [fork.counted for fork in some], 0.0):
                    journal.queue("siem").put(batch)
                    bodies += len(batch.body)
                count += len(some)
                await journal.commit()
        file = journal.bytes_on_disk
        await journal.close()
    return file / count, bodies / count


def main() -> None:
    traffic = Traffic()
    print(f"bytes, of a node with {PODS} pods and {len(traffic.summaries)} summaries an interval\n")
    print(f"{'':28} {'a fork':>8}  packed, with so many forks in a batch   {'a summary':>9}")
    print(f"{'':28} {'plain':>8} " + "".join(f"{size:>8}" for size in BATCHES) + f" {'plain':>12} {'packed':>7}")
    for schema, protocol, compression in WAYS:
        one = sizes(traffic, schema, protocol, compression)
        print(
            f"{f'{schema}, {protocol}, {compression}':28} {one.plain:>8.0f} " + "".join(f"{size:>8.0f}" for size in one.packed)
            + f" {one.summary[0]:>12.0f} {one.summary[1]:>7.0f}"
        )
    for size in (50, 500, 2000):
        file, bodies = asyncio.run(in_journal(traffic, size))
        print(f"journal, native, gzip, {size} in a batch: {file:.0f} bytes a fork in the file, {bodies:.0f} of them bodies")


if __name__ == "__main__":
    main()
