"""Checks of what several kinds of events have in common."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from collector.http.quoting import quoted
from collector.ingest.fields import MAX_AMOUNT, ImpossibleTime, Refused, amount, count, mapping, nanoseconds, one_of, text
from collector.model import TaskCounts

__all__ = [
    "CPUS",
    "ID",
    "RANKS",
    "Interval",
    "OwnId",
    "enrichment",
    "event_time",
    "interval",
    "most_in",
    "most_until",
    "own_id",
    "task_counts",
]

ID: Final = 256  # characters
CPUS: Final = 8192
ENRICHED: Final = ("resolved", "late", "host", "unresolved")
ENRICHED_BY: Final = ("status", "cgroup", "attach", "birth", "spec", "order")
# How well an event's cgroup is attributed: a later `unresolved` must not replace the pod's name.
RANKS: Final = {"resolved": 4, "late": 4, "host": 2, "unresolved": 0}
# ns since 1970: 2020 began. No agent is as old, nor is a kernel that it runs on (5.10).
EARLIEST: Final = 1_577_836_800_000_000_000
# One fork each 100 ns, ten million a second on one node: a fork takes a CPU some 20 us, so this is beyond 200 CPUs that do
# nothing else, and twenty times what was ever measured here.
NS_PER_FORK: Final = 100
SHORTEST: Final = 60_000_000_000  # ns: what shorter intervals are taken for, since counters and clocks are not read at once
_STREAM: Final = re.compile(r"[0-9a-f-]{36}\.[0-9a-f]{16}")


class OwnId(NamedTuple):
    """`<boot id>.<instance>.<kind>.<...>.<number>`. `stream`: boot id and instance. `number` 0: the last part is none."""

    id: str
    stream: str
    number: int


class Interval(NamedTuple):
    start: int
    end: int


def own_id(value: object) -> OwnId:
    name = text(value, "id", ID)
    boot, _, rest = name.partition(".")
    instance, _, own = rest.partition(".")
    stream = f"{boot}.{instance}"
    if not _STREAM.fullmatch(stream):
        raise Refused(f"id: {quoted(stream)} is not a boot id and a program instance in hex digits")
    if not own or not own.isascii() or not own.isprintable():
        raise Refused(f"id: {quoted(name)} does not end in a kind and a number")
    last = own.rpartition(".")[2]
    return OwnId(name, stream, int(last) if last.isdigit() and len(last) <= 18 else 0)


def interval(value: object) -> Interval:
    both = mapping(value, "interval", 16)
    start, end = nanoseconds(both.get("start"), "interval.start"), nanoseconds(both.get("end"), "interval.end")
    if end < start:
        raise Refused("interval: ends before it starts")
    event_time(both.get("start"), "interval.start")
    return Interval(start, end)


def event_time(value: object, name: str) -> int:
    """As `nanoseconds`, since 2020. How late it may be is checked for the batch as a whole (`collector.ingest.clocks`)."""
    time = nanoseconds(value, name)
    if time < EARLIEST:
        raise ImpossibleTime(f"{name}: {quoted(value)} is before 2020: is the node's clock set?")
    return time


def most_in(interval: Interval) -> int:
    """Tasks that one kernel can make in the interval."""
    return max(interval.end - interval.start, SHORTEST) // NS_PER_FORK


def most_until(time: int) -> int:
    """Tasks that one kernel can have made at `time` (ns), however long it has run."""
    return min((time - EARLIEST) // NS_PER_FORK, MAX_AMOUNT)


def enrichment(value: object) -> dict[str, Any]:
    given = mapping(value, "enrichment", 16)
    by = given.get("by")
    return {
        "state": one_of(given.get("state"), "enrichment.state", ENRICHED),
        "by": None if by is None else one_of(by, "enrichment.by", ENRICHED_BY),
        "lag_ms": count(given.get("lag_ms", 0), "enrichment.lag_ms"),
    }


def task_counts(value: object, name: str, most: int) -> TaskCounts:
    """`most`: of each."""
    counts = mapping(value, name, 64)
    return TaskCounts(*(amount(counts.get(key), f"{name}.{key}", most) for key in TaskCounts._fields))
