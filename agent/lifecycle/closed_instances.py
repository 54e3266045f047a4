"""Streams of program instances that are closed, for as long as any of their batches is on its way to a sink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from agent.interfaces import StateStore
from agent.reporting.summaries import Interval, Summaries
from agent.sinks.sink import Sink
from agent.state_records import REPORTED, ReportedRecord

__all__ = ["ClosedInstances", "StreamStore"]


class StreamStore(StateStore, Protocol):
    """The journal, as far as streams that ended need it."""

    def streams(self) -> set[str]:
        """Those that have accounts."""
        ...

    def forget_stream(self, stream: str) -> bool:
        """Its accounts go. False, and nothing is done: forks of it still wait."""
        ...


class ClosedInstances:
    """What is lost of them is reported, too. `new_summaries`: stream -> its Summaries."""

    def __init__(self, journal: StreamStore, new_summaries: Callable[[str], Summaries]) -> None:
        self._journal = journal
        self._new_summaries = new_summaries
        self._streams: dict[str, Summaries] = {}

    def restore(self, stream: str) -> Summaries:
        """With what was reported of it, from the journal."""
        summaries = self._new_summaries(stream)
        if reported := self._journal.table(REPORTED).get(stream):
            summaries.restore(ReportedRecord.decode(reported).summaries)
        return self.add(stream, summaries)

    def add(self, stream: str, summaries: Summaries) -> Summaries:
        self._streams[stream] = summaries
        return summaries

    def report_losses(self, sinks: Sequence[Sink], start: str, wall: str, now: float) -> None:
        """What was lost since the last time, to the sink that lost it; a stream of which nothing is queued is forgotten."""
        for stream, summaries in list(self._streams.items()):
            events = [
                (sink, event)
                for sink in sinks
                for event in summaries.sink_gaps(sink.name, sink.account(stream).lost, Interval(start, wall))
            ]
            for sink, event in events:
                sink.emit_event(stream, event, now)
            if events:
                self._journal.put(REPORTED, stream, ReportedRecord(start, summaries.record()).encode())
            elif not any(sink.queued(stream) for sink in sinks):
                self._journal.forget_stream(stream)
                self._journal.put(REPORTED, stream, None)
                del self._streams[stream]
