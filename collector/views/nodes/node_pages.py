"""The page of nodes (one agent a row) and the page of the ledger (one node a card): the worst first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from collector.model import DeletedEarly, LedgerRows
from collector.views.formatting import UNKNOWN, number, per_second, visible
from collector.views.nodes.ledger import ledger_json, node_entries
from collector.views.nodes.node_card import expected_numbers, node_card, node_status
from collector.views.times import stamp
from wire.api import LedgerStream, NodeEntry

__all__ = ["FoundNode", "find_node", "ledger_model", "nodes_model"]

MAX_ROWS: Final = 500
MAX_CARDS: Final = 50
_RANKS: Final = {"bad": 0, "warn": 1, "ok": 2}


class FoundNode(NamedTuple):
    """A node and its streams."""

    entry: NodeEntry
    streams: list[LedgerStream]


def nodes_model(ledger: LedgerRows, text: str, now: int) -> dict[str, Any]:
    """`text`: somewhere in the cluster's or the node's name. `now` in ns."""
    nodes = node_entries(ledger, now)
    rows = [_agent(node, now) for node in _matching(nodes, text)]
    rows.sort(key=lambda row: (_RANKS[row["state"]], row["key"]))
    versions = Counter(visible(node["agent"].get("version")) for node in nodes)
    return {
        "rows": rows[:MAX_ROWS],
        "text": text,
        "count": _count(min(len(rows), MAX_ROWS), len(nodes)),
        "versions": [f"{number(count)} with {version}" for version, count in versions.most_common(4) if len(versions) > 1],
        "states": _states(rows),
        "deleted_early": [_deleted_early(one) for one in ledger.deleted_early],
        "none": "" if rows else ("No node has that name." if nodes else "No agent has reported yet."),
    }


def ledger_model(ledger: LedgerRows, text: str, now: int) -> dict[str, Any]:
    nodes = _matching(node_entries(ledger, now), text)
    streams = {(node["cluster"], node["node"]): node["streams"] for node in ledger_json(ledger, now)["nodes"]}
    status = {id(node): node_status(node, now) for node in nodes}
    nodes.sort(key=lambda node: (_RANKS[status[id(node)]["state"]], -node["account"]["missing"], status[id(node)]["key"]))
    given, received = (
        sum(expected_numbers(node["account"]) for node in nodes),
        sum(node["account"]["received"] for node in nodes),
    )
    return {
        "cards": [node_card(node, streams[node["cluster"], node["node"]], now) for node in nodes[:MAX_CARDS]],
        "text": text,
        "given": number(given),
        "received": number(received),
        "missing": number(given - received),
        "unexplained": sum(node["account"]["unexplained"] for node in nodes),
        "captured": number(sum(node["ledger"]["captured"] for node in nodes)),
        "never": number(never) if (never := sum(sum(node["account"]["never_numbered"].values()) for node in nodes)) else "",
        "count": _count(min(len(nodes), MAX_CARDS), len(nodes)),
        "states": _states([status[id(node)] for node in nodes]),
        "deleted_early": [_deleted_early(one) for one in ledger.deleted_early],
        "none": "" if nodes else ("No node has that name." if ledger.nodes else "No agent has reported yet."),
    }


def _deleted_early(one: DeletedEarly) -> str:
    what = {"fork": "forks", "summary": "summaries", "minute": "sums of minutes", "gap": "gaps"}.get(one.table, one.table)
    until = stamp(one.until)
    return (
        f"{number(one.rows)} {what}, received before {until[:10]} {until[11:16]} UTC, were deleted before their time: the "
        "collector's volume was 90 % full."
    )


def find_node(ledger: LedgerRows, cluster: str, node: str, now: int) -> FoundNode | None:
    """The node of that name; the first one where `cluster` is ""."""
    for entry in node_entries(ledger, now):
        if entry["node"] == node and cluster in ("", entry["cluster"]):
            key = entry["cluster"], node
            ledgers = ledger_json(ledger, now)["nodes"]
            return FoundNode(entry, next(one["streams"] for one in ledgers if (one["cluster"], one["node"]) == key))
    return None


def _agent(node: NodeEntry, now: int) -> dict[str, Any]:
    agent, sinks = node["agent"], node["ledger"]["sinks"]
    forks = node["counts"]["processes"]
    return {
        **node_status(node, now),
        "version": visible(agent.get("version")),
        "kernel": visible(agent.get("kernel")),
        "started": visible(agent.get("started") or "")[:19].replace("T", " "),
        "lag": f"{number(node['lag_ms'])} ms" if node["lag_ms"] is not None else UNKNOWN,
        "rate": per_second(forks / node["interval_s"]) if node["interval_s"] and not node["silent"] else UNKNOWN,
        "captured": number(node["ledger"]["captured"]),
        "sinks": [
            {
                "name": visible(name),
                "delivered": number(sink["sums"]["delivered"]),
                "journal": number(sink["queued"].get("journal", 0)),
                "queued": number(sink["sums"]["queued"]),
                "lost": number(sink["sums"]["lost"]),
                "is_lossy": bool(sink["sums"]["lost"]),
            }
            for name, sink in sorted(sinks.items())
        ],
    }


def _matching(nodes: Sequence[NodeEntry], text: str) -> list[NodeEntry]:
    part = text.lower()
    return [node for node in nodes if part in f"{node['cluster']}/{node['node']}".lower()]


def _states(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    counts = Counter(row["state"] for row in rows)
    words = {"bad": "unhealthy", "warn": "with losses", "ok": "complete"}
    return [
        {"state": state, "text": f"{number(counts[state])} node{'' if counts[state] == 1 else 's'} {words[state]}"}
        for state in _RANKS
        if counts[state]
    ]


def _count(shown: int, in_all: int) -> str:
    nodes = f"{number(in_all)} node{'' if in_all == 1 else 's'}"
    return nodes if shown == in_all else f"{nodes}, {number(shown)} shown"
