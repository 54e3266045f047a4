"""Reading for the ledger: the numbers that each stream gave out, which of them came, and what was told of the others.

Must not live here: what explains what; that is `collector.views.nodes.accounting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from collector.model import CounterSourceRow, CpuRow, GapRow, HoleRow, LedgerRows, LossRow, NodeRow, StreamRow
from collector.query.read_context import ReadContext
from collector.store.naming import stream_id
from collector.store.number_ranges import holes, runs_of

__all__ = ["gap_row", "ledger_rows"]

_BLOCK: Final = 65536  # numbers of a row of `came`
_MOST: Final = 2**63 - 1
_STREAMS: Final = (
    "SELECT stream, max(newest) AS n, maxMap(heads), min(whose) AS w, max(said).2 AS said, min(only).2 AS only, min(before).2 "
    "FROM stream GROUP BY stream HAVING toUnixTimestamp64Nano(max(seen)) >= {since:Int64} "
    "ORDER BY if(n.captured < 0, -1, n.end) DESC, stream DESC"
)
_GIVEN: Final = (
    "SELECT stream, toInt32(head.1) AS cpu, head.2 AS given FROM (SELECT stream, arrayJoin(CAST(maxMap(heads) AS "
    "Array(Tuple(UInt32, UInt64)))) AS head FROM stream GROUP BY stream)"
)
# What came of each CPU's numbers, block by block, and how many of a block have been given out.
_BLOCKS: Final = (
    "SELECT c.stream AS stream, c.cpu AS cpu, c.block AS block, c.bits AS bits, c.size AS size, c.top AS top, "
    "least(65536, greatest(given, block * 65536) - block * 65536) AS out FROM (SELECT stream, cpu, block, "
    "groupBitmapMergeState(numbers) AS bits, bitmapCardinality(bits) AS size, bitmapMax(bits) AS top FROM came "
    "WHERE cpu >= 0 {only} "
    f"GROUP BY stream, cpu, block) AS c LEFT JOIN ({_GIVEN}) AS g ON c.stream = g.stream AND c.cpu = g.cpu"
)
# How many of a block came that were given out after the newest heartbeat. As a rule they are few, and quickly picked out one
# by one; to cut a set in two takes ten times as long.
_FEW: Final = "(out <= top AND top - out < 1024)"
_LATER: Final = (
    f"multiIf(out > top, 0, out = 0, size, {_FEW}, bitmapAndCardinality(bits, bitmapBuild(CAST(range(toUInt32(if({_FEW}, out, "
    "top + 1)), toUInt32(top + 1)) AS Array(UInt16)))), "
    "toUInt64(size - bitmapCardinality(bitmapSubsetInRange(bits, toUInt16(0), toUInt16(out)))))"
)
_CAME: Final = (
    f"SELECT stream, %s AS lane, sum(size) - sum({_LATER}), sum(size) FROM ({_BLOCKS.format(only='')}) GROUP BY stream, lane"
)
# The first blocks with holes of each stream, and its full ones as they are.
_FULL: Final = (
    f"SELECT stream, cpu, groupArray(block) FROM ({_BLOCKS.format(only='AND stream IN {streams:Array(String)}')}) "
    "WHERE size = 65536 GROUP BY stream, cpu"
)
_HOLED: Final = (
    "SELECT stream, cpu, block, bitmapToArray(bits) FROM "
    f"({_BLOCKS.format(only='AND stream IN {streams:Array(String)}')}) WHERE size < 65536 ORDER BY stream, cpu, block "
    "LIMIT {blocks:UInt32} BY stream"
)
_SUMS: Final = (
    "SELECT stream, missing, reason, sink, toUInt64(least(sum(toUInt128(most)), 9223372036854775807)) FROM (SELECT stream, "
    "missing, reason, sink, max(by_now) AS most FROM loss GROUP BY stream, holder, owner, missing, reason, sink, source) "
    "GROUP BY stream, missing, reason, sink ORDER BY stream, missing, reason, sink"
)
_GAPS: Final = (
    "SELECT id, stream, cluster, node, owner, holder, missing, reason, sink, amount, start, end FROM gap "
    "FINAL WHERE holder = -2 AND owner = 0 AND toUnixTimestamp64Nano(received) >= {since:Int64} ORDER BY end DESC, id "
    "LIMIT 20 BY cluster, node"  # of each node: one each time that capture was away
)


def gap_row(row: tuple[Any, ...], counter_source: CounterSourceRow | None, sinks: Mapping[str, str | None]) -> GapRow:
    """Out of the columns of a gap. `holder`: the one that it is told of, None when that is none of those that are looked at."""
    name, stream, cluster, node, owner, _, missing, reason, sink, amount, start, end = row
    of = (owner or None, None) if counter_source is None else (counter_source.pod, counter_source.id)
    ours = not sink or sink == sinks.get(stream)
    return GapRow._make((name, stream_id(stream), cluster, node, *of, missing, reason, sink or None, ours, amount, start, end))


def ledger_rows(look: ReadContext, most_holes: int, *, by_cpu: bool) -> LedgerRows:
    """All streams, the newest first. `most_holes` of each stream."""
    told = look.rows(_STREAMS)
    came: dict[str, dict[int, tuple[int, int]]] = {}
    for stream, cpu, known, filed in look.rows(_CAME % ("cpu" if by_cpu else "0")):
        came.setdefault(stream, {})[cpu] = known, filed
    heads = {row[0]: row[2] for row in told}
    streams = [_stream(row, came.get(row[0], {})) for row in told]
    sinks = {stream.name: stream.sink for stream in streams}
    incomplete = [stream.name for stream in streams if (stream.given or 0) > stream.received] if most_holes else []
    return LedgerRows(
        [_node(row[0], row[1]) for row in told if row[1]["captured"] >= 0],
        streams,
        [
            LossRow(stream_id(stream), None, None, missing, reason, sink or None, not sink or sink == sinks[stream], amount)
            for stream, missing, reason, sink, amount in look.rows(_SUMS)
            if stream in sinks
        ],
        [gap_row(row, None, sinks) for row in look.rows(_GAPS) if row[1] in sinks],
        _holes(look, incomplete, heads, most_holes),
        [_cpu(name, cpu, heads[name], came.get(name, {})) for name in sinks for cpu in _cpus(heads[name], came.get(name, {}))]
        if by_cpu
        else [],
    )


def _node(stream: str, newest: Mapping[str, Any]) -> NodeRow:
    words = (newest[key] for key in ("cluster", "node", "start", "end", "received"))
    return NodeRow._make((stream_id(stream), *words, newest["body"].encode()))


def _stream(row: tuple[Any, ...], came: Mapping[int, tuple[int, int]]) -> StreamRow:
    name, newest, heads, whose, said, only, before = row
    heard = newest["captured"] >= 0
    whose = newest if heard else whose
    given = min(sum(heads.values()), _MOST) if heard else None
    known, filed = (sum(part[place] for part in came.values()) for place in (0, 1))
    return StreamRow(stream_id(name), name, whose["cluster"], whose["node"], said or only or None, before, given, known, filed)


def _cpus(heads: Mapping[int, int], came: Mapping[int, Any]) -> list[int]:
    return sorted(heads.keys() | came.keys())


def _cpu(stream: str, cpu: int, heads: Mapping[int, int], came: Mapping[int, tuple[int, int]]) -> CpuRow:
    return CpuRow(stream_id(stream), cpu, heads.get(cpu, 0), came.get(cpu, (0, 0))[0])


def _holes(look: ReadContext, streams: list[str], heads: Mapping[str, Mapping[int, int]], most: int) -> list[HoleRow]:
    """The first `most` of each stream. A full ring leaves a hole beside every fork that it took, so no more blocks are fetched
    than it must be: each that is not full has one, if only at its end."""
    found: dict[str, list[HoleRow]] = {}
    blocks, wanted = 4, streams
    while wanted:
        full: dict[str, dict[int, list[int]]] = {}
        for stream, cpu, whole in look.rows(_FULL, streams=wanted):
            full.setdefault(stream, {})[cpu] = whole
        holed: dict[str, list[tuple[int, int, list[int]]]] = {}
        for stream, rows in groupby(look.rows(_HOLED, streams=wanted, blocks=blocks), itemgetter(0)):
            holed[stream] = [row[1:] for row in rows]
        for stream in wanted:
            found[stream] = _holes_of(stream, heads[stream], full.get(stream, {}), holed.get(stream, []), blocks)[:most]
        wanted = [s for s in wanted if len(found[s]) < most and len(holed.get(s, [])) == blocks]
        blocks *= 4
    return [hole for stream in streams for hole in found[stream]]


def _holes_of(
    stream: str, heads: Mapping[int, int], full: Mapping[int, list[int]], holed: list[tuple[int, int, list[int]]], most: int
) -> list[HoleRow]:
    """`holed`: at most `most` of the blocks that are not full, the first ones; beyond the last of them nothing is known."""
    edge = holed[-1][:2] if len(holed) == most else None
    found = []
    for cpu, given in sorted(heads.items()):
        if edge and cpu > edge[0]:
            break
        until = given if not edge or cpu < edge[0] else min(given, (edge[1] + 1) * _BLOCK)
        known = [(block * _BLOCK, block * _BLOCK + _BLOCK - 1) for block in full.get(cpu, ())]
        for _, block, numbers in (row for row in holed if row[0] == cpu):
            known += runs_of(block * _BLOCK + number for number in numbers)
        found += [HoleRow(stream_id(stream), cpu, *hole) for hole in holes(_joined(known), until)]
    return found


def _joined(runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted and apart; runs that touch at a block's edge are one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(runs):
        if found and found[-1][1] == first - 1:
            found[-1] = found[-1][0], last
        else:
            found.append((first, last))
    return found
