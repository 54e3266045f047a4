"""The numbers that were given out and are not received."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from collector.model import HoleRow
from collector.model.number_ranges import Run, holes, runs_of
from collector.query.ledger.received import BLOCK, blocks
from collector.query.read_context import ReadContext
from collector.store.row_ids import stream_id

__all__ = ["holes_of"]

_OF_STREAMS: Final = "stream IN {streams:Array(String)}"
_FULL: Final = f"SELECT stream, cpu, groupArray(block) FROM ({blocks(_OF_STREAMS)}) WHERE size = {BLOCK} GROUP BY stream, cpu"
# The first blocks with holes of each stream.
_HOLED: Final = (
    f"SELECT stream, cpu, block, bitmapToArray(bits) FROM ({blocks(_OF_STREAMS)}) WHERE size < {BLOCK} "
    "ORDER BY stream, cpu, block LIMIT {blocks:UInt32} BY stream"
)


class _Full(NamedTuple):
    stream: str
    cpu: int
    blocks: Sequence[int]


class _Holed(NamedTuple):
    stream: str
    cpu: int
    block: int
    numbers: Sequence[int]


def holes_of(context: ReadContext, streams: Sequence[str], heads: Mapping[str, Mapping[int, int]], most: int) -> list[HoleRow]:
    """The first `most` of each stream. `heads`: how many numbers each CPU has given out.

    A full ring leaves a hole beside every fork that it took, so no more blocks are fetched than must be: each that is not full
    has a hole, if only at its end.
    """
    found: dict[str, list[HoleRow]] = {}
    count, wanted = 4, list(streams)
    while wanted:
        full: dict[str, dict[int, Sequence[int]]] = {}
        for row in context.rows(_Full, _FULL, streams=wanted):
            full.setdefault(row.stream, {})[row.cpu] = row.blocks
        rows = context.rows(_Holed, _HOLED, streams=wanted, blocks=count)
        holed = {stream: list(some) for stream, some in groupby(rows, lambda row: row.stream)}
        for stream in wanted:
            found[stream] = _holes(stream, heads[stream], full.get(stream, {}), holed.get(stream, []), count)[:most]
        wanted = [one for one in wanted if len(found[one]) < most and len(holed.get(one, [])) == count]
        count *= 4
    return [hole for stream in streams for hole in found[stream]]


def _holes(
    stream: str, heads: Mapping[int, int], full: Mapping[int, Sequence[int]], holed: Sequence[_Holed], most: int
) -> list[HoleRow]:
    """`holed`: at most `most` of the blocks that are not full, the first ones; blocks beyond the last of them are unknown."""
    edge = holed[-1] if len(holed) == most else None
    found = []
    for cpu, head in sorted(heads.items()):
        if edge and cpu > edge.cpu:
            break
        until = head if not edge or cpu < edge.cpu else min(head, (edge.block + 1) * BLOCK)
        known = [(block * BLOCK, block * BLOCK + BLOCK - 1) for block in full.get(cpu, ())]
        for row in holed:
            if row.cpu == cpu:
                known += runs_of(row.block * BLOCK + number for number in row.numbers)
        found += [HoleRow(stream_id(stream), cpu, first, last) for first, last in holes(_joined(known), until)]
    return found


def _joined(runs: Iterable[Run]) -> list[Run]:
    """Sorted and apart; runs that touch at a block's edge are one."""
    found: list[Run] = []
    for first, last in sorted(runs):
        if found and found[-1][1] == first - 1:
            found[-1] = found[-1][0], last
        else:
            found.append((first, last))
    return found
