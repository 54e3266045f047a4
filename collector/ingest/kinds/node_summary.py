"""`node_summary`."""

from __future__ import annotations

from typing import Any

import orjson

from collector.http.quoting import quoted
from collector.ingest.attribution import attribution_of
from collector.ingest.fields import Refused, amount, count, mapping, nanoseconds, text
from collector.ingest.kinds.common import CPUS, interval, own_id, task_counts
from collector.model import CheckedNode

__all__ = ["check_node_summary"]


def check_node_summary(line: dict[str, Any]) -> CheckedNode:
    name, stream, number = own_id(line.get("id"))
    start, end = interval(line.get("interval"))
    agent = mapping(line.get("agent"), "agent", 32)
    attribution = attribution_of(line)
    body = {
        "agent": {text(key, "agent", 64): text(value, "agent", 256) for key, value in agent.items()},
        "lag_ms": count(line.get("lag_ms"), "lag_ms"),
        "counts": task_counts(line.get("counts"), "counts")._asdict(),
        "totals": task_counts(line.get("totals"), "totals")._asdict(),
        "heads": (heads := _heads(line.get("heads"))),
        "ledger": (ledger := _ledger(line.get("ledger"))),
    }
    return CheckedNode(
        name,
        stream,
        attribution.cluster,
        attribution.node,
        nanoseconds(line.get("timestamp"), "timestamp"),
        start,
        end,
        number,
        orjson.dumps(body),
        ledger["captured"],
        {int(cpu): head for cpu, head in heads.items()},
        {name: sink["delivered"] for name, sink in ledger["sinks"].items()},
    )


def _heads(value: object) -> dict[str, int]:
    """How many numbers each CPU has given out."""
    heads = mapping(value, "heads", CPUS)
    for cpu in heads:
        if not (cpu.isascii() and cpu.isdigit() and len(cpu) <= 4 and str(int(cpu)) == cpu and int(cpu) < CPUS):
            raise Refused(f"heads: {quoted(cpu)} is not the number of a CPU")
    return {cpu: amount(head, f"heads.{cpu}") for cpu, head in heads.items()}


def _ledger(value: object) -> dict[str, Any]:
    ledger = mapping(value, "ledger", 64)
    sinks = mapping(ledger.get("sinks"), "ledger.sinks", 64)
    return {
        "captured": amount(ledger.get("captured"), "ledger.captured"),
        "suppressed": amount(ledger.get("suppressed"), "ledger.suppressed"),
        "kernel_workers": amount(ledger.get("kernel_workers"), "ledger.kernel_workers"),
        "lost": _amounts(ledger.get("lost"), "ledger.lost"),
        "sinks": {text(name, "ledger.sinks", 128): _sink(sink) for name, sink in sinks.items()},
    }


def _sink(value: object) -> dict[str, Any]:
    sink = mapping(value, "ledger.sinks", 64)
    parts = {part: _amounts(sink.get(part), f"ledger.sinks.{part}") for part in ("queued", "lost", "filtered")}
    return {"delivered": amount(sink.get("delivered"), "ledger.sinks.delivered"), **parts}


def _amounts(value: object, name: str) -> dict[str, int]:
    return {text(key, name, 64): amount(n, name) for key, n in mapping(value, name, 256).items()}
