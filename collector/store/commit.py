"""One commit: the checked events of several batches as rows of the tables, so that its cost depends little on how many batches
there are. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from collector.model import (
    HOST,
    Attribution,
    CheckedBatch,
    CheckedFork,
    CheckedGap,
    CheckedNode,
    CheckedStorm,
    CheckedSummary,
    InsertCounts,
)
from collector.model.number_ranges import Run, runs_of
from collector.store.conflicts.repeats import Repeats
from collector.store.newest import (
    NEVER,
    Binding,
    CounterSource,
    FirstCount,
    FirstSink,
    RankedAttribution,
    Stream,
    StreamNode,
    StreamSink,
    newest_heartbeat,
    newest_summary,
)
from collector.store.received_ids import Lane, ReceivedIds
from collector.store.row_ids import NO_CGROUP, body_id, fork_number, pod_id, pod_key, short_hash

__all__ = ["Commit", "InsertCounts"]

NOTHING_BOUND: Final[Mapping[str, Binding]] = {}
_PER_MOMENT: Final = 100  # forks with one time of receipt at most, so that a reader that continues from there may ask for few
_RECEIVED: Final = 7  # the place of the time of receipt among a fork's columns


class _StoredAttribution(NamedTuple):
    """The body's id, and the namespace and pod that its forks are stored under."""

    id: int
    namespace: str
    pod: str


class Commit:
    """`received_ids` and `sinks`, what each stream's agent calls this collector, outlive the commit. `received` in ns.
    `is_due`: must the body of that id be written (again)?"""

    def __init__(self, received_ids: ReceivedIds, sinks: dict[str, str], received: int, is_due: Callable[[int], bool]) -> None:
        self._received_ids, self._sinks, self.received, self._is_due = received_ids, sinks, received, is_due
        self._sink: str | None = None
        self.repeats = Repeats()
        self._new_ids: list[tuple[str, Lane, Run]] = []
        self._attributions: dict[Attribution, _StoredAttribution] = {}
        self._counter_sources: dict[tuple[str, int], CounterSource] = {}
        self._streams: dict[str, Stream] = {}
        self._forked_by: defaultdict[tuple[str, int, str, str | None], list[int]] = defaultdict(list)
        self._forks: list[tuple[Any, ...]] = []
        self._rows: dict[str, list[tuple[Any, ...]]] = {"subject": [], "summary": [], "gap": [], "storm": []}

    def add(
        self,
        batch: CheckedBatch,
        sink: str | None,
        bound: Mapping[str, Binding] = NOTHING_BOUND,
        delivered: int | None = None,
    ) -> InsertCounts:
        """`sink`, `delivered`: as in SentBatch. `bound`: the nodes that streams belong to from now on.

        The first batch of a stream fixes `before`: forks that the sink had delivered to an earlier store. The agent had
        delivered 1,000 forks to a store that was then replaced by this empty one: `before` is 1,000, and the ledger does not
        report them as missing here. The table keeps the value that was received first, so this and `_add_node` are the only
        places where a stored value depends on what was read (`_received_ids`, `_sinks`).
        """
        self._sink = sink
        self.repeats.begin_batch()
        streams = batch.streams() if delivered is not None else ()
        unknown = [stream for stream in streams if not self._received_ids.knows(stream)]
        for stream, binding in bound.items():
            node = StreamNode(self.received, binding.cluster, binding.node)
            self._streams.setdefault(stream, Stream(node)).bound = binding
        accepted = self._add_forks(batch.forks) + sum(gap.is_test for gap in batch.gaps)
        kinds: tuple[tuple[Iterable[Any], Callable[[Any], None]], ...] = (
            (batch.summaries, self._add_summary),
            (batch.nodes, self._add_node),
            ((gap for gap in batch.gaps if not gap.is_test), self._add_gap),
            (batch.storms, self._add_storm),
        )
        for events, add in kinds:
            for event in events:
                if self._is_new(event.stream, event.id):
                    add(event)
                    accepted += 1
        for stream in unknown:
            if stream in self._streams and delivered is not None:
                self._streams[stream].before = FirstCount(self.received, delivered)
        return InsertCounts(accepted, len(batch) - len(batch.refused) - accepted)

    def columns(self) -> dict[str, list[Sequence[Any]]]:
        """By table; tables without rows are left out."""
        received = self.received
        counter_sources = [
            (*key, self._ranked(key[1], one), one.newest, one.first, one.last, received)
            for key, one in self._counter_sources.items()
        ]
        rows = self._rows | {
            "made_in": [(*key, numbers, received) for key, numbers in self._forked_by.items()],
            "holder": counter_sources,
            "stream": [
                (name, one.newest, one.node, one.bound, one.sink, one.only_sink, one.before, received)
                for name, one in self._streams.items()
            ],
            "came_in": [(stream, cpu, lane, *run, received) for stream, (cpu, lane), run in self._new_ids],
        }
        columns: dict[str, list[Sequence[Any]]] = {table: list(zip(*some, strict=True)) for table, some in rows.items() if some}
        if self._forks:
            self._forks.sort()  # by pod and time, the order of the table; no two agree in the first seven columns
            forks: list[Sequence[Any]] = list(zip(*self._forks, strict=True))
            forks.insert(_RECEIVED, [received + place // _PER_MOMENT for place in range(len(self._forks))])
            columns["fork"] = forks
        return columns

    @property
    def moments(self) -> int:
        """How many ns after `received` it gives to forks."""
        return len(self._forks) // _PER_MOMENT + 1

    def token(self) -> str:
        """The same for the same batches of new events, in any order: ClickHouse then skips a replayed insert.

        Without a new event it is unique, or ClickHouse would skip the rows of the stream: when it was last seen, and the name
        of its sink.
        """
        bound = sorted((name, one.bound) for name, one in self._streams.items() if one.bound != Binding())
        content = (sorted(self._new_ids), bound) if self._new_ids else self.received
        return blake2b(repr(content).encode(), digest_size=16).hexdigest()

    def _add_forks(self, forks: Sequence[CheckedFork]) -> int:
        by_cpu: dict[tuple[str, int], dict[int, CheckedFork]] = {}
        for fork in forks:
            by_cpu.setdefault((fork.stream, fork.cpu), {}).setdefault(fork.sequence, fork)
        accepted = 0
        for (stream, cpu), by_sequence in by_cpu.items():
            self._stream(stream, next(iter(by_sequence.values())).attribution)
            for run in runs_of(by_sequence):
                for new in self._received_ids.take_new(stream, (cpu, ""), run):
                    self._new_ids.append((stream, (cpu, ""), new))
                    self.repeats.inserted(stream, cpu, new, by_sequence)
                    first, last = new
                    accepted += last - first + 1
                    for sequence in range(first, last + 1):
                        self._add_fork(by_sequence[sequence])
        if accepted < len(forks):
            self.repeats.find(forks)
        return accepted

    def _add_fork(self, fork: CheckedFork) -> None:
        stream, cpu, sequence, cgroup, attribution, rank, time, columns, counted_by = fork
        self._counter_source(stream, cgroup, attribution, rank, time, time)
        counted = cgroup
        if counted_by is not None:
            counted = HOST
            self._counter_source(stream, HOST, counted_by, 0, time, time)
        kind = columns.kind
        comm = columns.parent_comm if kind == "process" else None  # threads are not asked for by comm
        self._forked_by[stream, counted, kind, comm].append(fork_number(cpu, sequence))
        body, namespace, pod = self._attributions.get(attribution) or self._attribution(attribution)
        if cgroup == HOST:
            namespace = pod = ""
        elif not pod:
            pod = f"cgroup-{cgroup}"
        self._forks.append(
            (attribution.cluster, namespace, pod, time, stream, cpu, sequence, attribution.node, cgroup, body, *columns)
        )

    def _add_summary(self, summary: CheckedSummary) -> None:
        self._stream(summary.stream, summary.attribution)
        counter_source = self._counter_source(
            summary.stream, summary.cgroup, summary.attribution, summary.rank, summary.time, summary.end
        )
        counts, totals = summary.counts, summary.totals
        counter_source.newest = max(counter_source.newest, newest_summary(summary, self.received))
        sums = [
            number
            for name in ("processes", "threads", "suppressed", "lost")
            for number in (getattr(counts, name), getattr(totals, name))
        ]
        self._rows["summary"].append(
            (summary.stream, summary.cgroup, summary.start, summary.end, summary.number, self.received, *sums)
        )

    def _add_node(self, node: CheckedNode) -> None:
        """A heartbeat. It also names this collector's sink where the requests do not and the agent has one sink only.

        Where a sender does not say what it had delivered (0.1), the first heartbeat of a stream fixes `before`: the forks that
        the sink had received and that are not here. What was in its queue when it wrote the heartbeat is not known then.
        """
        stream = self._stream(node.stream, node)
        if len(node.delivered) == 1:
            (only,) = node.delivered
            stream.only_sink = min(stream.only_sink, FirstSink(self.received, only))
            self._sinks.setdefault(node.stream, only)
        before = node.delivered.get(self._sinks.get(node.stream, ""), 0) - self._received_ids.forks(node.stream)
        if stream.before.received == NEVER:
            stream.before = FirstCount(self.received, max(0, before))
        stream.newest = max(stream.newest, newest_heartbeat(node, self.received))

    def _add_gap(self, gap: CheckedGap) -> None:
        self._stream(gap.stream, gap.attribution)
        attribution, pod, cgroup = gap.attribution, 0, NO_CGROUP
        if gap.cgroup is not None:
            cgroup = gap.cgroup
            self._counter_source(gap.stream, cgroup, attribution, gap.rank, gap.time, gap.end)
        elif attribution.pod_uid is not None:
            pod = pod_id(attribution)
        # The number is the amount by now, so that the rest of the id is the same for all gaps of one source. An id that ends
        # otherwise is a source of its own.
        begin, _, number = gap.id.rpartition(".")
        source = begin if number == str(gap.by_now) else gap.id
        self._rows["gap"].append(
            (
                gap.stream, gap.id, attribution.cluster, attribution.node, cgroup, pod, attribution.namespace or "",
                attribution.pod or "", attribution.pod_uid or "", gap.missing, gap.reason, gap.sink or "", short_hash(source),
                gap.amount, gap.by_now, gap.start, gap.end, self.received,
            )
        )  # fmt: skip

    def _add_storm(self, storm: CheckedStorm) -> None:
        self._stream(storm.stream, storm.attribution)
        attribution = storm.attribution
        pod = (
            storm.rank, pod_id(attribution), attribution.cluster, attribution.node, attribution.namespace or "",
            attribution.pod or "", attribution.pod_uid or "",
        )  # fmt: skip
        newest = (
            int(storm.is_over), storm.end, storm.limit, storm.hold, storm.start, list(storm.counts), list(storm.totals),
        )  # fmt: skip
        self._rows["storm"].append((storm.stream, storm.cgroup, storm.number, newest, pod, self.received, storm.reason))

    def _counter_source(
        self, stream: str, cgroup: int, attribution: Attribution, rank: int, time: int, seen: int
    ) -> CounterSource:
        """With the better of its attribution so far and this one."""
        one = self._counter_sources.get((stream, cgroup))
        if one is None:
            one = self._counter_sources[stream, cgroup] = CounterSource(attribution)
        if seen < one.first:
            one.first = seen
        if seen > one.last:
            one.last = seen
        if rank > one.rank or (rank == one.rank and time >= one.time):
            one.rank, one.time, one.attribution = rank, time, attribution
        return one

    def _ranked(self, cgroup: int, one: CounterSource) -> RankedAttribution:
        attribution = one.attribution
        is_pods = attribution.pod_uid is not None or (one.rank < 2 and cgroup >= 0)
        return RankedAttribution(
            one.rank, one.time, pod_id(attribution) if is_pods else 0, attribution.cluster, attribution.node,
            attribution.namespace or "", attribution.pod or "", attribution.pod_uid or "", self._attribution(attribution).id,
        )  # fmt: skip

    def _stream(self, name: str, source: Attribution | CheckedNode) -> Stream:
        one = self._streams.get(name)
        if one is None:
            one = self._streams[name] = Stream(StreamNode(self.received, source.cluster, source.node))
        if self._sink is not None:
            one.sink = StreamSink(self.received, self._sink)
            self._sinks[name] = self._sink
        return one

    def _attribution(self, attribution: Attribution) -> _StoredAttribution:
        known = self._attributions.get(attribution)
        if known is None:
            known = self._attributions[attribution] = _StoredAttribution(body_id(attribution.body), *pod_key(attribution))
            if self._is_due(known.id):
                self._rows["subject"].append((known.id, self.received, *attribution.words(), attribution.body.decode()))
        return known

    def _is_new(self, stream: str, name: str) -> bool:
        lane, _, number = name.removeprefix(f"{stream}.").rpartition(".")
        if not (number.isdigit() and len(number) <= 18 and str(int(number)) == number):
            lane, number = name.removeprefix(f"{stream}."), "0"
        run = int(number), int(number)
        if not self._received_ids.take_new(stream, (-1, lane), run):
            return False
        self._new_ids.append((stream, (-1, lane), run))
        return True
