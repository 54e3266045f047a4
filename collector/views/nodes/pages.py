"""The page of nodes (an agent a row) and that of the ledger (a node a card): the worst first.

Pure. Must not live here: whether a ledger adds up (`ledger`), what a card says (`nodecards`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.model import LedgerRows
from collector.views.nodes.cards import node_card, node_words
from collector.views.nodes.ledger import ledger_json, node_entries
from collector.views.words import UNKNOWN, number, per_second, visible

__all__ = ["ledger_model", "node_of", "nodes_model"]

ROWS: Final = 500
CARDS: Final = 50
_RANKS: Final = {"bad": 0, "warn": 1, "ok": 2}


def nodes_model(ledger: LedgerRows, text: str, now: int) -> dict[str, Any]:
    """`text`: somewhere in the cluster's or the node's name. `now` in ns."""
    nodes = node_entries(ledger, now)
    rows = [_agent(node, now) for node in _found(nodes, text)]
    rows.sort(key=lambda row: (_RANKS[row["state"]], row["key"]))
    versions = Counter(visible(node["agent"].get("version")) for node in nodes)
    return {
        "rows": rows[:ROWS],
        "text": text,
        "count": _count(min(len(rows), ROWS), len(nodes)),
        "versions": [f"{number(count)} with {version}" for version, count in versions.most_common(4) if len(versions) > 1],
        "states": _states(rows),
        "none": "" if rows else ("No node is called so." if nodes else "No agent has reported yet."),
    }


def ledger_model(ledger: LedgerRows, text: str, now: int) -> dict[str, Any]:
    nodes = _found(node_entries(ledger, now), text)
    streams = {(node["cluster"], node["node"]): node["streams"] for node in ledger_json(ledger, now)["nodes"]}
    words = {id(node): node_words(node, now) for node in nodes}
    nodes.sort(key=lambda node: (_RANKS[words[id(node)]["state"]], -node["account"]["missing"], words[id(node)]["key"]))
    given, received = (sum(node["account"][part] for node in nodes) for part in ("given", "received"))
    return {
        "cards": [node_card(node, streams[node["cluster"], node["node"]], now) for node in nodes[:CARDS]],
        "text": text,
        "given": number(given),
        "received": number(received),
        "missing": number(given - received),
        "unexplained": sum(node["account"]["unexplained"] for node in nodes),
        "captured": number(sum(node["ledger"]["captured"] for node in nodes)),
        "never": number(never) if (never := sum(sum(node["account"]["never_numbered"].values()) for node in nodes)) else "",
        "count": _count(min(len(nodes), CARDS), len(nodes)),
        "states": _states([words[id(node)] for node in nodes]),
        "none": "" if nodes else ("No node is called so." if ledger.nodes else "No agent has reported yet."),
    }


def node_of(ledger: LedgerRows, cluster: str | None, node: str, now: int) -> dict[str, Any] | None:
    """One node with its `streams`; the first of that name where no cluster is said."""
    for entry in node_entries(ledger, now):
        if entry["node"] == node and cluster in (None, entry["cluster"]):
            key = entry["cluster"], node
            told = next(one for one in ledger_json(ledger, now)["nodes"] if (one["cluster"], one["node"]) == key)
            return {**entry, "streams": told["streams"]}
    return None


def _agent(node: Mapping[str, Any], now: int) -> dict[str, Any]:
    agent, sinks = node["agent"], node["ledger"]["sinks"]
    forks = node["counts"]["processes"]
    return {
        **node_words(node, now),
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


def _found(nodes: Sequence[Mapping[str, Any]], text: str) -> list[Mapping[str, Any]]:
    fork_query = text.lower()
    return [node for node in nodes if fork_query in f"{node['cluster']}/{node['node']}".lower()]


def _states(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    counts = Counter(row["state"] for row in rows)
    words = {"bad": "not right", "warn": "with losses", "ok": "complete"}
    return [{"state": state, "text": f"{number(counts[state])} {words[state]}"} for state in _RANKS if counts[state]]


def _count(shown: int, in_all: int) -> str:
    nodes = f"{number(in_all)} node{'' if in_all == 1 else 's'}"
    return nodes if shown == in_all else f"{nodes}, {number(shown)} shown"
