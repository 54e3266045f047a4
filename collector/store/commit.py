"""One commit: what several batches say, gathered into few rows, so that what it costs hangs little on how many batches it is.

Must not live here: I/O.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson

from collector.model import HOST, Attribution, CheckedFork, CheckedGap, CheckedLines, CheckedNode, CheckedStorm, CheckedSummary
from collector.store.fork_columns import packed
from collector.store.naming import keys_of, numbered, owner_of, short_hash
from collector.store.number_ranges import Run, runs_of
from collector.store.received_ids import Lane, ReceivedIds
from collector.store.schema import NEVER

__all__ = ["NO_CGROUP", "Commit", "InsertCounts"]

NO_CGROUP: Final = -2
_PEERS: Final = 100  # forks of one moment of filing at most, so that who reads on from there may ask for few
# Of the columns of a fork: where the moment of filing goes.
_MOMENT: Final = 7
_UNTOLD: Final[tuple[Any, ...]] = (-1, 0, 0, 0, 0, [], [])


class InsertCounts(NamedTuple):
    """Events: new ones, and ones that had come before."""

    accepted: int
    duplicate: int


class _CounterSource:
    """`attribution`: whose it is by the best word of this commit, which was `said` with this `rank`."""

    __slots__ = ("attribution", "first", "last", "newest", "rank", "said")

    def __init__(self, attribution: Attribution) -> None:
        self.first, self.last = NEVER, 0
        self.rank, self.said, self.attribution = -1, 0, attribution
        self.newest: tuple[Any, ...] = _UNTOLD


class _Stream:
    __slots__ = ("before", "heads", "newest", "only", "said", "whose")

    def __init__(self) -> None:
        self.newest: tuple[Any, ...] = (-1, 0, 0, 0, 0, "", "", "")
        self.heads: dict[int, int] = {}
        self.whose: tuple[Any, ...] = (NEVER, "", "")
        self.said: tuple[int, str] = (0, "")
        self.only: tuple[int, str] = (NEVER, "")
        self.before: tuple[int, int] = (NEVER, 0)


class Commit:
    """`columns` by table, in their order; `received` in ns; `sinks`, what each stream's agent calls us, and `known`
    are of all commits."""

    def __init__(self, known: ReceivedIds, sinks: dict[str, str], received: int, untold: Callable[[int], bool]) -> None:
        self._known, self._sinks, self.received, self._untold = known, sinks, received, untold
        self._sink: str | None = None
        self._came: list[tuple[str, Lane, Run]] = []
        self._attributions: dict[Attribution, tuple[int, str, str]] = {}
        self._counter_sources: dict[tuple[str, int], _CounterSource] = {}
        self._streams: dict[str, _Stream] = {}
        self._made: defaultdict[tuple[str, int, str, str | None], list[int]] = defaultdict(list)
        self._forks: list[tuple[Any, ...]] = []
        self._told: dict[str, list[tuple[Any, ...]]] = {"subject": [], "summary": [], "gap": [], "storm": []}

    def take(self, lines: CheckedLines, sink: str | None) -> InsertCounts:
        """`sink`: what the sender calls us."""
        self._sink = sink
        accepted = self._take_forks(lines.forks)
        taken: tuple[tuple[Iterable[Any], Callable[[Any], None]], ...] = (
            (lines.summaries, self._take_summary),
            (lines.nodes, self._take_node),
            (lines.gaps, self._take_gap),
            (lines.storms, self._take_storm),
        )
        for events, take in taken:
            for said in events:
                if self._is_new(said.stream, said.id):
                    take(said)
                    accepted += 1
        return InsertCounts(accepted, len(lines) - len(lines.refused) - accepted)

    def columns(self) -> dict[str, list[Sequence[Any]]]:
        """Nothing of a table without rows."""
        received = self.received
        counter_sources = [
            (*key, self._whose(key[1], one), one.newest, one.first, one.last, received)
            for key, one in self._counter_sources.items()
        ]
        rows = self._told | {
            "made_in": [(*key, numbers, received) for key, numbers in self._made.items()],
            "holder": counter_sources,
            "stream": [
                (name, one.newest, one.heads, one.whose, one.said, one.only, one.before, received)
                for name, one in self._streams.items()
            ],
            "came_in": [(stream, cpu, lane, *run, received) for stream, (cpu, lane), run in self._came],
        }
        columns: dict[str, list[Sequence[Any]]] = {table: list(zip(*some, strict=True)) for table, some in rows.items() if some}
        if self._forks:
            self._forks.sort()  # by pod and time, as the engine wants them; no two agree in the first seven columns
            forks: list[Sequence[Any]] = list(zip(*self._forks, strict=True))
            forks.insert(_MOMENT, [received + place // _PEERS for place in range(len(self._forks))])
            columns["fork"] = forks
        return columns

    @property
    def moments(self) -> int:
        """How many ns of filing it takes up."""
        return len(self._forks) // _PEERS + 1

    def token(self) -> str:
        """The same for the same events, whatever batches they were cut into."""
        return blake2b(repr(sorted(self._came)).encode(), digest_size=16).hexdigest()

    def _take_forks(self, forks: Iterable[CheckedFork]) -> int:
        by_cpu: dict[tuple[str, int], dict[int, CheckedFork]] = {}
        for fork in forks:
            by_cpu.setdefault((fork.stream, fork.cpu), {}).setdefault(fork.sequence, fork)
        accepted = 0
        for (stream, cpu), by_sequence in by_cpu.items():
            self._stream(stream, next(iter(by_sequence.values())).attribution)
            for run in runs_of(by_sequence):
                for new in self._known.add(stream, (cpu, ""), run):
                    self._came.append((stream, (cpu, ""), new))
                    accepted += new[1] - new[0] + 1
                    for sequence in range(new[0], new[1] + 1):
                        self._take_fork(by_sequence[sequence])
        return accepted

    def _take_fork(self, fork: CheckedFork) -> None:
        stream, cpu, sequence, counter_source, attribution, rank, time, is_process, parent_comm, said, made_by = fork
        self._hold(stream, counter_source, attribution, rank, time, time)
        counted = counter_source
        if made_by is not None:
            counted = HOST
            self._hold(stream, HOST, made_by, 0, time, time)
        # By comm only where it is asked for.
        kind, comm = ("process", parent_comm) if is_process else ("thread", None)
        self._made[stream, counted, kind, comm].append(numbered(cpu, sequence))
        number, namespace, pod = self._attributions.get(attribution) or self._attribution(attribution)
        if counter_source == HOST:
            namespace = pod = ""
        elif not pod:
            pod = f"cgroup-{counter_source}"
        self._forks.append(
            (
                attribution.cluster,
                namespace,
                pod,
                time,
                stream,
                cpu,
                sequence,
                attribution.node,
                counter_source,
                number,
                *packed(said, time),
            )
        )

    def _take_summary(self, said: CheckedSummary) -> None:
        self._stream(said.stream, said.attribution)
        counter_source = self._hold(said.stream, said.counter_source, said.attribution, said.rank, said.time, said.end)
        counts, totals = said.counts, said.totals
        grown = totals.processes + totals.threads + totals.entered
        newest = (grown, said.end, said.number, said.start, self.received, list(counts), list(totals))
        counter_source.newest = max(counter_source.newest, newest)
        sums = [
            number
            for name in ("processes", "threads", "suppressed", "lost")
            for number in (getattr(counts, name), getattr(totals, name))
        ]
        self._told["summary"].append(
            (said.stream, said.counter_source, said.start, said.end, said.number, self.received, *sums)
        )

    def _take_node(self, said: CheckedNode) -> None:
        """Which of the agent's sinks we are, where it said no more than its only one's name; and what it had delivered to that
        sink that is not here, of which the first word counts: it went to another store, and is not missing in this one."""
        stream = self._stream(said.stream, said)
        if len(said.delivered) == 1:
            (only,) = said.delivered
            stream.only = min(stream.only, (self.received, only))
            self._sinks.setdefault(said.stream, only)
        before = said.delivered.get(self._sinks.get(said.stream, ""), 0) - self._known.filed(said.stream)
        if stream.before[0] == NEVER:
            stream.before = self.received, max(0, before)
        body = said.body.decode()
        newest = (said.captured, said.end, said.number, said.start, self.received, said.cluster, said.node, body)
        stream.newest = max(stream.newest, newest)
        for cpu, given in said.heads.items():
            stream.heads[cpu] = max(stream.heads.get(cpu, 0), given)

    def _take_gap(self, said: CheckedGap) -> None:
        self._stream(said.stream, said.attribution)
        attribution, owner, counter_source = said.attribution, 0, NO_CGROUP
        if said.counter_source is not None:
            counter_source = said.counter_source
            self._hold(said.stream, counter_source, attribution, said.rank, said.time, said.end)
        elif attribution.pod_uid is not None:
            owner = owner_of(attribution)
        begin, _, number = said.id.rpartition(".")
        source = begin if number == str(said.by_now) else said.id
        self._told["gap"].append(
            (
                said.stream, said.id, attribution.cluster, attribution.node, counter_source, owner, attribution.namespace or
                "", attribution.pod or "",
                attribution.pod_uid or "", said.missing, said.reason, said.sink or "", short_hash(source), said.amount,
                said.by_now,
                said.start, said.end, self.received,
            )
        )  # fmt: skip

    def _take_storm(self, said: CheckedStorm) -> None:
        self._stream(said.stream, said.attribution)
        attribution = said.attribution
        whose = (
            said.rank, owner_of(attribution), attribution.cluster, attribution.node, attribution.namespace or "",
            attribution.pod or "",
            attribution.pod_uid or "",
        )  # fmt: skip
        newest = (int(said.is_over), said.end, said.limit, said.hold, said.start, list(said.counts), list(said.totals))
        self._told["storm"].append((said.stream, said.cgroup, said.number, newest, whose, self.received))

    def _hold(self, stream: str, cgroup: int, attribution: Attribution, rank: int, said: int, seen: int) -> _CounterSource:
        """The holder, knowing whose it is as well as the best that was said of it."""
        one = self._counter_sources.get((stream, cgroup))
        if one is None:
            one = self._counter_sources[stream, cgroup] = _CounterSource(attribution)
        if seen < one.first:
            one.first = seen
        if seen > one.last:
            one.last = seen
        if rank > one.rank or (rank == one.rank and said >= one.said):
            one.rank, one.said, one.attribution = rank, said, attribution
        return one

    def _whose(self, cgroup: int, one: _CounterSource) -> tuple[Any, ...]:
        attribution = one.attribution
        of_pod = attribution.pod_uid is not None or (one.rank < 2 and cgroup >= 0)
        return (
            one.rank, one.said, owner_of(attribution) if of_pod else 0, attribution.cluster, attribution.node,
            attribution.namespace or "",
            attribution.pod or "", attribution.pod_uid or "", self._attribution(attribution)[0],
        )  # fmt: skip

    def _stream(self, name: str, whose: Attribution | CheckedNode) -> _Stream:
        one = self._streams.get(name)
        if one is None:
            one = self._streams[name] = _Stream()
            one.whose = (self.received, whose.cluster, whose.node)
        if self._sink is not None:
            one.said = (self.received, self._sink)
            self._sinks[name] = self._sink
        return one

    def _attribution(self, attribution: Attribution) -> tuple[int, str, str]:
        """Its number, and the namespace and pod that its forks are filed under."""
        known = self._attributions.get(attribution)
        if known is None:
            number = int.from_bytes(blake2b(attribution.body, digest_size=8).digest(), "big")
            known = self._attributions[attribution] = number, *keys_of(attribution)
            if self._untold(number):
                self._told["subject"].append((number, self.received, *_words(attribution)))
        return known

    def _is_new(self, stream: str, name: str) -> bool:
        lane, _, number = name.removeprefix(f"{stream}.").rpartition(".")
        if not (number.isdigit() and len(number) <= 18 and str(int(number)) == number):
            lane, number = name.removeprefix(f"{stream}."), "0"
        run = int(number), int(number)
        if not self._known.add(stream, (-1, lane), run):
            return False
        self._came.append((stream, (-1, lane), run))
        return True


def _words(attribution: Attribution) -> tuple[str, str, dict[str, str], str, str]:
    """Kind and name of its workload, its labels, its container's name, its body."""
    said = orjson.loads(attribution.body)
    k8s, container = said["k8s"], said["container"] or {}
    workload = k8s.get("workload") or {}
    return (
        workload.get("kind") or "", workload.get("name") or "", k8s.get("labels") or {}, container.get("name") or "",
        attribution.body.decode(),
    )  # fmt: skip
