"""The arithmetic of docs/scale.md: from the inputs that stand there to its other tables.

    .venv/bin/python dev/generate/docs_scale.py                        writes them; a test compares
    .venv/bin/python dev/generate/docs_scale.py nodes=800 ordinary=90  prints them with your numbers

Measured numbers are in that page, and in no other place.
"""

from __future__ import annotations

import math
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).parents[2] / "docs/scale.md"
CLASSES: Final = ("quiet", "ordinary", "busy", "ci")
DAY_S: Final = 86_400
SIZES: Final = (5, 50, 500, 2000)  # of batches that were measured


@dataclass(frozen=True)
class Bytes:
    """Of one way to send: a fork plain, packed in batches of SIZES, a summary plain and packed."""

    fork: float
    packed: Sequence[float]
    summary: float
    summary_packed: float


@dataclass(frozen=True)
class Inputs:
    """`numbers`: by their names; `ways`: by theirs, the first is what a sink does by default."""

    numbers: Mapping[str, float]
    ways: Mapping[str, Bytes]

    def __getitem__(self, name: str) -> float:
        return self.numbers[name]

    @property
    def own(self) -> float:
        """Events of the agent's own a second: a summary for each container, sandbox and the host, and its heartbeat."""
        return (self["pods"] * (self["containers"] + 1) + 2) / self["summary_interval"]

    def packed(self, way: Bytes, forks_a_second: float) -> float:
        """Bytes of a fork on the wire, by how many share a batch."""
        return between(SIZES, way.packed, forks_a_second * self["batch_wait"])

    def posts(self, way: Bytes, forks_a_second: float) -> float:
        """A second: one for every wait in which something came, or for every full batch."""
        waits = min(1 / self["batch_wait"], forks_a_second + 1 / self["summary_interval"])
        return max(waits, forks_a_second * way.fork / (self["batch_mib"] * 2**20), forks_a_second / self["batch_events"])

    def plain_bytes(self, way: Bytes, forks_a_second: float) -> float:
        """A second, of one node."""
        return forks_a_second * way.fork + self.own * way.summary

    def wire_bytes(self, way: Bytes, forks_a_second: float) -> float:
        return forks_a_second * self.packed(way, forks_a_second) + self.own * way.summary_packed


@dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def between(places: Sequence[float], values: Sequence[float], place: float) -> float:
    """On the line through the two that are next to it, over the logarithm; at the ends, the end's."""
    place = min(max(place, places[0]), places[-1])
    at = min(bisect_right(places, place), len(places) - 1)
    left, right = math.log(places[at - 1]), math.log(places[at])
    share = (math.log(place) - left) / (right - left)
    return values[at - 1] + share * (values[at] - values[at - 1])


def shown(number: float) -> str:
    """At most three significant digits."""
    if number >= 100:
        return f"{round(number, 2 - math.floor(math.log10(number))):,.0f}"
    return f"{number:.0f}" if number >= 20 else f"{number:.1f}" if number >= 0.95 else f"{number:.2g}"


def api(one: Inputs) -> Table:
    nodes = one["nodes"]
    table = Table(("what the API servers see of all agents", "a second", "MB a second"))
    table.rows.append(("watches renewed, when nothing happens", shown(nodes / one["watch_s"]), "-"))
    bookmarks = nodes / one["bookmark_s"]
    table.rows.append(("bookmarks on them", shown(bookmarks), shown(bookmarks * one["bookmark_bytes"] / 1e6)))
    churn = one["churn"]
    table.rows.append((
        f"{shown(churn)} pods a second come and go: changes, each to one agent",
        shown(churn * one["pod_changes"]), shown(churn * one["pod_kb"] / 1e3),
    ))  # fmt: skip
    whole = nodes * one["list_kb"] / 1e3
    packed = nodes * one["list_packed_kb"] / 1e3
    table.rows.append(
        (
            "one list of each agent, in all",
            f"{shown(nodes)} lists",
            f"{shown(whole)} MB, packed {shown(packed)} MB",
        )
    )
    return table


def rates(one: Inputs) -> Table:
    native, nodes = next(iter(one.ways.values())), one["nodes"]
    table = Table((
        "if all nodes were", "forks/s of a node", "events/s of a node", "events/s of all", "POSTs/s of all", "Gbit/s of all",
        "agent, share of a core",
    ))  # fmt: skip
    for name in CLASSES:
        forks = one[name]
        events = forks + one.own
        table.rows.append((
            name, f"{forks:,g}", shown(events), shown(events * nodes), shown(one.posts(native, forks) * nodes),
            shown(one.wire_bytes(native, forks) * nodes * 8 / 1e9), f"{shown(forks * one['agent_us'] / 1e4)} %",
        ))  # fmt: skip
    return table


def volume(one: Inputs) -> Table:
    table = Table(("TB a day of all nodes, plain (packed)", *CLASSES))
    for name, way in one.ways.items():
        cells = []
        for load in CLASSES:
            day = one["nodes"] * DAY_S / 1e12
            cells.append(f"{shown(one.plain_bytes(way, one[load]) * day)} ({shown(one.wire_bytes(way, one[load]) * day)})")
        table.rows.append((name, *cells))
    return table


def outage(one: Inputs) -> Table:
    native = next(iter(one.ways.values()))
    table = Table(("sink away for an hour", "MB on the disk of a node", "`journal_bytes` is full after"))
    for name in CLASSES:
        forks = one[name]
        bodies = one.wire_bytes(native, forks)
        beside = between(SIZES, [one[f"journal_{size}"] for size in SIZES], forks * one["batch_wait"])
        full = one["journal_mib"] * 2**20 / bodies
        table.rows.append((name, shown((bodies + forks * beside) * 3600 / 1e6), f"{shown(full / 3600)} h"))
    return table


def collector(one: Inputs) -> Table:
    table = Table(("forklore's collector", "nodes for one core", "GB a day of a node", "nodes that a week on 1 TB holds"))
    for name in CLASSES:
        forks = one[name]
        fork_us = between(SIZES, [one[f"collector_us_{size}"] for size in SIZES], forks * one["batch_wait"])
        busy = (forks * fork_us + one.own * one["collector_us_summary"]) / 1e6
        day = (forks * one["collector_bytes"] + one.own * one["collector_bytes_summary"]) * DAY_S
        table.rows.append((name, shown(1 / busy), shown(day / 1e9), shown(1e12 / (7 * day))))
    return table


def savings(one: Inputs) -> Table:
    """Each alone, on a cluster of ordinary nodes."""
    ways = [*one.ways.items()]
    native = ways[0][1]
    table = Table(("setting", "events/s of all", "TB a day, plain", "packed", "POSTs/s of all"))

    def add(name: str, inputs: Inputs, way: Bytes, forks: float) -> None:
        events, day = (forks + inputs.own) * one["nodes"], one["nodes"] * DAY_S / 1e12
        plain, wire = inputs.plain_bytes(way, forks) * day, inputs.wire_bytes(way, forks) * day
        table.rows.append(
            (
                name,
                shown(events),
                shown(plain),
                shown(wire),
                shown(inputs.posts(way, forks) * one["nodes"]),
            )
        )

    def other(**numbers: float) -> Inputs:
        return Inputs({**one.numbers, **numbers}, one.ways)

    forks = one["ordinary"]
    add("as it comes", one, native, forks)
    add("`select.events` without `sched_process_fork`: counts only", one, native, 0)
    add("the same, and `capture.summary_interval: 60s`", other(summary_interval=60), native, 0)
    add("`capture.summary_interval: 60s`", other(summary_interval=60), native, forks)
    add("`select.namespaces` or `.labels` that leave out half of all pods", other(pods=one["pods"] / 2), native, forks / 2)
    add("`drop_fields`: 7 of them", one, one.ways["native, 7 fields dropped"], forks)
    add("`compression: zstd`", one, one.ways["native, zstd"], forks)
    add("`batch.wait: 10s`", other(batch_wait=10), native, forks)
    add("`capture.threads: true`, ten threads a process", one, native, 11 * forks)
    return table


TABLES: Final[dict[str, Callable[[Inputs], Table]]] = {
    "api": api, "rates": rates, "volume": volume, "outage": outage, "collector": collector, "savings": savings,
}  # fmt: skip


def cells_of(text: str, name: str) -> list[list[str]]:
    """The rows of the table under this name, without its head."""
    (block,) = re.findall(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in block.splitlines()[2:]]


def inputs_of(text: str) -> Inputs:
    numbers = {cells[0]: float(cells[1].replace(",", "")) for cells in cells_of(text, "inputs")}
    ways = {}
    for way, *cells in cells_of(text, "bytes"):
        fork, *packed, summary, summary_packed = map(float, cells)
        ways[way] = Bytes(fork, packed, summary, summary_packed)
    return Inputs(numbers, ways)


def rendered(text: str) -> str:
    inputs = inputs_of(text)
    for name, table in TABLES.items():
        start, end = f"<!-- made: {name} -->\n", "\n<!-- end -->"
        before, rest = text.split(start, 1)
        text = before + start + str(table(inputs)) + end + rest.split(end, 1)[1]
    return text


def main(arguments: Sequence[str]) -> None:
    text = FILE.read_text(encoding="utf-8")
    if not arguments:
        FILE.write_text(rendered(text), encoding="utf-8")
        return
    inputs = inputs_of(text)
    yours = {name: float(value) for name, _, value in (one.partition("=") for one in arguments)}
    if unknown := yours.keys() - inputs.numbers.keys():
        sys.exit(f"docs_scale.py: no input is called {', '.join(sorted(unknown))}; there are {', '.join(inputs.numbers)}")
    mine = Inputs({**inputs.numbers, **yours}, inputs.ways)
    sys.stdout.write("\n\n".join(str(table(mine)) for table in TABLES.values()) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
