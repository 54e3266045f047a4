"""A node's heartbeat and ledger as the page shows them.

Pure. Must not live here: whether it adds up; that is `ledger`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.views.links import node_href
from collector.views.nodes.accounts import COMPLETE, EXPLAINED, ON_ITS_WAY, UNEXPLAINED, UNHEARD
from collector.views.nodes.reasons import gap_text, reason_badge, reason_words
from collector.views.times import SECOND, clock, moment, span
from collector.views.words import ago, length, number, visible

__all__ = ["BAR", "node_card", "node_words", "verdict_of"]

BAR: Final = 1000  # the width of the ledger's bar, in its own units
TERMS: Final = ("delivered", "queued", "lost", "suppressed", "filtered")
STREAMS: Final = 3  # told on a card, the newest and those of which something is missing; /v1/ledger has all
GAPS: Final = 5
HOLES: Final = 20
_MARKS: Final = {COMPLETE: "ok", UNHEARD: "wait", ON_ITS_WAY: "wait", EXPLAINED: "warn", UNEXPLAINED: "bad"}


def node_card(node: Mapping[str, Any], streams: Sequence[Mapping[str, Any]], now: int) -> dict[str, Any]:
    """A node of the ledger. `streams` as in `ledger.ledger_json`."""
    ledger, account = node["ledger"], node["account"]
    shown = [stream for place, stream in enumerate(streams) if not place or stream["state"] != COMPLETE][:STREAMS]
    never = sum(account["never_numbered"].values())
    return {
        **node_words(node, now),
        "sinks": [_sink(name, sink, ledger["captured"], len(ledger["sinks"])) for name, sink in ledger["sinks"].items()],
        "missing": _badges(account),
        "never": f"{number(never)} forks never had a number, so nobody knows whose they were" if never else "",
        "gaps": [_gap(gap) for gap in node["gaps"][:GAPS]],
        "streams": [_stream(stream) for stream in shown],
        "more": f"{number(len(streams) - len(shown))} more in the JSON" if len(streams) > len(shown) else "",
    }


def node_words(node: Mapping[str, Any], now: int) -> dict[str, str]:
    """`state`: ok, warn (something was lost), bad (silent, or does not add up)."""
    received, account = moment(node["received"]), node["account"]
    state, verdict = verdict_of(node, now)
    return {
        "key": f"{node['cluster']}/{node['node']}",
        "href": node_href(node["cluster"], node["node"]),
        "name": visible(node["node"]),
        "cluster": visible(node["cluster"]),
        "state": state,
        "verdict": verdict,
        "heard": ago(received, now),
        "came": f"received {number(account['received'])} of {number(account['given'])}",
        "account": account["state"],
        "account_mark": _MARKS[account["state"]],
    }


def _badges(account: Mapping[str, Any]) -> list[dict[str, str]]:
    """Of what is missing: each declared reason, what is on its way, what nobody explains."""
    parts = {**account["explained"], "on its way": account["on_its_way"], "unexplained": account["unexplained"]}
    marks = {"on its way": "wait", "unexplained": "bad"}
    return [{**reason_badge(reason, count), "mark": marks.get(reason, "warn")} for reason, count in parts.items() if count]


def _gap(gap: Mapping[str, Any]) -> dict[str, str]:
    return {
        "key": gap["id"],
        "text": gap_text(gap),
        "when": span(gap["interval"]["start"], gap["interval"]["end"]),
    }


def _stream(stream: Mapping[str, Any]) -> dict[str, Any]:
    boot, _, epoch = stream["stream"].partition(".")
    holes = [
        {
            "key": f"{hole['cpu']}.{hole['first']}",
            "cpu": str(hole["cpu"]),
            "numbers": str(hole["first"]) if hole["count"] == 1 else f"{hole['first']} to {hole['last']}",
            "count": number(hole["count"]),
            "reason": reason_words(hole["reason"]) if hole["reason"] else "one of those above",
        }
        for hole in stream["holes"]
    ]
    unlisted = stream["unlisted"] + sum(hole["count"] for hole in stream["holes"][HOLES:])
    return {
        "key": stream["stream"],
        "name": f"{boot[:8]} {epoch}",
        "title": f"boot {boot}, epoch {epoch}",
        "as_of": clock(stream["as_of"])[:8],
        "received": number(stream["received"]),
        "given": number(stream["given"]),
        "share": f"{stream['received'] / max(1, stream['given']) * BAR:.1f}",
        "missed": number(stream["missing"]),
        "state": stream["state"],
        "mark": _MARKS[stream["state"]],
        "missing": _badges(stream),
        "holes": holes[:HOLES],
        "unlisted": f"{number(unlisted)} more in other holes; the JSON has them" if unlisted else "",
    }


def verdict_of(node: Mapping[str, Any], now: int) -> tuple[str, str]:
    """`ok`, `warn` (something was lost) or `bad` (silent, or it does not add up), and in words."""
    if node["silent"]:
        return "bad", f"silent for {length((now - moment(node['received'])) // SECOND)}"
    ledger = node["ledger"]
    if not ledger["balanced"]:
        off = {name: sink["total"] - ledger["captured"] for name, sink in ledger["sinks"].items() if not sink["balanced"]}
        return "bad", "does not add up: " + ", ".join(f"{visible(name)} {by:+,}" for name, by in off.items())
    if unexplained := node["account"]["unexplained"]:
        return "bad", f"{number(unexplained)} missing, unexplained"
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
