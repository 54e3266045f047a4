"""An agent and what it counts at one moment, as immutable values. Pure: it reads counts and prints nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent.kernel.programs import Snapshot
from agent.ledger import Captured, Queued, imbalance
from agent.program_instance import ProgramInstance
from agent.sinks.sink import Sink

__all__ = ["AgentIdentity", "AgentSnapshot", "LedgerSnapshot", "SinkLedger", "SinkState", "ledger_snapshot"]


@dataclass(frozen=True)
class SinkLedger:
    """Forks of one stream by what became of them at one sink. `lost`, `filtered`: by reason; `difference`: what the kernel's
    counts and these differ by, 0 when every fork is accounted for."""

    delivered: int
    queued: Queued
    lost: Mapping[str, int]
    filtered: Mapping[str, int]
    difference: int


@dataclass(frozen=True)
class LedgerSnapshot:
    """`received`: forks drained from the ring; `storms`: those that go on, by reason; `heads`: by CPU, the number that its next
    fork gets; `attached`, `proc_stat`: /proc/stat's `processes` just before and after capture began, and the snapshot."""

    stream: str
    boot_id: str
    instance: str
    captured: Captured
    received: int
    storms: Mapping[str, int]
    sinks: Mapping[str, SinkLedger]
    heads: Mapping[str, int]
    attached: tuple[int, int]
    proc_stat: tuple[int, int]

    @property
    def unaccounted(self) -> int:
        """The largest difference of any sink."""
        return max((abs(sink.difference) for sink in self.sinks.values()), default=0)


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
class AgentSnapshot:
    """An agent at one moment. `current`: of the program instance in charge; `former`: of those that are drained; `pinned`:
    "yes", or why not; `enrichment`: forks by how they were attributed; `kubernetes_requests`: by how they ended."""

    identity: AgentIdentity
    current: LedgerSnapshot
    former: Sequence[LedgerSnapshot]
    taken_over: bool
    pinned: str
    journal: str
    privileges: Mapping[str, Any]
    sinks: Mapping[str, SinkState]
    enrichment: Mapping[str, int]
    kubernetes_state: str
    kubernetes_requests: Mapping[str, int]


def ledger_snapshot(instance: ProgramInstance, kernel: Snapshot, sinks: Sequence[Sink]) -> LedgerSnapshot:
    captured, meta = instance.captured(kernel), instance.programs.meta
    return LedgerSnapshot(
        stream=instance.stream,
        boot_id=meta.boot_id,
        instance=meta.instance_id,
        captured=captured,
        received=instance.received,
        storms=instance.storms.by_reason(),
        sinks={sink.name: _sink_ledger(instance, captured, sink) for sink in sinks},
        heads={str(cpu): counters.sequence for cpu, counters in enumerate(kernel.cpus)},
        attached=meta.attached,
        proc_stat=kernel.proc_stat,
    )


def _sink_ledger(instance: ProgramInstance, captured: Captured, sink: Sink) -> SinkLedger:
    account = sink.account(instance.stream)
    queued = Queued(
        ring=captured.emitted - instance.received,
        waiting=instance.enricher.waiting,
        journal=sink.queued(instance.stream),
    )
    return SinkLedger(
        delivered=account.delivered.total(),
        queued=queued,
        lost=account.lost_by_reason(),
        filtered={"threads": captured.filtered, **account.filtered_by_reason()},
        difference=imbalance(captured, account, queued),
    )
