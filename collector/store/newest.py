"""What a commit gathers of a counter source and of a stream: tuples of which the tables keep the greatest or the least.

The fields are in the order of the columns'. A table takes the same tuple twice, in any order and from any collector, and
holds the same in the end.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from collector.model import Attribution, CheckedNode, CheckedSummary

__all__ = [
    "BY_CREDENTIAL",
    "BY_STORED_NODE",
    "NEVER",
    "Binding",
    "CounterSource",
    "FirstCount",
    "FirstSink",
    "NewestHeartbeat",
    "NewestSummary",
    "RankedAttribution",
    "Stream",
    "StreamNode",
    "StreamSink",
    "newest_heartbeat",
    "newest_summary",
    "period",
]

NEVER: Final = 2**63 - 1  # ns: later than anything, where the least is kept
# `Binding.by`: the first credential of one node only; or the node of a stream that was stored before bindings were.
BY_CREDENTIAL: Final = 0
BY_STORED_NODE: Final = 1
PERIOD: Final = 600_000_000_000  # ns


def period(received: int) -> int:
    """Ten minutes of receipt, counted from 1970. Totals only grow, so within one the greatest are the newest: neither a clock
    that was set back nor a late summary can hide them. Of two periods the later one decides, so that totals that somebody made
    up are gone after ten minutes, and do not stay. `received` in ns."""
    return received // PERIOD


class RankedAttribution(NamedTuple):
    """The attribution of a counter source by one event; the greatest is the best. `time`: the event's, ns. `owner`: the
    pod's id, 0 outside pods. `body_id`: of the attribution's body."""

    rank: int
    time: int
    owner: int
    cluster: str
    node: str
    namespace: str
    pod: str
    uid: str
    body_id: int


class NewestSummary(NamedTuple):
    """Of a counter source: the greatest of the last `period` in which one came, see `period`. `sum`: its tasks since the
    program instance began; -1: no summary yet."""

    period: int = -1
    sum: int = -1
    end: int = 0
    number: int = 0
    start: int = 0
    received: int = 0
    counts: list[int] = []  # noqa: RUF012 - never changed
    totals: list[int] = []  # noqa: RUF012


class NewestHeartbeat(NamedTuple):
    """Of a stream: its newest `node_summary`, chosen as summaries are. `captured` -1: none yet. `heads`: CPU and how many
    numbers it has given out, by CPU."""

    period: int = -1
    captured: int = -1
    end: int = 0
    number: int = 0
    start: int = 0
    received: int = 0
    cluster: str = ""
    node: str = ""
    heads: list[tuple[int, int]] = []  # noqa: RUF012 - never changed
    body: str = ""


def newest_summary(summary: CheckedSummary, received: int) -> NewestSummary:
    """`received` in ns."""
    totals = summary.totals
    tasks = totals.processes + totals.threads + totals.entered
    numbers = list(summary.counts), list(totals)
    return NewestSummary(period(received), tasks, summary.end, summary.number, summary.start, received, *numbers)


def newest_heartbeat(node: CheckedNode, received: int) -> NewestHeartbeat:
    """`received` in ns."""
    return NewestHeartbeat(
        period(received), node.captured, node.end, node.number, node.start, received, node.cluster, node.node,
        sorted(node.heads.items()), node.body.decode(),
    )  # fmt: skip


class Binding(NamedTuple):
    """The node that a stream belongs to, and by what; the least is valid. `received`: when that was, ns."""

    by: int = 2
    received: int = NEVER
    cluster: str = ""
    node: str = ""


class StreamNode(NamedTuple):
    """The node of a stream, by its first event."""

    received: int = NEVER
    cluster: str = ""
    node: str = ""


class StreamSink(NamedTuple):
    """What a stream's agent calls this collector, as its requests state."""

    received: int = 0
    sink: str = ""


class FirstSink(NamedTuple):
    """The name of the agent's only sink, from the first heartbeat that has no other."""

    received: int = NEVER
    sink: str = ""


class FirstCount(NamedTuple):
    """Forks that this sink had received before the first heartbeat of the stream in this store."""

    received: int = NEVER
    forks: int = 0


class CounterSource:
    """One counter source in one commit. `attribution`: the best one of the commit, of an event of that `rank` and `time`."""

    __slots__ = ("attribution", "first", "last", "newest", "rank", "time")

    def __init__(self, attribution: Attribution) -> None:
        self.first, self.last = NEVER, 0
        self.rank, self.time, self.attribution = -1, 0, attribution
        self.newest = NewestSummary()


class Stream:
    """One stream in one commit."""

    __slots__ = ("before", "bound", "newest", "node", "only_sink", "sink")

    def __init__(self, node: StreamNode) -> None:
        self.node = node
        self.newest = NewestHeartbeat()
        self.bound = Binding()
        self.sink, self.only_sink, self.before = StreamSink(), FirstSink(), FirstCount()
