"""Writing: checked batches into the tables, several at once, each event once.

The order makes it safe to die anywhere: `came`, by which a batch is known to be here, is written when all else is. A batch
that was cut off comes again, is taken for new, and changes nothing that is there. Must not live here: reading for the views,
threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from collector.model import CheckedLines
from collector.store.commit import Commit, InsertCounts
from collector.store.received_ids import ReceivedIds

__all__ = ["Filing"]

_AGAIN: Final = 3_600_000_000_000  # ns after which a subject is told again, so that it outlives its first telling
_REMEMBERED: Final = 100_000  # subjects and streams
# In the order of writing: who sees a fork finds whose it is.
_TABLES: Final = ("subject", "holder", "stream", "summary", "gap", "storm", "made_in", "fork", "came_in")
_SINKS: Final = (
    "SELECT stream, if(max(said).2 != '', max(said).2, min(only).2) FROM stream WHERE stream IN {streams:Array(String)} "
    "GROUP BY stream"
)


class Filing:
    """Of one writer thread. Remembers what it wrote only to say less twice, never to be right."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known = ReceivedIds()
        self._sinks: dict[str, str] = {}
        self._asked: set[str] = set()
        self._columns: dict[str, tuple[list[str], list[Any]]] = {}
        self._attributions: dict[int, int] = {}
        self._clock = 0

    def file(self, batches: Sequence[tuple[CheckedLines, str | None]], now: int) -> list[InsertCounts]:
        """All of the batches; or, when it raises, perhaps some rows of them, which do no harm. `now` in ns. With each batch,
        what its sender calls us. Raises ClickHouseError."""
        streams = {event.stream for lines, _ in batches for event in _events(lines)}
        received = max(now, self._clock)  # never back, so that who reads on from a moment misses nothing
        moments = 1
        try:
            self._learn(streams)
            commit = Commit(self._known, self._sinks, received, lambda one: received - self._attributions.get(one, 0) > _AGAIN)
            filed = [commit.take(lines, sink) for lines, sink in batches]
            moments = commit.moments
            self._write(commit)
        except BaseException:
            self._known.forget(streams)
            self._asked -= streams
            raise
        finally:
            self._clock = received + moments
        return filed

    def _learn(self, streams: Iterable[str]) -> None:
        self._known.learn(self._client, streams)
        if len(self._asked) > _REMEMBERED:
            self._asked.clear()
            self._sinks.clear()
        if unknown := [stream for stream in streams if stream not in self._asked]:
            for stream, sink in self._client.query(_SINKS, parameters={"streams": unknown}).result_rows:
                if sink:
                    self._sinks[stream] = sink
            self._asked.update(unknown)

    def _write(self, commit: Commit) -> None:
        columns = commit.columns()
        token = commit.token()
        for table in _TABLES:
            if table in columns:
                self._insert(table, columns[table], f"{table} {token}")
        if len(self._attributions) > _REMEMBERED:
            self._attributions.clear()
        if "subject" in columns:
            self._attributions.update(dict.fromkeys(columns["subject"][0], commit.received))

    def _insert(self, table: str, columns: Sequence[Sequence[Any]], token: str) -> None:
        names, types = self._columns.get(table) or self._described(table)
        self._client.insert(
            table,
            columns,
            column_names=names,
            column_types=types,
            column_oriented=True,
            settings={"insert_deduplication_token": token},
        )

    def _described(self, table: str) -> tuple[list[str], list[Any]]:
        context = self._client.create_insert_context(table)
        found = self._columns[table] = (list(context.column_names), list(context.column_types))
        return found


def _events(lines: CheckedLines) -> Iterable[Any]:
    for kind in (lines.forks, lines.summaries, lines.nodes, lines.gaps, lines.storms):
        yield from kind
