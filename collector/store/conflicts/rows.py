"""What is stored of conflicts: of each stream a bounded number of ids, and how many more there were."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from clickhouse_connect.driver.client import Client

from collector.model import Credential
from collector.store.conflicts.comparison import stored_contents
from collector.store.conflicts.content import content_of, is_same
from collector.store.conflicts.repeats import ForkKey, Repeat, Repeats

__all__ = ["Compared", "ConflictRows", "compare"]

LISTED: Final = 10_000  # ids of a stream
OTHERS: Final = -1  # in place of the CPU: ids beyond those
_COUNT: Final = "SELECT uniqExact(cpu, sequence) FROM conflict WHERE stream = {stream:String} AND cpu >= 0"


class Compared(NamedTuple):
    """Repeats that are in conflict, and how many could not be compared of each batch, for the stored row has expired."""

    conflicts: list[Repeat]
    unchecked: dict[int, int]


def compare(client: Client, repeats: Repeats) -> Compared:
    """Raises ClickHouseError."""
    stored = stored_contents(client, repeats.stored())
    conflicts: list[Repeat] = []
    unchecked: dict[int, int] = {}
    for repeat in repeats.found:
        fork = repeat.fork
        kept = content_of(repeat.kept) if repeat.kept else stored.get((fork.stream, fork.cpu, fork.sequence))
        if kept is None:
            unchecked[repeat.batch] = unchecked.get(repeat.batch, 0) + 1
        elif not is_same(kept, content_of(fork)):
            conflicts.append(repeat)
    return Compared(conflicts, unchecked)


class ConflictRows:
    """Of one thread. How many ids of a stream are listed is read once, and may be too high when a batch is sent again."""

    def __init__(self) -> None:
        self._listed: dict[str, int] = {}

    def columns(
        self, client: Client, conflicts: Iterable[Repeat], senders: list[Credential | None], received: int
    ) -> list[list[Any]]:
        """Of the table `conflict`. `senders`: by the batch's place."""
        rows: dict[ForkKey, list[Any]] = {}
        for repeat in conflicts:
            fork = repeat.fork
            key = self._key(client, rows, (fork.stream, fork.cpu, fork.sequence))
            sender = senders[repeat.batch]
            who = (received, sender.name if sender else "", fork.attribution.cluster, fork.attribution.node)
            row = rows.setdefault(key, [*key, 0, who, who, received])
            row[3] += 1
            row[4], row[5] = min(row[4], who), max(row[5], who)
        return [list(column) for column in zip(*rows.values(), strict=True)]

    def _key(self, client: Client, rows: dict[ForkKey, list[Any]], key: ForkKey) -> ForkKey:
        stream = key[0]
        if stream not in self._listed:
            if len(self._listed) >= LISTED:
                self._listed.clear()
            ((listed,),) = client.query(_COUNT, parameters={"stream": stream}).result_rows
            self._listed[stream] = int(listed)
        if key in rows:
            return key
        if self._listed[stream] >= LISTED:
            return stream, OTHERS, 0
        self._listed[stream] += 1
        return key
