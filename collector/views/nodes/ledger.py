"""Does it add up? What each agent says it captured and delivered, and what of it came here.

Pure. Must not live here: what explains a hole (`accounts`), counts per pod (`pods`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from collector.model import UNNUMBERED, CpuRow, GapRow, HoleRow, LedgerRows, NodeRow, StreamRow
from collector.views.nodes.accounts import Account, accounts, united
from collector.views.times import SECOND, stamp
from wire.events import NOT_OBSERVABLE

__all__ = ["gap_json", "is_silent", "ledger_json", "newest_nodes", "node_entries"]

SILENT: Final = 3  # intervals without a heartbeat after which an agent counts as silent


def newest_nodes(nodes: Iterable[NodeRow]) -> dict[tuple[str, str], NodeRow]:
    """By cluster and node: the newest word of its newest stream."""
    newest: dict[tuple[str, str], NodeRow] = {}
    for row in nodes:
        kept = newest.setdefault((row.cluster, row.node), row)
        if (row.end, row.received) > (kept.end, kept.received):
            newest[row.cluster, row.node] = row
    return newest


def is_silent(row: NodeRow, now: int) -> bool:
    """No heartbeat for three intervals, by our clock. `now` in ns."""
    return now - row.received > SILENT * max(row.end - row.start, SECOND)


def node_entries(ledger: LedgerRows, now: int) -> list[dict[str, Any]]:
    """Each node by its newest stream, with the account of all its streams."""
    by_stream = accounts(ledger)
    streams = {stream.id: stream for stream in ledger.streams}
    of_node: dict[tuple[str, str], list[Account]] = defaultdict(list)
    for stream in ledger.streams:
        of_node[stream.cluster, stream.node].append(by_stream[stream.id])
    gaps: dict[tuple[str, str], list[GapRow]] = defaultdict(list)
    for gap in ledger.gaps:
        gaps[gap.cluster, gap.node].append(gap)
    return [
        {
            **_node(row, now),
            "stream": streams[row.stream].name,
            "received_forks": streams[row.stream].filed,
            "account": _account(united(of_node[key])),
            "gaps": [gap_json(gap) for gap in gaps[key]],
        }
        for key, row in sorted(newest_nodes(ledger.nodes).items())
    ]


def ledger_json(ledger: LedgerRows, now: int) -> dict[str, Any]:
    """Every node with all its streams, the newest first: the agent's word, and what came, CPU by CPU, and every hole."""
    by_stream = accounts(ledger)
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
    by_node: dict[tuple[str, str], list[StreamRow]] = defaultdict(list)
    for stream in ledger.streams:
        by_node[stream.cluster, stream.node].append(stream)
    return {
        "nodes": [
            {
                "cluster": cluster,
                "node": node,
                **_account(united(by_stream[stream.id] for stream in streams)),
                "streams": [
                    {
                        **_stream(stream, nodes.get(stream.id), now),
                        **_account(by_stream[stream.id]),
                        "cpus": _cpus(cpus[stream.id]),
                        **_holes(holes[stream.id], by_stream[stream.id]),
                        "gaps": [gap_json(gap) for gap in gaps[stream.id]],
                    }
                    for stream in streams
                ],
            }
            for (cluster, node), streams in sorted(by_node.items())
        ]
    }


def gap_json(gap: GapRow) -> dict[str, Any]:
    """`numbered`: it explains holes; otherwise the forks are in no count at all. `count` null: nobody can know."""
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


def _node(row: NodeRow, now: int) -> dict[str, Any]:
    said = orjson.loads(row.body)
    return {
        "cluster": row.cluster,
        "node": row.node,
        "agent": said["agent"],
        "last_seen": stamp(row.end),
        "received": stamp(row.received),
        "silent": is_silent(row, now),
        "interval_s": round((row.end - row.start) / SECOND, 3),
        "lag_ms": said["lag_ms"],
        "counts": said["counts"],
        "totals": said["totals"],
        "heads": said["heads"],
        "ledger": _reported(said["ledger"]),
    }


def _stream(stream: StreamRow, row: NodeRow | None, now: int) -> dict[str, Any]:
    """`since`: forks that came with later numbers than the newest heartbeat has spoken of."""
    node = None if row is None else _node(row, now)
    return {
        "stream": stream.name,
        "sink": stream.sink,
        "as_of": node and node["last_seen"],
        "silent": node and node["silent"],
        "agent": node and node["agent"],
        "reported": node and node["ledger"],
        "since": stream.filed - stream.received,
    }


def _account(account: Account) -> dict[str, Any]:
    """In forks: `given` = `received` + sum(`explained`) + `on_its_way` + `unexplained`."""
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


def _cpus(cpus: Sequence[CpuRow]) -> dict[str, dict[str, int]]:
    return {str(cpu.cpu): {"given": cpu.given, "received": cpu.received, "missing": cpu.given - cpu.received} for cpu in cpus}


def _holes(holes: Sequence[HoleRow], account: Account) -> dict[str, Any]:
    """`reason` null: more than one is possible. `unlisted`: how many are missing in the holes that are not in the list."""
    listed: list[dict[str, Any]] = [
        {
            "cpu": hole.cpu,
            "first": hole.first,
            "last": hole.last,
            "count": hole.last - hole.first + 1,
            "reason": account.only_reason,
        }
        for hole in holes
    ]
    return {"holes": listed, "unlisted": account.missing - sum(hole["count"] for hole in listed)}


def _reported(said: Mapping[str, Any]) -> dict[str, Any]:
    """The agent's ledger with each sink's sum: captured = delivered + queued + lost + suppressed + filtered."""
    # What the probe was not run for is in no tally, so it is not in `captured`, either.
    before = sum(amount for reason, amount in said["lost"].items() if reason not in ("recursion", "unseen"))
    sinks = {}
    for name, sink in said["sinks"].items():
        queued, lost, filtered = (sum(sink[part].values()) for part in ("queued", "lost", "filtered"))
        total = sink["delivered"] + queued + lost + before + said["suppressed"] + filtered
        sinks[name] = {
            **sink,
            "sums": {
                "delivered": sink["delivered"],
                "queued": queued,
                "lost": lost + before,
                "suppressed": said["suppressed"],
                "filtered": filtered,
            },
            "total": total,
            "balanced": total == said["captured"],
        }
    return {**said, "sinks": sinks, "balanced": all(sink["balanced"] for sink in sinks.values())}
