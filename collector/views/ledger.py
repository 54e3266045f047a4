"""Does it add up? What each agent says it captured and delivered, and what of it came here.

Pure. Must not live here: counts per pod (`pods`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import orjson

from collector.rows import CpuRow, NodeRow
from collector.runs import holes
from collector.views.times import SECOND, stamp

__all__ = ["SILENT", "ledger_json", "node_entries"]

SILENT: Final = 3  # intervals without a heartbeat after which an agent counts as silent
HOLES: Final = 100  # shown for each CPU; all of them are counted


def node_entries(nodes: Sequence[NodeRow], now: int) -> list[dict[str, Any]]:
    """Each node by its newest stream. `silent`: no heartbeat for three intervals. `now` in ns."""
    newest: dict[tuple[str, str], NodeRow] = {}
    for row in nodes:
        kept = newest.setdefault((row.cluster, row.node), row)
        if (row.end, row.received) > (kept.end, kept.received):
            newest[row.cluster, row.node] = row
    return [_node(row, now) for _, row in sorted(newest.items())]


def ledger_json(nodes: Sequence[NodeRow], runs: Sequence[CpuRow], now: int) -> dict[str, Any]:
    """Every node with all its streams, the newest first: the agent's word, and what came, CPU by CPU."""
    by_stream: dict[int, dict[int, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        by_stream[run.stream][run.cpu].append((run.first, run.last))
    by_node: dict[tuple[str, str], list[NodeRow]] = defaultdict(list)
    for row in nodes:
        by_node[row.cluster, row.node].append(row)
    return {
        "nodes": [
            {
                "cluster": cluster,
                "node": node,
                "streams": [
                    _stream(row, by_stream[row.stream], now)
                    for row in sorted(rows, key=lambda row: (row.end, row.received), reverse=True)
                ],
            }
            for (cluster, node), rows in sorted(by_node.items())
        ]
    }


def _node(row: NodeRow, now: int) -> dict[str, Any]:
    said = orjson.loads(row.body)
    length = max(row.end - row.start, SECOND)
    return {
        "cluster": row.cluster,
        "node": row.node,
        "stream": row.stream_name,
        "agent": said["agent"],
        "last_seen": stamp(row.end),
        "received": stamp(row.received),
        "silent": now - row.received > SILENT * length,
        "interval_s": round((row.end - row.start) / SECOND, 3),
        "lag_ms": said["lag_ms"],
        "counts": said["counts"],
        "totals": said["totals"],
        "heads": said["heads"],
        "ledger": _reported(said["ledger"]),
        "received_forks": row.filed,
    }


def _stream(row: NodeRow, runs: dict[int, list[tuple[int, int]]], now: int) -> dict[str, Any]:
    node = _node(row, now)
    heads = {int(cpu): head for cpu, head in node["heads"].items()}
    cpus = {str(cpu): _cpu(runs.get(cpu, []), heads.get(cpu, 0)) for cpu in sorted(heads.keys() | runs.keys())}
    return {
        "stream": row.stream_name,
        "as_of": node["last_seen"],
        "silent": node["silent"],
        "agent": node["agent"],
        "reported": node["ledger"],
        "received": {
            "head": sum(cpu["head"] for cpu in cpus.values()),
            "received": sum(cpu["received"] for cpu in cpus.values()),
            "missing": sum(cpu["missing"] for cpu in cpus.values()),
            "cpus": cpus,
        },
    }


def _cpu(runs: list[tuple[int, int]], head: int) -> dict[str, Any]:
    """`head`: numbers given out by the last heartbeat; what came after it counts as received and cannot be missing."""
    gone = holes(runs, head)
    return {
        "head": head,
        "received": sum(last - first + 1 for first, last in runs),
        "missing": sum(last - first + 1 for first, last in gone),
        "holes": [list(hole) for hole in gone[:HOLES]],
    }


def _reported(said: dict[str, Any]) -> dict[str, Any]:
    """The agent's ledger with each sink's sum: captured = delivered + queued + lost + suppressed + filtered."""
    before = sum(said["lost"].values())
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
