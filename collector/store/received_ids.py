"""The ids of received events, cached so that a receipt can tell new from duplicate without a query.

A cache: a row that is inserted twice counts once, so only receipts and `stream.before` (see `commit`) depend on it. What is
not cached is read from the table `came` at a stream's first event; events that another collector inserts after that count as
new here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from clickhouse_connect.driver.client import Client

from collector.model.number_ranges import Run, runs_of, united, without

__all__ = ["Lane", "ReceivedIds"]

Lane = tuple[int, str]  # a fork's CPU, or -1 and what stands between an event's stream and its number
MOST: Final = 1_000_000  # runs, some 100 MB at worst; the streams that were longest silent are dropped first
_FULL: Final = 65536  # numbers of a block
_RECEIVED: Final = (
    "SELECT stream, cpu, lane, block, bitmapCardinality(bits) AS size, if(size = 65536, [], bitmapToArray(bits)) "
    "FROM (SELECT stream, cpu, lane, block, groupBitmapMergeState(numbers) AS bits FROM came "
    "WHERE stream IN {streams:Array(String)} GROUP BY stream, cpu, lane, block) ORDER BY stream, cpu, lane, block"
)


class ReceivedIds:
    """Of one thread. `most`: runs."""

    def __init__(self, most: int = MOST) -> None:
        self._streams: OrderedDict[str, dict[Lane, list[Run]]] = OrderedDict()
        self._most, self._runs = most, 0

    def load(self, client: Client, streams: Iterable[str]) -> None:
        """Reads the ids of those streams that are not cached; drops others for them."""
        wanted = set(streams)
        for stream in wanted & self._streams.keys():
            self._streams.move_to_end(stream)
        if missing := sorted(wanted - self._streams.keys()):
            for stream in missing:
                self._streams[stream] = {}
            for stream, cpu, lane, block, size, numbers in client.query(_RECEIVED, parameters={"streams": missing}).result_rows:
                first = block * _FULL
                runs = [(first, first + _FULL - 1)] if size == _FULL else runs_of(first + number for number in numbers)
                for run in runs:
                    self.take_new(stream, (cpu, lane), run)
        while self._runs > self._most and len(self._streams) > len(wanted):
            self._drop(next(iter(self._streams)))

    def take_new(self, stream: str, lane: Lane, run: Run) -> list[Run]:
        """Gives the parts of the run that are new; from now on all of it is known."""
        runs = self._streams.setdefault(stream, {}).setdefault(lane, [])
        start = end = bisect_left(runs, run)
        if start and runs[start - 1][1] >= run[0] - 1:
            start -= 1
        while end < len(runs) and runs[end][0] <= run[1] + 1:
            end += 1
        touching = runs[start:end]
        runs[start:end] = [united(run, touching)]
        self._runs += 1 - len(touching)
        return without(run, touching)

    def forget(self, streams: Iterable[str]) -> None:
        """What was added may not have been inserted."""
        for stream in streams:
            if stream in self._streams:
                self._drop(stream)

    def knows(self, stream: str) -> bool:
        """Whether anything of the stream has been received."""
        return bool(self._streams.get(stream))

    def forks(self, stream: str) -> int:
        """How many of the stream have been received."""
        return sum(
            last - first + 1 for (cpu, _), runs in self._streams.get(stream, {}).items() if cpu >= 0 for first, last in runs
        )

    def _drop(self, stream: str) -> None:
        self._runs -= sum(map(len, self._streams.pop(stream).values()))
