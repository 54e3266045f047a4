"""A ledger snapshot as JSON: for /v1/ledger, for the heartbeat, and for the log. Pure."""

from __future__ import annotations

from typing import Any

from agent.reporting.snapshots import AgentSnapshot, LedgerSnapshot, SinkLedger

__all__ = ["heartbeat_json", "ledger_json", "ledger_line"]


def ledger_json(agent: AgentSnapshot) -> dict[str, Any]:
    """Of the program instance in charge; those that are drained are in `former`, in short."""
    current, captured = agent.current, agent.current.captured
    return {
        "node": agent.identity.node,
        "cluster": agent.identity.cluster,
        "agent": agent.identity.as_json(),
        "boot_id": current.boot_id,
        "epoch": current.instance,  # the name that /v1/ledger has had for the program instance
        "taken_over": agent.taken_over,
        "pinned": agent.pinned,
        "journal": agent.journal,
        "privileges": agent.privileges,
        "processes": captured.processes,
        "threads": captured.threads,
        "entered": captured.entered,
        "captured": captured.captured,
        "emitted": captured.emitted,
        "received": current.received,
        "suppressed": captured.suppressed,
        "kernel_workers": captured.kernel_workers,
        "lost": captured.lost_by_reason(),
        "filtered": {"threads": captured.filtered},
        "storms": sum(current.storms.values()),
        "sinks": {name: {**_sink(sink), **agent.sinks[name]._asdict()} for name, sink in current.sinks.items()},
        "former": [{"stream": one.stream, **heartbeat_json(one)} for one in agent.former],
        "unaccounted": current.unaccounted,
        "closed": current.unaccounted == 0,
        "heads": current.heads,
        "proc_stat": {"attach": list(current.attached), "now": list(current.proc_stat)},
        "enrichment": agent.enrichment,
        "kubernetes": {"state": agent.kubernetes_state, "requests": agent.kubernetes_requests},
    }


def heartbeat_json(ledger: LedgerSnapshot) -> dict[str, Any]:
    """wire.events.Ledger."""
    captured = ledger.captured
    return {
        "captured": captured.captured,
        "suppressed": captured.suppressed,
        "kernel_workers": captured.kernel_workers,
        "lost": captured.lost_by_reason(),
        "sinks": {name: _sink(sink) for name, sink in ledger.sinks.items()},
    }


def ledger_line(ledger: LedgerSnapshot) -> str:
    """One line for the log."""
    sinks = {name: {key: _sink(sink)[key] for key in ("delivered", "queued", "lost")} for name, sink in ledger.sinks.items()}
    return f"captured {ledger.captured.captured}, lost {ledger.captured.lost_by_reason()}, {sinks}"


def _sink(sink: SinkLedger) -> dict[str, Any]:
    """wire.events.SinkLedger."""
    return {
        "delivered": sink.delivered,
        "queued": sink.queued.by_place(),
        "lost": sink.lost,
        "filtered": sink.filtered,
    }
