"""A node's heartbeat and ledger as the pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from collector.views.formatting import format_duration, number, time_ago, visible
from collector.views.links import node_href
from collector.views.nodes.accounting import BEFORE, COMPLETE, EXPLAINED, NOT_SUMMED_UP, ON_ITS_WAY, UNEXPLAINED
from collector.views.nodes.loss_reasons import gap_text, loss_badge, reason_text
from collector.views.times import SECOND, format_span, parse_stamp, time_of_day
from wire.api import Account, GapEntry, LedgerStream, NodeEntry, ReportedSink

__all__ = ["BAR", "expected_numbers", "node_card", "node_status", "node_verdict"]

BAR: Final = 1000  # the width of the ledger's bar, in its own units
TERMS: Final[tuple[Literal["delivered", "queued", "lost", "suppressed", "filtered"], ...]] = (
    "delivered",
    "queued",
    "lost",
    "suppressed",
    "filtered",
)
MAX_STREAMS: Final = 3  # on a card: the newest, and those of which something is missing; /v1/ledger has all
MAX_GAPS: Final = 5
MAX_HOLES: Final = 20
_MARKS: Final = {COMPLETE: "ok", NOT_SUMMED_UP: "wait", ON_ITS_WAY: "wait", EXPLAINED: "warn", UNEXPLAINED: "bad"}


def node_card(node: NodeEntry, streams: Sequence[LedgerStream], now: int) -> dict[str, Any]:
    """A node of the ledger. `streams`: its own, as in the ledger's JSON."""
    ledger, account = node["ledger"], node["account"]
    shown = [stream for place, stream in enumerate(streams) if not place or stream["state"] != COMPLETE][:MAX_STREAMS]
    never = sum(account["never_numbered"].values())
    return {
        **node_status(node, now),
        "sinks": [_sink(name, sink, ledger["captured"], len(ledger["sinks"])) for name, sink in ledger["sinks"].items()],
        "missing": _badges(account),
        "never": f"{number(never)} forks never had a number, so their pods are not known" if never else "",
        "gaps": [_gap(gap) for gap in node["gaps"][:MAX_GAPS]],
        "streams": [_stream(stream) for stream in shown],
        "more": f"{number(len(streams) - len(shown))} more in the JSON" if len(streams) > len(shown) else "",
    }


def node_status(node: NodeEntry, now: int) -> dict[str, str]:
    """`state`: ok, warn (something was lost), bad (silent, or does not add up)."""
    received, account = parse_stamp(node["received"]), node["account"]
    state, verdict = node_verdict(node, now)
    return {
        "key": f"{node['cluster']}/{node['node']}",
        "href": node_href(node["cluster"], node["node"]),
        "name": visible(node["node"]),
        "cluster": visible(node["cluster"]),
        "state": state,
        "verdict": verdict,
        "heartbeat": time_ago(received, now),
        "received": f"received {number(account['received'])} of {number(expected_numbers(account))}",
        "account": account["state"],
        "account_mark": _MARKS[account["state"]],
    }


def node_verdict(node: NodeEntry, now: int) -> tuple[str, str]:
    """`ok`, `warn` (something was lost) or `bad` (silent, or it does not add up); and the same in words."""
    if node["silent"]:
        return "bad", f"silent for {format_duration((now - parse_stamp(node['received'])) // SECOND)}"
    ledger = node["ledger"]
    if not ledger["balanced"]:
        off = {name: sink["total"] - ledger["captured"] for name, sink in ledger["sinks"].items() if not sink["balanced"]}
        return "bad", "does not add up: " + ", ".join(f"{visible(name)} {by:+,}" for name, by in off.items())
    if conflicts := node["conflicts"]:
        return "bad", f"{number(conflicts)} numbers came with more than one content"
    if unexplained := node["account"]["unexplained"]:
        return "bad", f"{number(unexplained)} missing, unexplained"
    lost = max((sink["sums"]["lost"] for sink in ledger["sinks"].values()), default=0)
    return ("warn", f"adds up, {number(lost)} lost") if lost else ("ok", "adds up, nothing lost")


def expected_numbers(account: Account) -> int:
    """Numbers given out since the account began."""
    return account["given"] - sum(account["explained"].get(reason, 0) for reason in BEFORE)


def _badges(account: Account) -> list[dict[str, str]]:
    """For what is missing: each declared reason, what is on its way, what is unexplained."""
    parts = {**account["explained"], "on its way": account["on_its_way"], "unexplained": account["unexplained"]}
    marks = {"on its way": "wait", "unexplained": "bad", **dict.fromkeys(BEFORE, "ok")}
    return [{**loss_badge(reason, count), "mark": marks.get(reason, "warn")} for reason, count in parts.items() if count]


def _gap(gap: GapEntry) -> dict[str, str]:
    return {
        "key": gap["id"],
        "text": gap_text(gap),
        "when": format_span(gap["interval"]["start"], gap["interval"]["end"]),
    }


def _stream(stream: LedgerStream) -> dict[str, Any]:
    boot, _, instance = stream["stream"].partition(".")
    holes = [
        {
            "key": f"{hole['cpu']}.{hole['first']}",
            "cpu": str(hole["cpu"]),
            "numbers": str(hole["first"]) if hole["count"] == 1 else f"{hole['first']} to {hole['last']}",
            "count": number(hole["count"]),
            "reason": reason_text(hole["reason"]) if hole["reason"] else "one of those above",
        }
        for hole in stream["holes"]
    ]
    expected = expected_numbers(stream)
    unlisted = stream["unlisted"] + sum(hole["count"] for hole in stream["holes"][MAX_HOLES:])
    return {
        "key": stream["stream"],
        "name": f"{boot[:8]} {instance}",
        "title": f"boot {boot}, program instance {instance}",
        "as_of": time_of_day(stream["as_of"])[:8],
        "received": number(stream["received"]),
        "given": number(expected),
        "share": f"{stream['received'] / max(1, expected) * BAR:.1f}",
        "missed": number(expected - stream["received"]),
        "state": stream["state"],
        "mark": _MARKS[stream["state"]],
        "missing": _badges(stream),
        "holes": holes[:MAX_HOLES],
        "unlisted": f"{number(unlisted)} more missing numbers; the JSON has them" if unlisted else "",
    }


def _sink(name: str, sink: ReportedSink, captured: int, sinks: int) -> dict[str, Any]:
    """`captured` = the sum of the terms, drawn as a bar. The name is shown where there are several `sinks`."""
    sums, at, terms = sink["sums"], 0.0, []
    for term in TERMS:
        width = sums[term] / max(1, captured, sink["total"]) * BAR
        # A handful lost among millions must still be visible: three units at least.
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
        "name": visible(name) if sinks > 1 else "",
        "captured": number(captured),
        "terms": terms,
        "sign": "=" if sink["balanced"] else "≠",
        "title": f"what became of them on the way to {visible(name)}",
    }
