"""Measures what a fork costs in each protocol and schema: encoded, framed and compressed; and its bytes.

The forks are those of dev.bench.enrichment's node: 250 pods, half with either path shape, each event from one drawn at random.
Usually the forks of a task share their ParentContext; in the worst case each is of a new task. `python -m dev.bench.schemas`
runs it.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from agent.model import Fork
from agent.sinks.formats import FormatSpec, SinkFormat, make_format
from agent.sinks.packer import BatchLimits, Packer
from dev.bench.enrichment import TURN, Node

PAIRS = (  # protocol, schema, framing, compression
    ("http", "native", "ndjson", "gzip"),
    ("http", "native", "ndjson", "zstd"),
    ("http", "native", "json", "gzip"),
    ("http", "ecs", "ndjson", "gzip"),
    ("http", "ocsf", "ndjson", "gzip"),
    ("splunk_hec", "native", "ndjson", "gzip"),
    ("splunk_hec", "ocsf", "ndjson", "gzip"),
    ("elasticsearch", "ecs", "ndjson", "gzip"),
    ("otlp", "otel", "ndjson", "gzip"),
)
STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
EVENTS = 8192  # a round: two of the agent's turns
ROUNDS = 7
LIMITS = BatchLimits(5000, 4 << 20)  # the settings' defaults
AIM_US = 12.0


class Costs(NamedTuple):
    """us of CPU for each event, by round: as forks come, and each of a new task. Bytes of an event, before and after
    compression."""

    usual: list[float]
    worst: list[float]
    plain: float
    packed: float


class Pipeline:
    """From forks to bodies, as in a sink."""

    def __init__(self, protocol: str, schema: str, framing: str, compression: str) -> None:
        how = {"protocol": protocol, "schema": schema, "framing": framing, "compression": compression}
        spec = FormatSpec(name="bench", url="http://siem", **how)
        self.format: SinkFormat = make_format(spec, "prod-eu-west", "worker-17.eu-west.example")
        self.packer = Packer(self.format.framing, compression, LIMITS)

    def measure(self, turns: Sequence[Sequence[Fork]]) -> tuple[float, int, int]:
        """us of CPU for each event; all bytes, before and after compression."""
        cgroups = [[fork.counted for fork in turn] for turn in turns]
        began = time.thread_time_ns()
        bodies = [
            batch
            for turn, counted in zip(turns, cgroups, strict=True)
            for batch in self.packer.pack(STREAM, self.format.encoder.forks(STREAM, turn), counted, 0.0)
        ]
        spent = time.thread_time_ns() - began
        assert sum(batch.events for batch in bodies) == sum(map(len, turns))
        return spent / sum(map(len, turns)) / 1000, sum(b.uncompressed for b in bodies), sum(len(b.body) for b in bodies)


def turns_of(forks: Sequence[Fork]) -> list[Sequence[Fork]]:
    return [forks[at : at + TURN] for at in range(0, len(forks), TURN)]


def with_new_tasks(forks: Sequence[Fork]) -> list[Fork]:
    """The same forks, each of a task that is in no cache."""
    return [fork._replace(parent_context=replace(fork.parent_context)) for fork in forks]


def measured(forks: Sequence[Fork]) -> Iterator[tuple[tuple[str, str, str, str], Costs]]:
    pipelines = {pair: Pipeline(*pair) for pair in PAIRS}
    usual: dict[tuple[str, str, str, str], list[float]] = {pair: [] for pair in PAIRS}
    worst: dict[tuple[str, str, str, str], list[float]] = {pair: [] for pair in PAIRS}
    sizes = {pair: pipeline.measure(turns_of(forks))[1:] for pair, pipeline in pipelines.items()}  # this also fills the caches
    for _ in range(ROUNDS):  # alternating, so that other load affects all alike
        for pair, pipeline in pipelines.items():
            gc.collect()
            usual[pair].append(pipeline.measure(turns_of(forks))[0])
            worst[pair].append(pipeline.measure(turns_of(with_new_tasks(forks)))[0])
            pipeline.measure(turns_of(forks))  # the new tasks have replaced what was cached
    for pair in PAIRS:
        plain, packed = sizes[pair]
        yield pair, Costs(usual[pair], worst[pair], plain / len(forks), packed / len(forks))


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    node = Node(random.Random(23))  # noqa: S311  the same node each time
    _, raw = node.records()
    forks = list(node.real().enrich(raw, 2 * 10**9))[:EVENTS]
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # as the agent does
    print(
        f"\nEncoded, framed and compressed, one core: us of CPU an event, median (least to most) of {ROUNDS} rounds of "
        f"{EVENTS} forks\n"
    )
    print(f"{'':36} {'forks of known tasks':>24} {'each of a new task':>24} {'bytes':>7} {'sent':>6}")
    slowest = worst = 0.0
    for (protocol, schema, framing, compression), costs in measured(forks):
        slowest, worst = max(slowest, statistics.median(costs.usual)), max(worst, statistics.median(costs.worst))
        name = f"{protocol} x {schema}, {framing + ', ' if protocol == 'http' else ''}{compression}"
        print(f"{name:36} {spread(costs.usual):>24} {spread(costs.worst):>24} {costs.plain:>7.0f} {costs.packed:>6.0f}")
    for title, us in (("forks of known tasks", slowest), ("each of a new task", worst)):
        print(f"slowest, {title}: {us:.1f} us; aim none above {AIM_US:.0f}: {'yes' if us <= AIM_US else 'NO'}")


if __name__ == "__main__":
    main()
