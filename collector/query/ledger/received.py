"""How many forks of each stream have been received, by the numbers that its CPUs give them."""

from __future__ import annotations

from typing import Final, NamedTuple

from collector.query.read_context import ReadContext

__all__ = ["BLOCK", "Received", "blocks", "received"]

BLOCK: Final = 65536  # numbers of a row of `came`
_GIVEN_OUT: Final = (
    "SELECT stream, toInt32(head.1) AS cpu, head.2 AS given FROM "
    "(SELECT stream, arrayJoin(max(newest).heads) AS head FROM stream GROUP BY stream)"
)
# How many received numbers of a block were given out after the newest heartbeat. As a rule they are few, and quickly picked out
# one by one; to cut a set in two takes ten times as long.
_FEW: Final = "(out <= top AND top - out < 1024)"
_LATER: Final = (
    f"multiIf(out > top, 0, out = 0, size, {_FEW}, bitmapAndCardinality(bits, bitmapBuild(CAST(range(toUInt32(if({_FEW}, out, "
    "top + 1)), toUInt32(top + 1)) AS Array(UInt16)))), "
    "toUInt64(size - bitmapCardinality(bitmapSubsetInRange(bits, toUInt16(0), toUInt16(out)))))"
)


class Received(NamedTuple):
    """Forks. `given_out`: with numbers that were given out by the newest heartbeat. `in_all`: those with later numbers
    included."""

    given_out: int
    in_all: int


class _Row(NamedTuple):
    stream: str
    lane: int
    given_out: int
    in_all: int


def received(context: ReadContext, *, by_cpu: bool) -> dict[str, dict[int, Received]]:
    """By stream and CPU; without `by_cpu` there is one key, 0, for all CPUs."""
    found: dict[str, dict[int, Received]] = {}
    for row in context.rows(_Row, _statement(by_cpu=by_cpu)):
        found.setdefault(row.stream, {})[row.lane] = Received(row.given_out, row.in_all)
    return found


def blocks(only: str = "1") -> str:
    """The received numbers of each CPU, block by block, and how many (`out`) of a block have been given out."""
    return (
        "SELECT c.stream AS stream, c.cpu AS cpu, c.block AS block, c.bits AS bits, c.size AS size, c.top AS top, "
        "least(65536, greatest(given, block * 65536) - block * 65536) AS out FROM (SELECT stream, cpu, block, "
        "groupBitmapMergeState(numbers) AS bits, bitmapCardinality(bits) AS size, bitmapMax(bits) AS top FROM came "
        f"WHERE cpu >= 0 AND {only} "
        f"GROUP BY stream, cpu, block) AS c LEFT JOIN ({_GIVEN_OUT}) AS g ON c.stream = g.stream AND c.cpu = g.cpu"
    )


def _statement(*, by_cpu: bool) -> str:
    lane = "cpu" if by_cpu else "0"
    return f"SELECT stream, {lane} AS lane, sum(size) - sum({_LATER}), sum(size) FROM ({blocks()}) GROUP BY stream, lane"
