"""Nodes: their heartbeats, their agents' ledgers, and the account of received numbers."""

from __future__ import annotations

from typing import Literal, TypedDict

from wire.api.pods import GapEntry
from wire.events import Counts

__all__ = [
    "Account",
    "AccountState",
    "Conflict",
    "Conflicts",
    "CpuNumbers",
    "DeletedRows",
    "LedgerStream",
    "MissingNumbers",
    "NodeEntry",
    "NodeLedger",
    "ReportedLedger",
    "ReportedSink",
    "SinkSums",
]

AccountState = Literal["complete", "not summed up yet", "on its way", "missing, explained", "missing, unexplained"]


class Account(TypedDict):
    """Forks: `given` (numbers handed out) = `received` + sum of `explained` + `on_its_way` + `unexplained`.

    `declared`: by reason, what was reported missing, which may be more than what is missing. `never_numbered`: by reason.
    """

    state: AccountState
    given: int
    received: int
    missing: int
    explained: dict[str, int]
    on_its_way: int
    unexplained: int
    declared: dict[str, int]
    never_numbered: dict[str, int]


class DeletedRows(TypedDict):
    """Rows of a table of the store that were deleted before their time, because the collector's volume was nearly full:
    received before `until`. `at`: when the last of them were deleted."""

    table: str
    rows: int
    until: str
    at: str


class SinkSums(TypedDict):
    """What became of the captured forks on the way to one sink."""

    delivered: int
    queued: int
    lost: int
    suppressed: int
    filtered: int


class ReportedSink(TypedDict):
    """An agent's ledger for one sink. `balanced`: `total`, the sum of `sums`, equals what was captured."""

    delivered: int
    queued: dict[str, int]
    lost: dict[str, int]
    filtered: dict[str, int]
    sums: SinkSums
    total: int
    balanced: bool


class ReportedLedger(TypedDict):
    """The ledger as the agent reported it last, with the sums of each sink."""

    captured: int
    suppressed: int
    kernel_workers: int
    lost: dict[str, int]
    sinks: dict[str, ReportedSink]
    balanced: bool


class NodeEntry(TypedDict):
    """One node by its newest stream. `received`: when its last heartbeat arrived. `received_forks`: stored from that stream.

    `account`, `conflicts` (forks' numbers that came with
    more than one content): of all its streams. `silent`: no heartbeat for three intervals.
    """

    cluster: str
    node: str
    agent: dict[str, str]
    last_seen: str
    received: str
    silent: bool
    interval_s: float
    lag_ms: int
    counts: Counts
    totals: Counts
    heads: dict[str, int]
    ledger: ReportedLedger
    stream: str
    received_forks: int
    account: Account
    conflicts: int
    gaps: list[GapEntry]


class CpuNumbers(TypedDict):
    """The numbers that one CPU handed out."""

    given: int
    received: int
    missing: int


class MissingNumbers(TypedDict):
    """A run of numbers that did not arrive, both ends included. `reason` null: several are possible."""

    cpu: int
    first: int
    last: int
    count: int
    reason: str | None


class Conflict(TypedDict):
    """A fork's number that came again with other content: how often, when first and last, and who sent it the last time.
    `credential` null: the collector required none. The content that came first is kept."""

    cpu: int
    sequence: int
    times: int
    first: str
    last: str
    credential: str | None
    cluster: str
    node: str


class Conflicts(TypedDict):
    """Of a stream. `ids`: numbers with more than one content, of which `listed` has the first. `times`: how often other content
    came, `unlisted`: so often for numbers that are not in `ids`, which is bounded."""

    ids: int
    times: int
    unlisted: int
    listed: list[Conflict]


class LedgerStream(Account):
    """One stream of a node; null where it has had no heartbeat. `since`: forks that came after the newest heartbeat.

    `reported`: the agent's own ledger. `cpus`: by the CPU's number. `unlisted`: missing numbers beyond `holes`.
    `conflicts` null: none.
    """

    stream: str
    sink: str | None
    as_of: str | None
    silent: bool | None
    agent: dict[str, str] | None
    reported: ReportedLedger | None
    since: int
    cpus: dict[str, CpuNumbers]
    holes: list[MissingNumbers]
    unlisted: int
    gaps: list[GapEntry]
    conflicts: Conflicts | None


class NodeLedger(Account):
    """The sum of a node's streams, and each of them, the newest first."""

    cluster: str
    node: str
    streams: list[LedgerStream]
