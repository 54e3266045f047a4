"""Everything that the list of pods shows; a pod's or a host's page has a snapshot of it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from collector.model import CounterSourceRow, PodRow, Snapshot
from collector.query.ledger.ledger import read_ledger
from collector.query.ledger.losses import losses_of_pods
from collector.query.pods.counter_sources import SourceKey, source_row, source_rows
from collector.query.pods.forked_by import forked_by
from collector.query.pods.points import points
from collector.query.pods.storms import storms_of
from collector.query.read_context import ReadContext

__all__ = ["SnapshotOfSources", "read_snapshot"]


class SnapshotOfSources(NamedTuple):
    """`sources`: the counter sources of the snapshot's pods and of all hosts, by stream and cgroup."""

    snapshot: Snapshot
    sources: dict[SourceKey, CounterSourceRow]

    def of_pods(self) -> list[SourceKey]:
        return [key for key, one in self.sources.items() if one.pod is not None]

    @property
    def sinks(self) -> dict[str, str | None]:
        """What each stream's agent calls this collector."""
        return {stream.name: stream.sink for stream in self.snapshot.ledger.streams}


def read_snapshot(context: ReadContext, pods: Sequence[PodRow], in_all: int, points_after: int) -> SnapshotOfSources:
    """These pods with all hosts and nodes. `in_all`: how many pods there are. `points_after` in ns."""
    ids = [pod.id for pod in pods]
    rows = source_rows(context, ids)
    made = forked_by(context, ids, {row.key for row in rows})
    sources = {row.key: source_row(row, made.stored.get(row.key, 0)) for row in rows}
    ledger = read_ledger(context, 0, by_cpu=False)
    sinks = {stream.name: stream.sink for stream in ledger.streams}
    storms = storms_of(context, ids, 1)
    snapshot = Snapshot(
        list(pods),
        in_all,
        list(sources.values()),
        made.parents,
        points(context, ids, sources.keys(), points_after),
        losses_of_pods(context, ids, sources, sinks),
        storms.newest,
        storms.in_all,
        ledger,
    )
    return SnapshotOfSources(snapshot, sources)
