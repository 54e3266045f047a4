"""A node's heartbeat and ledger as the page shows them.

Pure. Must not live here: whether it adds up; that is `ledger`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from collector.views.times import SECOND
from collector.views.words import ago, length, number, visible

__all__ = ["BAR", "node_card"]

BAR: Final = 1000  # the width of the ledger's bar, in its own units
TERMS: Final = ("delivered", "queued", "lost", "suppressed", "filtered")


def node_card(node: Mapping[str, Any], now: int) -> dict[str, Any]:
    """`state`: ok, warn (something was lost), bad (silent, or does not add up)."""
    ledger, received = node["ledger"], _nanoseconds(node["received"])
    state, verdict = _verdict(node, received, now)
    agent = node["agent"]
    about = [
        f"agent {visible(agent['version'])}" if "version" in agent else "",
        f"kernel {visible(agent['kernel'])}" if "kernel" in agent else "",
    ]
    sent = sum(node["heads"].values())
    return {
        "key": f"{node['cluster']}/{node['node']}",
        "name": visible(node["node"]),
        "cluster": visible(node["cluster"]),
        "state": state,
        "verdict": verdict,
        "heard": f"heard {ago(received, now)}",
        "about": " · ".join(part for part in about if part),
        "lag": f"{number(node['lag_ms'])} ms behind",
        "sinks": [_sink(name, sink, ledger["captured"], len(ledger["sinks"])) for name, sink in ledger["sinks"].items()],
        "came": f"{number(node['received_forks'])} of {number(max(sent, node['received_forks']))} events came here",
    }


def _verdict(node: Mapping[str, Any], received: int, now: int) -> tuple[str, str]:
    if node["silent"]:
        return "bad", f"silent for {length((now - received) // SECOND)}"
    ledger = node["ledger"]
    if not ledger["balanced"]:
        off = {name: sink["total"] - ledger["captured"] for name, sink in ledger["sinks"].items() if not sink["balanced"]}
        return "bad", "does not add up: " + ", ".join(f"{visible(name)} {by:+,}" for name, by in off.items())
    lost = max((sink["sums"]["lost"] for sink in ledger["sinks"].values()), default=0)
    return ("warn", f"adds up, {number(lost)} lost") if lost else ("ok", "adds up, nothing lost")


def _sink(name: str, sink: Mapping[str, Any], captured: int, of: int) -> dict[str, Any]:
    sums, at, terms = sink["sums"], 0.0, []
    for term in TERMS:
        width = sums[term] / max(1, captured, sink["total"]) * BAR
        # A handful lost among millions must still be seen: three units at least.
        width = max(width, 3.0) if sums[term] else 0.0
        terms.append(
            {
                "key": term,
                "name": term,
                "value": number(sums[term]),
                "x": f"{at:.1f}",
                "width": f"{width:.1f}",
                "zero": "" if sums[term] else "true",
            }
        )
        at += width
    return {
        "key": name,
        "name": visible(name) if of > 1 else "",
        "captured": number(captured),
        "terms": terms,
        "sign": "=" if sink["balanced"] else "≠",
        "title": f"what became of them on the way to {visible(name)}",
    }


def _nanoseconds(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp[:19] + "+00:00").timestamp()) * SECOND + int(stamp[20:29])
