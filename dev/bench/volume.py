"""Measures the bytes of a fork and of a summary: by schema, plain, packed and in the journal, and by the forks in a batch.

Real records of a node of 30 pods, through the real enricher, encoders, packers and journal: what 5,000 nodes have on average in
the largest cluster that Kubernetes is tested with. Every fork is of a container drawn at random, which compresses worst.
`python -m dev.bench.volume` runs it.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from agent.journal import Journal
from agent.model import NO_CGROUP, Batch, Event, Fork, ParentContext
from agent.reporting.summaries import Interval, Summaries
from agent.sinks.encoders.encoder import Item
from agent.sinks.encoders.native import k8s_fields
from agent.sinks.formats import FormatSpec, SinkFormat, make_format
from agent.sinks.packer import BatchLimits, Packer
from dev.bench.enrichment import Node

PODS = 30  # 150,000 pods on 5,000 nodes
BATCHES = (5, 50, 500, 2000)  # forks; with batch.wait: 1s, as many as the node forks in a second
NOW_NS = 1_795_376_910_118_291_004
FORKS_OF_A_PARENT = 10
FORKS = 4000  # a multiple of all of these
JOURNALLED = 50_000_000  # bytes, so that the write-ahead log of 4 MB does not matter
INTERVAL = Interval("2026-11-22T19:48:30.000000000Z", "2026-11-22T19:48:40.000000000Z")
STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
EXAMPLES = Path(__file__).parents[2] / "wire/examples.json"
DROPPED_FIELDS = (
    "k8s.labels",
    "namespaces",
    "cgroup",
    "parent_cgroup",
    "container.id",
    "container.image",
    "container.image_id",
)
WAYS = {  # schema, protocol, compression, fields that are dropped
    "native": ("native", "http", "gzip", ()),
    "native, zstd": ("native", "http", "zstd", ()),
    "native, 7 fields dropped": ("native", "http", "gzip", DROPPED_FIELDS),
    "native for Splunk": ("native", "splunk_hec", "gzip", ()),
    "OCSF for Splunk": ("ocsf", "splunk_hec", "gzip", ()),
    "ECS for Elasticsearch": ("ecs", "elasticsearch", "gzip", ()),
    "OpenTelemetry": ("otel", "otlp", "gzip", ()),
}


@dataclass(frozen=True)
class Sizes:
    """Bytes. `plain`: a fork, uncompressed; `packed`: a fork, by the batch's size; `summary`: one, plain and packed, where a
    whole node's are in one batch."""

    plain: float
    packed: tuple[float, ...]
    summary: tuple[float, float]


class Traffic:
    """A node's forks, and its agent's events at the end of an interval."""

    def __init__(self, pods: int = PODS) -> None:
        self._node = node = Node(random.Random(23), pods)  # noqa: S311  the same node each time
        _, raw = node.records()
        self.forks: Sequence[Fork] = [*as_they_come(node.real().enrich(raw, 2 * 10**9))]
        # Each container that ever forked has counters in the kernel; a runtime forks in the sandbox, too.
        self._rows = [*node.containers, *node._sandboxes]
        self.heartbeat = next(one for one in json.loads(EXAMPLES.read_bytes()) if one["event"] == "node_summary")
        self.summaries = next(self.summaries_of(STREAM))

    def summaries_of(self, stream: str) -> Iterator[list[Event]]:
        """The summaries of consecutive intervals. In each a third of the containers forked."""
        chance = random.Random(24)  # noqa: S311
        summaries = Summaries(stream, self._node.attributions, partial(k8s_fields, cluster="prod-eu-west", node="worker-17"))
        rows = {cgroup: [chance.randrange(10**5), chance.randrange(10**6)] for cgroup in self._rows}
        while True:
            for row in chance.sample([*rows.values()], len(rows) // 3):
                row[0] += chance.randrange(100)
            yield summaries.summarize({cgroup: (*row, row[0], row[1], 0, 0, 9) for cgroup, row in rows.items()}, INTERVAL)


def as_they_come(forks: Sequence[Fork]) -> Iterator[Fork]:
    """With values that affect compression: times in nanoseconds, and parents that change after about ten forks."""
    chance = random.Random(25)  # noqa: S311
    now, parents = NOW_NS, dict[int, ParentContext]()
    for fork in forks:
        now += chance.randrange(1, 2_000_000)
        if chance.random() < 1 / FORKS_OF_A_PARENT or fork.counted not in parents:
            start, tid, entity = now - chance.randrange(10**9), chance.randrange(2, 2**22), f"{chance.getrandbits(64):016x}"
            parent = fork.parent_context.parent._replace(tid=tid, pid=tid, start=start, entity=entity)
            parents[fork.counted] = replace(fork.parent_context, parent=parent, parent_process=parent)
        child = fork.child._replace(start=now - chance.randrange(1, 20_000), entity=f"{chance.getrandbits(64):016x}")
        yield fork._replace(time=now, child=child, parent_context=parents[fork.counted])


def build_sink_format(way: str) -> SinkFormat:
    schema, protocol, compression, dropped = WAYS[way]
    spec = FormatSpec(name="siem", url="http://siem", protocol=protocol, schema=schema, compression=compression)
    return make_format(replace(spec, drop_fields=dropped), "prod-eu-west", "worker-17")


def batches(sink_format: SinkFormat, items: Sequence[Item], cgroups: Sequence[int], size: int) -> list[Batch]:
    """`size` items in each."""
    packer = Packer(sink_format.framing, sink_format.headers["Content-Encoding"], BatchLimits(100_000, 1 << 40))
    return [
        batch
        for at in range(0, len(items), size)
        for batch in packer.pack(STREAM, items[at : at + size], cgroups[at : at + size], 0.0)
    ]


def sizes(traffic: Traffic, way: str) -> Sizes:
    sink_format, forks = build_sink_format(way), traffic.forks[:FORKS]
    items, cgroups = sink_format.encoder.forks(STREAM, forks), [fork.counted for fork in forks]
    by_size = [batches(sink_format, items, cgroups, size) for size in BATCHES]
    own = [sink_format.encoder.event(event) for event in [*traffic.summaries, traffic.heartbeat]]
    (batch,) = batches(sink_format, own, [NO_CGROUP] * len(own), len(own))
    return Sizes(
        sum(batch.uncompressed for batch in by_size[-1]) / FORKS,
        tuple(sum(len(batch.body) for batch in made) / FORKS for made in by_size),
        (batch.uncompressed / len(own), len(batch.body) / len(own)),
    )


async def in_journal(traffic: Traffic, size: int) -> tuple[float, float]:
    """Bytes of the file a fork, and of bodies, which is what `journal_bytes` bounds: native, gzip, `size` forks a batch."""
    sink_format, forks = build_sink_format("native"), traffic.forks[:FORKS]
    made = batches(sink_format, sink_format.encoder.forks(STREAM, forks), [fork.counted for fork in forks], size)
    count = bodies = 0
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.sqlite3", {"siem": 1 << 30})
        await journal.open()
        while bodies < JOURNALLED:
            for batch in made:
                journal.queue("siem").put(batch)
            count += FORKS
            bodies += sum(len(batch.body) for batch in made)
            await journal.commit()
        file = journal.bytes_on_disk
        await journal.close()
    return file / count, bodies / count


def row(way: str, one: Sizes) -> str:
    numbers = (one.plain, *one.packed, *one.summary)
    return f"| {way} | {' | '.join(f'{number:.0f}' for number in numbers)} |"


def main() -> None:
    traffic = Traffic()
    count = len(traffic.summaries) + 1
    print(f"bytes, of a node with {PODS} pods, whose agent sends {count} events an interval; packed with so many in a batch\n")
    print(f"| | a fork | {' | '.join(map(str, BATCHES))} | a summary | packed |")
    for way in WAYS:
        print(row(way, sizes(traffic, way)))
    print("\njournal, native, gzip: bytes a fork in the file, and how many of them are bodies")
    for size in BATCHES:
        file, bodies = asyncio.run(in_journal(traffic, size))
        print(f"{size:5} in a batch: {file:.0f}, {bodies:.0f}")


if __name__ == "__main__":
    main()
