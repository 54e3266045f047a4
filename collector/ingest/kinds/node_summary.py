"""`node_summary`."""

from __future__ import annotations

from typing import Any

import orjson

from collector.http.quoting import quoted
from collector.ingest.attribution import attribution_of
from collector.ingest.fields import Refused, amount, count, mapping, text
from collector.ingest.kinds.common import CPUS, event_time, interval, most_in, most_until, own_id, task_counts
from collector.model import CheckedNode

__all__ = ["check_node_summary"]


def check_node_summary(line: dict[str, Any]) -> CheckedNode:
    name, stream, number = own_id(line.get("id"))
    start, end = summed_up = interval(line.get("interval"))
    most = most_until(end)
    agent = mapping(line.get("agent"), "agent", 32)
    attribution = attribution_of(line)
    body = {
        "agent": {text(key, "agent", 64): text(value, "agent", 256) for key, value in agent.items()},
        "lag_ms": count(line.get("lag_ms"), "lag_ms"),
        "counts": task_counts(line.get("counts"), "counts", most_in(summed_up))._asdict(),
        "totals": task_counts(line.get("totals"), "totals", most)._asdict(),
        "heads": (heads := _heads(line.get("heads"), most)),
        "ledger": (ledger := _ledger(line.get("ledger"), most)),
    }
    return CheckedNode(
        name,
        stream,
        attribution.cluster,
        attribution.node,
        event_time(line.get("timestamp"), "timestamp"),
        start,
        end,
        number,
        orjson.dumps(body),
        ledger["captured"],
        {int(cpu): head for cpu, head in heads.items()},
        {name: sink["delivered"] for name, sink in ledger["sinks"].items()},
    )


def _heads(value: object, most: int) -> dict[str, int]:
    """How many numbers each CPU has given out."""
    heads = mapping(value, "heads", CPUS)
    for cpu in heads:
        if not (cpu.isascii() and cpu.isdigit() and len(cpu) <= 4 and str(int(cpu)) == cpu and int(cpu) < CPUS):
            raise Refused(f"heads: {quoted(cpu)} is not the number of a CPU")
    return {cpu: amount(head, f"heads.{cpu}", most) for cpu, head in heads.items()}


def _ledger(value: object, most: int) -> dict[str, Any]:
    ledger = mapping(value, "ledger", 64)
    sinks = mapping(ledger.get("sinks"), "ledger.sinks", 64)
    return {
        "captured": amount(ledger.get("captured"), "ledger.captured", most),
        "suppressed": amount(ledger.get("suppressed"), "ledger.suppressed", most),
        "kernel_workers": amount(ledger.get("kernel_workers"), "ledger.kernel_workers", most),
        "lost": _amounts(ledger.get("lost"), "ledger.lost", most),
        "sinks": {text(name, "ledger.sinks", 128): _sink(sink, most) for name, sink in sinks.items()},
    }


def _sink(value: object, most: int) -> dict[str, Any]:
    sink = mapping(value, "ledger.sinks", 64)
    parts = {part: _amounts(sink.get(part), f"ledger.sinks.{part}", most) for part in ("queued", "lost", "filtered")}
    return {"delivered": amount(sink.get("delivered"), "ledger.sinks.delivered", most), **parts}


def _amounts(value: object, name: str, most: int) -> dict[str, int]:
    return {text(key, name, 64): amount(n, name, most) for key, n in mapping(value, name, 256).items()}
