"""A ledger snapshot as JSON: for /v1/ledger, for the heartbeat, and for the log. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent.ledger import Captured
from agent.reporting.ledger_snapshot import LedgerSnapshot, SinkLedger

__all__ = ["AgentIdentity", "AgentState", "SinkState", "heartbeat_json", "ledger_json", "ledger_line"]


class AgentIdentity(NamedTuple):
    """`version`: forklore's; `kernel`: its release; `started`: RFC 3339."""

    node: str
    cluster: str
    version: str
    kernel: str
    started: str

    def as_json(self) -> dict[str, str]:
        return {"version": self.version, "kernel": self.kernel, "started": self.started}


class SinkState(NamedTuple):
    """`journal_bytes`: of batches that wait; `answers`: how often the receiver answered what; `state`: one line for people."""

    journal_bytes: int
    answers: Mapping[str, int]
    state: str


@dataclass(frozen=True)
class AgentState:
    """What an agent says of itself beside its counts. `pinned`: "yes", or why not; `enrichment`: forks by how they were
    attributed; `kubernetes_requests`: by what came of them."""

    identity: AgentIdentity
    taken_over: bool
    pinned: str
    journal: str
    privileges: Mapping[str, Any]
    sinks: Mapping[str, SinkState]
    enrichment: Mapping[str, int]
    kubernetes_state: str
    kubernetes_requests: Mapping[str, int]


def ledger_json(agent: AgentState, current: LedgerSnapshot, former: Sequence[LedgerSnapshot]) -> dict[str, Any]:
    """Of the program instance in charge; those that are drained are in `former`, in short."""
    captured = current.captured
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
        "lost": _lost(captured),
        "filtered": {"threads": captured.filtered},
        "storms": current.storms,
        "sinks": {name: {**_sink(sink), **agent.sinks[name]._asdict()} for name, sink in current.sinks.items()},
        "former": [{"stream": one.stream, **heartbeat_json(one)} for one in former],
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
        "lost": _lost(captured),
        "sinks": {name: _sink(sink) for name, sink in ledger.sinks.items()},
    }


def ledger_line(ledger: LedgerSnapshot) -> str:
    """One line for the log."""
    sinks = {name: {key: _sink(sink)[key] for key in ("delivered", "queued", "lost")} for name, sink in ledger.sinks.items()}
    return f"captured {ledger.captured.captured}, lost {_lost(ledger.captured)}, {sinks}"


def _sink(sink: SinkLedger) -> dict[str, Any]:
    """wire.events.SinkLedger."""
    queued = sink.queued
    return {
        "delivered": sink.delivered,
        "queued": {"ring": queued.ring, "waiting": queued.waiting, "journal": queued.journal},
        "lost": sink.lost,
        "filtered": sink.filtered,
    }


def _lost(captured: Captured) -> dict[str, int]:
    """Before any sink."""
    return {
        "ring": captured.lost,
        "recursion": captured.misses,
        "orphaned": captured.orphaned,
        "unseen": captured.unseen,
    }
