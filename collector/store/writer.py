"""Inserts checked batches into the tables, several at once, each event once.

The order makes it safe to die anywhere: `came`, which holds the ids of received events, is written last. A batch that was
cut off is sent again, counts as new, and changes nothing that is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import uuid4

from clickhouse_connect.driver.client import Client

from collector.model import CheckedBatch, Credential
from collector.store.bindings import Bindings, StreamRefused
from collector.store.commit import Commit, InsertCounts
from collector.store.conflicts.rows import ConflictRows, compare
from collector.store.received_ids import ReceivedIds

__all__ = ["SentBatch", "Writer"]

_REFRESH: Final = 3_600_000_000_000  # ns after which an attribution's body is written again, so that it outlives its first row
_CACHED: Final = 100_000  # attributions and streams
# In the order of writing: a reader that sees a fork finds its attribution.
_TABLES: Final = ("subject", "holder", "stream", "summary", "gap", "storm", "made_in", "fork", "came_in")
_STREAMS: Final = (
    "SELECT stream, if(max(said).2 != '', max(said).2, min(only).2), min(bound) FROM stream "
    "WHERE stream IN {streams:Array(String)} GROUP BY stream"
)
_AGAIN: Final = 60_000_000_000  # ns after which a stream is read again where other collectors write, too: one may have bound it


class SentBatch(NamedTuple):
    """`sink`: what the sender calls this collector. `credential`: the sender's; None where none is required. `delivered`: forks
    of the batch's stream that the sender had delivered before, here or to an earlier store; None: it does not say."""

    batch: CheckedBatch
    sink: str | None = None
    credential: Credential | None = None
    delivered: int | None = None


class Writer:
    """Of one thread. What it reads and caches saves work and fills the receipt. One stored value depends on it: `before` of a
    stream's first heartbeat (see `Commit`). `alone`: no other collector writes into this store."""

    def __init__(self, client: Client, *, alone: bool = True) -> None:
        self._client, self._alone = client, alone
        self._received_ids = ReceivedIds()
        self._sinks: dict[str, str] = {}
        self._bindings = Bindings()
        self._conflict_rows = ConflictRows()
        self._read_streams: dict[str, int] = {}
        self._columns: dict[str, tuple[list[str], list[Any]]] = {}
        self._attributions: dict[int, int] = {}
        self._clock = 0

    def insert(self, batches: Sequence[SentBatch], now: int) -> list[InsertCounts | StreamRefused]:
        """Inserts all of the batches but those whose stream belongs to others; or, when it raises, perhaps some rows of them,
        which do no harm. `now` in ns. Raises ClickHouseError."""
        streams = {stream for batch, *_ in batches for stream in batch.streams()}
        received = max(now, self._clock)  # never back, so that a reader that continues from a moment misses nothing
        moments = 1
        try:
            self._load(streams, received)
            commit = Commit(self._received_ids, self._sinks, received, lambda body: self._is_due(body, received))
            counts = [self._add(commit, SentBatch(*sent)) for sent in batches]
            conflicts = self._compare(commit, batches, counts)
            moments = commit.moments
            self._write(commit, conflicts)
        except BaseException:
            self._received_ids.forget(streams)
            self._bindings.forget(streams)
            for stream in streams:
                self._read_streams.pop(stream, None)
            raise
        finally:
            self._clock = received + moments
        return counts

    def _is_due(self, body: int, now: int) -> bool:
        return now - self._attributions.get(body, 0) > _REFRESH

    def _add(self, commit: Commit, sent: SentBatch) -> InsertCounts | StreamRefused:
        try:
            made = self._bindings.bind(sent.batch, sent.credential, commit.received)
        except StreamRefused as refusal:
            return refusal
        return commit.add(sent.batch, sent.sink, made, sent.delivered)

    def _load(self, streams: Iterable[str], now: int) -> None:
        self._received_ids.load(self._client, streams)
        if len(self._read_streams) > _CACHED:
            self._read_streams.clear()
            self._sinks.clear()
            self._bindings.clear()
        if unread := [stream for stream in streams if self._must_read(stream, now)]:
            for stream, sink, binding in self._client.query(_STREAMS, parameters={"streams": unread}).result_rows:
                if sink:
                    self._sinks.setdefault(stream, sink)
                self._bindings.read(stream, binding)
            self._read_streams |= dict.fromkeys(unread, now)

    def _must_read(self, stream: str, now: int) -> bool:
        read = self._read_streams.get(stream)
        return read is None or (not self._alone and now - read > _AGAIN)

    def _compare(
        self, commit: Commit, batches: Sequence[SentBatch], counts: list[InsertCounts | StreamRefused]
    ) -> list[list[Any]]:
        """Forks that came again are compared with those that are kept. Completes the counts; gives the rows of `conflict`."""
        if not commit.repeats.found:
            return []
        compared = compare(self._client, commit.repeats)
        places: dict[int, list[int]] = {}
        for repeat in compared.conflicts:
            places.setdefault(repeat.batch, []).append(repeat.place)
        added = [at for at, count in enumerate(counts) if not isinstance(count, StreamRefused)]
        for number, at in enumerate(added):
            count = counts[at]
            if isinstance(count, InsertCounts):
                wrong = tuple(places.get(number, ()))
                counts[at] = InsertCounts(
                    count.accepted, count.duplicate - len(wrong), wrong, compared.unchecked.get(number, 0)
                )
        senders = [SentBatch(*batches[at]).credential for at in added]
        return self._conflict_rows.columns(self._client, compared.conflicts, senders, commit.received)

    def _write(self, commit: Commit, conflicts: list[list[Any]]) -> None:
        columns = commit.columns()
        token = commit.token()
        if conflicts:  # each time that they come counts
            self._insert("conflict", conflicts, f"conflict {uuid4().hex}")
        for table in _TABLES:
            if table in columns:
                self._insert(table, columns[table], f"{table} {token}")
        if len(self._attributions) > _CACHED:
            self._attributions.clear()
        if "subject" in columns:
            ids, *_ = columns["subject"]
            self._attributions.update(dict.fromkeys(ids, commit.received))

    def _insert(self, table: str, columns: Sequence[Sequence[Any]], token: str) -> None:
        names, types = self._columns.get(table) or self._describe(table)
        self._client.insert(
            table,
            columns,
            column_names=names,
            column_types=types,
            column_oriented=True,
            settings={"insert_deduplication_token": token},
        )

    def _describe(self, table: str) -> tuple[list[str], list[Any]]:
        context = self._client.create_insert_context(table)
        found = self._columns[table] = (list(context.column_names), list(context.column_types))
        return found
