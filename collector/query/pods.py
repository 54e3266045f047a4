"""Reading: what the views ask of pods and hosts, as rows.

Must not live here: writing, sums over rows and JSON (`collector.views`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from collector.model import (
    NOTHING,
    CounterSourceRow,
    Filter,
    GapRow,
    LossRow,
    ParentRow,
    PodRow,
    PointRow,
    Snapshot,
    StormRow,
    TaskCounts,
)
from collector.query.ledger import gap_row, ledger_rows
from collector.query.read_context import ReadContext
from collector.store.commit import NO_CGROUP
from collector.store.naming import counter_source_id, counter_sources, pods_where, stream_id

__all__ = ["Chosen", "attributions_of", "choose", "find_pods", "gaps_of", "sizes", "snapshot", "storms_of"]

_TOP: Final = 10  # comms a holder
_NOBODY: Final = '{"cgroup":null,"container":null,"k8s":{}}'  # of whom every word was forgotten
_WHOSE: Final = (
    "Tuple(rank UInt8, said Int64, owner UInt64, cluster String, node String, namespace String, pod String, uid String, "
    "subject UInt64)"
)
# Every word about a pod: of its holders, of gaps that are told of it as a whole, of its storms.
_TOLD: Final = (
    f"SELECT CAST((0, 0, owner, cluster, node, namespace, pod, uid, 0) AS {_WHOSE}) AS w, end AS first, end AS last FROM gap "
    "WHERE owner != 0 AND toUnixTimestamp64Nano(received) >= {since:Int64} UNION ALL "
    f"SELECT CAST((0, 0, o.owner, o.cluster, o.node, o.namespace, o.pod, o.uid, 0) AS {_WHOSE}), n.start, n.end "
    "FROM (SELECT max(whose) AS o, max(newest) AS n FROM storm GROUP BY stream, cgroup, number "
    "HAVING toUnixTimestamp64Nano(max(seen)) >= {since:Int64})"
)
_FITTING: Final = f"SELECT DISTINCT w.owner FROM (SELECT w, first, last FROM (%s) UNION ALL {_TOLD}) WHERE %s"
_PODS: Final = (
    "SELECT w.owner AS owner, max(w.cluster), argMax(w.node, last), nullIf(max(w.namespace), ''), nullIf(max(w.pod), ''), "
    "nullIf(max(w.uid), ''), min(first) AS first_seen, max(last) AS last_seen, count() OVER () "
    f"FROM (SELECT w, first, last FROM (%s) UNION ALL {_TOLD}) WHERE owner != 0 "
    "GROUP BY owner HAVING max(%s) ORDER BY %s DESC, owner LIMIT {limit:UInt32}"
)
_BODIES: Final = "SELECT id, any(body) FROM subject WHERE id IN {subjects:Array(UInt64)} GROUP BY id"
_MINE: Final = "tupleElement(w, 'owner') IN {chosen:Array(UInt64)}"
_OR_HOST: Final = f"(tupleElement(w, 'owner') = 0 OR {_MINE})"
_CHOSEN: Final = (
    "SELECT stream, cgroup, w.owner, w.cluster, w.node, w.subject, first, last, n.sum, n.start, n.end, n.received, n.counts, "
    f"n.totals FROM ({counter_sources(_OR_HOST)}) ORDER BY stream, cgroup"
)
_OF_PODS: Final = f"SELECT stream, cgroup, w.subject FROM ({counter_sources(_MINE)}) ORDER BY stream, cgroup"
# Holders that were ever said to be of the chosen or of hosts: a list of holders would cost more to tell than to find.
_EVER: Final = (
    "(stream, cgroup) IN (SELECT stream, cgroup FROM holder "
    "WHERE tupleElement(whose, 'owner') = 0 OR tupleElement(whose, 'owner') IN {chosen:Array(UInt64)})"
)
# The comms that forked most, a few of each holder, and how many forks it made in all.
_MADE: Final = (
    "SELECT stream, cgroup, kind, comm, groupBitmapMerge(numbers) AS forks, "
    "sum(forks) OVER (PARTITION BY stream, cgroup, kind) FROM made "
    f"WHERE {_EVER} GROUP BY stream, cgroup, kind, comm "
    "ORDER BY forks DESC, comm NULLS FIRST LIMIT {top:UInt8} BY stream, cgroup, kind"
)
_POINTS: Final = (
    "SELECT stream, cgroup, min(start), end, max(processes) FROM summary WHERE end > {after:Int64} "
    f"AND {_EVER} GROUP BY stream, cgroup, end"
)
_LOSSES: Final = (
    "SELECT stream, holder, owner, missing, reason, sink, toUInt64(least(sum(toUInt128(most)), 9223372036854775807)) FROM "
    "(SELECT stream, holder, owner, missing, reason, sink, source, max(by_now) AS most FROM loss WHERE (holder = -2 AND "
    "(owner = 0 OR owner IN {chosen:Array(UInt64)})) OR holder IN {cgroups:Array(Int64)} "
    "GROUP BY stream, holder, owner, missing, reason, sink, source) GROUP BY stream, holder, owner, missing, reason, sink"
)
_STORMS: Final = (
    "SELECT stream, number, o.owner, o.cluster, o.node, n.is_over, n.limit, n.hold, n.start, n.end, n.counts, n.totals, "
    "count() OVER (PARTITION BY o.owner) FROM (SELECT stream, cgroup, number, max(whose) AS o, max(newest) AS n FROM storm "
    "GROUP BY stream, cgroup, number HAVING toUnixTimestamp64Nano(max(seen)) >= {since:Int64} "
    "AND o.owner IN {chosen:Array(UInt64)}) ORDER BY n.start DESC, number DESC LIMIT {limit:UInt32} BY o.owner"
)
_GAPS: Final = (
    "SELECT id, stream, cluster, node, owner, holder, missing, reason, sink, amount, start, end FROM gap "
    "WHERE toUnixTimestamp64Nano(received) >= {since:Int64} AND ((owner != 0 AND owner IN {chosen:Array(UInt64)}) OR "
    "(stream, holder) IN {mine:Array(Tuple(String, Int64))}) ORDER BY end DESC, id LIMIT 1 BY stream, id LIMIT {limit:UInt32}"
)


class Chosen(NamedTuple):
    """The pods that a look is about, their holders and those of all hosts. `mine`: the holders by stream and cgroup."""

    pods: list[int]
    mine: dict[tuple[str, int], CounterSourceRow]
    parents: list[ParentRow]

    def of_pods(self) -> dict[tuple[str, int], CounterSourceRow]:
        return {key: counter_source for key, counter_source in self.mine.items() if counter_source.pod is not None}


def find_pods(look: ReadContext, wish: Filter, limit: int, owner: int = 0, by: str = "last_seen") -> tuple[list[PodRow], int]:
    """Those that are wished, the most recently seen first, and how many there are in all."""
    values: dict[str, Any] = {"limit": limit}
    fits, among = pods_where(wish, values), counter_sources()
    if owner or wish.pod or wish.pod_uid:  # few, so that all which is told of others need not be read
        values["chosen"] = (
            [owner] if owner else [row[0] for row in look.rows(_FITTING % (counter_sources(fits), fits), **values)]
        )
        among, fits = counter_sources(_MINE), f"{fits} AND {_MINE}"
    rows = look.rows(_PODS % (among, fits, by), **values)
    return [PodRow._make(row[:8]) for row in rows], rows[0][8] if rows else 0


def attributions_of(look: ReadContext, pods: Sequence[PodRow]) -> dict[tuple[str, int], bytes]:
    """Of the holders of pods alone: whose each is."""
    rows = look.rows(_OF_PODS, chosen=[pod.id for pod in pods])
    bodies = dict(look.rows(_BODIES, subjects=sorted({row[2] for row in rows})))
    return {(stream, cgroup): bodies.get(attribution, _NOBODY).encode() for stream, cgroup, attribution in rows}


def choose(look: ReadContext, pods: Sequence[PodRow]) -> Chosen:
    chosen = [pod.id for pod in pods]
    rows = look.rows(_CHOSEN, chosen=chosen)
    bodies = dict(look.rows(_BODIES, subjects=sorted({row[5] for row in rows})))
    filed: dict[tuple[str, int], dict[str, int]] = {}
    parents: list[ParentRow] = []
    known = {row[:2] for row in rows}
    for stream, cgroup, kind, comm, forks, in_all in look.rows(_MADE, chosen=chosen, top=_TOP):
        if (stream, cgroup) not in known:
            continue
        filed.setdefault((stream, cgroup), {})[kind] = in_all
        if kind == "process":
            parents.append(ParentRow(counter_source_id(stream, cgroup), comm, forks))
    mine = {
        row[:2]: _counter_source(row, bodies.get(row[5], _NOBODY).encode(), sum(filed.get(row[:2], {}).values()))
        for row in rows
    }
    return Chosen(chosen, mine, parents)


def _counter_source(row: tuple[Any, ...], attribution: bytes, filed: int) -> CounterSourceRow:
    stream, cgroup, owner, cluster, node, _, first, last, grown, start, end, received, counts, totals = row
    whose = (
        counter_source_id(stream, cgroup),
        stream_id(stream),
        cgroup,
        owner or None,
        cluster,
        node,
        attribution,
        filed,
        first,
        last,
    )
    if grown < 0:
        return CounterSourceRow(*whose, None, None, None, NOTHING, NOTHING)
    return CounterSourceRow(*whose, start, end, received, TaskCounts(*counts), TaskCounts(*totals))


def snapshot(look: ReadContext, pods: Sequence[PodRow], in_all: int, points_since: int) -> tuple[Snapshot, Chosen]:
    """The given pods with the hosts and nodes, and their holders. `in_all`: how many pods there are. `points_since` in ns."""
    chosen = choose(look, pods)
    ledger = ledger_rows(look, 0, by_cpu=False)
    sinks = {stream.name: stream.sink for stream in ledger.streams}
    points = look.rows(_POINTS, chosen=chosen.pods, after=points_since)
    storms, in_each = storms_of(look, chosen.pods, 1)
    whole = Snapshot(
        list(pods),
        in_all,
        list(chosen.mine.values()),
        chosen.parents,
        [PointRow(counter_source_id(*row[:2]), *row[2:]) for row in points if row[:2] in chosen.mine],
        _losses(look, chosen, sinks),
        storms,
        in_each,
        ledger,
    )
    return whole, chosen


def _losses(look: ReadContext, chosen: Chosen, sinks: dict[str, str | None]) -> list[LossRow]:
    """Asked for by cgroup alone, since a list of holders costs more to tell than a few rows too many do."""
    rows = look.rows(_LOSSES, chosen=chosen.pods, cgroups=sorted({cgroup for _, cgroup in chosen.mine}))
    return [_loss(row, chosen, sinks) for row in rows if row[0] in sinks and (row[1] == NO_CGROUP or row[:2] in chosen.mine)]


def _loss(row: tuple[Any, ...], chosen: Chosen, sinks: dict[str, str | None]) -> LossRow:
    stream, cgroup, owner, missing, reason, sink, amount = row
    counter_source = chosen.mine.get((stream, cgroup))
    ours = not sink or sink == sinks[stream]
    of = (owner or None, None) if counter_source is None else (counter_source.pod, counter_source.id)
    return LossRow._make((stream_id(stream), *of, missing, reason, sink or None, ours, amount))


def storms_of(look: ReadContext, pods: Sequence[int], limit: int) -> tuple[list[StormRow], dict[int, int]]:
    """The newest of each pod, newest first, and how many each has had."""
    rows = look.rows(_STORMS, chosen=pods, limit=limit)
    storms = [
        StormRow._make((stream_id(row[0]), *row[1:5], bool(row[5]), *row[6:10], TaskCounts(*row[10]), TaskCounts(*row[11])))
        for row in rows
    ]
    return storms, {row[2]: row[12] for row in rows}


def gaps_of(
    look: ReadContext, chosen: Chosen, only: Sequence[tuple[str, int]], sinks: dict[str, str | None], limit: int
) -> list[GapRow]:
    """The newest gaps told of the chosen pods and of `only` these holders; each for itself, newest first."""
    return [
        gap_row(row, chosen.mine.get((row[1], row[5])), sinks)
        for row in look.rows(_GAPS, chosen=chosen.pods, mine=only, limit=limit)
    ]


def sizes(look: ReadContext) -> tuple[int, int, int]:
    """Forks as far as they are merged, pods, bytes on the disk."""
    ((forks, size),) = look.rows(
        "SELECT sumIf(rows, table IN ('fork', 'fork_local')), sum(bytes_on_disk) FROM system.parts "
        "WHERE active AND database = currentDatabase()"
    )
    return int(forks), find_pods(look, Filter(), 1)[1], int(size)
