"""The ledger of each node: what its agent reported as captured and delivered, and what of it arrived here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, cast

import orjson

from collector.model import UNNUMBERED, CpuRow, GapRow, HoleRow, LedgerRows, NodeRow, StreamConflicts, StreamRow
from collector.views.nodes.accounting import StreamAccount, stream_accounts, sum_accounts
from collector.views.times import SECOND, stamp
from wire.api import (
    Account,
    Conflicts,
    CpuNumbers,
    GapEntry,
    LedgerPage,
    LedgerStream,
    MissingNumbers,
    NodeEntry,
    ReportedLedger,
    ReportedSink,
)
from wire.events import NOT_OBSERVABLE, Ledger, NodeSummary

__all__ = ["gap_json", "is_silent", "ledger_json", "newest_nodes", "node_entries"]

SILENT: Final = 3  # intervals without a heartbeat after which an agent counts as silent


def newest_nodes(nodes: Iterable[NodeRow]) -> dict[tuple[str, str], NodeRow]:
    """By cluster and node: the newest heartbeat of its newest stream."""
    newest: dict[tuple[str, str], NodeRow] = {}
    for row in nodes:
        kept = newest.setdefault((row.cluster, row.node), row)
        if (row.end, row.received) > (kept.end, kept.received):
            newest[row.cluster, row.node] = row
    return newest


def is_silent(row: NodeRow, now: int) -> bool:
    """No heartbeat for three intervals, by our clock. `now` in ns."""
    return now - row.received > SILENT * max(row.end - row.start, SECOND)


def node_entries(ledger: LedgerRows, now: int) -> list[NodeEntry]:
    """Each node by its newest stream, with the account of all its streams."""
    by_stream = stream_accounts(ledger)
    streams = {stream.id: stream for stream in ledger.streams}
    of_node: dict[tuple[str, str], list[StreamAccount]] = defaultdict(list)
    for stream in ledger.streams:
        of_node[stream.cluster, stream.node].append(by_stream[stream.id])
    of_streams = {one.stream: one.ids for one in ledger.conflicts}
    in_conflict: Counter[tuple[str, str]] = Counter()
    for stream in ledger.streams:
        in_conflict[stream.cluster, stream.node] += of_streams.get(stream.id, 0)
    gaps: dict[tuple[str, str], list[GapRow]] = defaultdict(list)
    for gap in ledger.gaps:
        gaps[gap.cluster, gap.node].append(gap)
    entries: list[NodeEntry] = []
    for key, row in sorted(newest_nodes(ledger.nodes).items()):
        heartbeat = _heartbeat(row)
        entries.append(
            {
                "cluster": row.cluster,
                "node": row.node,
                "agent": heartbeat["agent"],
                "last_seen": stamp(row.end),
                "received": stamp(row.received),
                "silent": is_silent(row, now),
                "interval_s": round((row.end - row.start) / SECOND, 3),
                "lag_ms": heartbeat["lag_ms"],
                "counts": heartbeat["counts"],
                "totals": heartbeat["totals"],
                "heads": heartbeat["heads"],
                "ledger": _reported(heartbeat["ledger"]),
                "stream": streams[row.stream].name,
                "received_forks": streams[row.stream].stored,
                "account": _account(sum_accounts(of_node[key])),
                "conflicts": in_conflict[key],
                "gaps": [gap_json(gap) for gap in gaps[key]],
            }
        )
    return entries


def ledger_json(ledger: LedgerRows, now: int) -> LedgerPage:
    """Every node with all its streams, the newest first: what the agent reported, what arrived by CPU, and what did not."""
    by_stream = stream_accounts(ledger)
    nodes = {row.stream: row for row in ledger.nodes}
    cpus: dict[int, list[CpuRow]] = defaultdict(list)
    for cpu in ledger.cpus:
        cpus[cpu.stream].append(cpu)
    holes: dict[int, list[HoleRow]] = defaultdict(list)
    for hole in ledger.holes:
        holes[hole.stream].append(hole)
    gaps: dict[int, list[GapRow]] = defaultdict(list)
    for gap in ledger.gaps:
        gaps[gap.stream].append(gap)
    conflicts = {one.stream: one for one in ledger.conflicts}
    by_node: dict[tuple[str, str], list[StreamRow]] = defaultdict(list)
    for stream in ledger.streams:
        by_node[stream.cluster, stream.node].append(stream)
    return {
        "nodes": [
            {
                "cluster": cluster,
                "node": node,
                **_account(sum_accounts(by_stream[stream.id] for stream in streams)),
                "streams": [
                    _stream(
                        stream,
                        nodes.get(stream.id),
                        by_stream[stream.id],
                        cpus[stream.id],
                        holes[stream.id],
                        gaps[stream.id],
                        conflicts.get(stream.id),
                        now,
                    )
                    for stream in streams
                ],
            }
            for (cluster, node), streams in sorted(by_node.items())
        ],
        "deleted_early": [
            {"table": one.table, "rows": one.rows, "until": stamp(one.until), "at": stamp(one.at)}
            for one in ledger.deleted_early
        ],
    }


def gap_json(gap: GapRow) -> GapEntry:
    return {
        "id": gap.id,
        "missing": gap.missing,
        "reason": gap.reason,
        "sink": gap.sink,
        "here": gap.ours,
        "numbered": gap.reason not in UNNUMBERED,
        "count": None if gap.reason == NOT_OBSERVABLE else gap.amount,
        "interval": {"start": stamp(gap.start), "end": stamp(gap.end)},
    }


def _heartbeat(row: NodeRow) -> NodeSummary:
    """The stored part of a `node_summary`: agent, lag_ms, counts, totals, heads, ledger."""
    return cast(NodeSummary, orjson.loads(row.body))


def _stream(
    stream: StreamRow,
    row: NodeRow | None,
    account: StreamAccount,
    cpus: Sequence[CpuRow],
    holes: Sequence[HoleRow],
    gaps: Sequence[GapRow],
    conflicts: StreamConflicts | None,
    now: int,
) -> LedgerStream:
    heartbeat = None if row is None else _heartbeat(row)
    missing_numbers: list[MissingNumbers] = [
        {
            "cpu": hole.cpu,
            "first": hole.first,
            "last": hole.last,
            "count": hole.last - hole.first + 1,
            "reason": account.only_reason,
        }
        for hole in holes
    ]
    return {
        "stream": stream.name,
        "sink": stream.sink,
        "as_of": None if row is None else stamp(row.end),
        "silent": None if row is None else is_silent(row, now),
        "agent": None if heartbeat is None else heartbeat["agent"],
        "reported": None if heartbeat is None else _reported(heartbeat["ledger"]),
        "since": stream.stored - stream.received,
        **_account(account),
        "cpus": {str(cpu.cpu): _cpu(cpu) for cpu in cpus},
        "holes": missing_numbers,
        "unlisted": account.missing - sum(hole["count"] for hole in missing_numbers),
        "gaps": [gap_json(gap) for gap in gaps],
        "conflicts": None if conflicts is None else _conflicts(conflicts),
    }


def _conflicts(conflicts: StreamConflicts) -> Conflicts:
    return {
        "ids": conflicts.ids,
        "times": conflicts.times,
        "unlisted": conflicts.unlisted,
        "listed": [
            {**row._asdict(), "first": stamp(row.first), "last": stamp(row.last)}  # type: ignore[typeddict-item]
            for row in conflicts.rows
        ],
    }


def _account(account: StreamAccount) -> Account:
    return {
        "state": account.state,
        "given": account.given,
        "received": account.received,
        "missing": account.missing,
        "explained": dict(account.explained),
        "on_its_way": account.on_its_way,
        "unexplained": account.unexplained,
        "declared": dict(account.declared),
        "never_numbered": dict(account.unnumbered),
    }


def _cpu(cpu: CpuRow) -> CpuNumbers:
    return {"given": cpu.given, "received": cpu.received, "missing": cpu.given - cpu.received}


def _reported(ledger: Ledger) -> ReportedLedger:
    """The agent's ledger with each sink's sum: captured = delivered + queued + lost + suppressed + filtered."""
    # Forks for which the BPF program did not run are in no cgroup counters, so they are not in `captured`, either.
    before = sum(amount for reason, amount in ledger["lost"].items() if reason not in ("recursion", "unseen"))
    sinks: dict[str, ReportedSink] = {}
    for name, sink in ledger["sinks"].items():
        queued, lost, filtered = (sum(amounts.values()) for amounts in (sink["queued"], sink["lost"], sink["filtered"]))
        total = sink["delivered"] + queued + lost + before + ledger["suppressed"] + filtered
        sinks[name] = {
            "delivered": sink["delivered"],
            "queued": sink["queued"],
            "lost": sink["lost"],
            "filtered": sink["filtered"],
            "sums": {
                "delivered": sink["delivered"],
                "queued": queued,
                "lost": lost + before,
                "suppressed": ledger["suppressed"],
                "filtered": filtered,
            },
            "total": total,
            "balanced": total == ledger["captured"],
        }
    return {
        "captured": ledger["captured"],
        "suppressed": ledger["suppressed"],
        "kernel_workers": ledger["kernel_workers"],
        "lost": ledger["lost"],
        "sinks": sinks,
        "balanced": all(sink["balanced"] for sink in sinks.values()),
    }
