"""The tables of the journal's file, and the values in their rows. Pure.

A row has a checksum of itself, since SQLite checks how pages are built but not what they hold; a body has one of its own, which
is checked when it is read. Text is stored as UTF-8 bytes, so that a name that is not valid Unicode comes back unchanged.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from zlib import crc32

from agent.model import Batch

__all__ = [
    "APPLICATION",
    "SCHEMA",
    "VERSION",
    "AccountRow",
    "Changes",
    "Content",
    "Key",
    "NewBatch",
    "SavedBatch",
    "TableChanges",
    "account_row",
    "batch_row",
    "from_stored_key",
    "pack_counts",
    "row_sum",
    "state_row",
    "to_bytes",
    "to_stored_key",
    "to_text",
    "to_unsigned",
    "unpack_counts",
    "value_sum",
]

APPLICATION: Final = 0x464F524B  # "FORK": the field of SQLite files that names the program that wrote them
VERSION: Final = 1
# Never rename a table or a column (shelves and shelf: state tables; place: position; what: outcome): an upgraded agent reads
# the file that the version before it wrote.
# A body has a table of its own: the index of batches is read at every start, and must be dense for that.
SCHEMA: Final = (
    "CREATE TABLE batches (id INTEGER PRIMARY KEY, place INTEGER, sink BLOB, stream BLOB, name BLOB, since REAL,"
    " uncompressed INTEGER, events INTEGER, bytes INTEGER, forks BLOB, body_sum INTEGER, sum INTEGER)",
    "CREATE TABLE bodies (id INTEGER PRIMARY KEY, cgroups BLOB, body BLOB)",
    "CREATE TABLE accounts (stream BLOB, sink BLOB, what BLOB, reason BLOB, cgroup INTEGER, forks INTEGER, sum INTEGER,"
    " PRIMARY KEY (stream, sink, what, reason, cgroup)) WITHOUT ROWID",
    "CREATE TABLE shelves (shelf BLOB, key, value BLOB, sum INTEGER, PRIMARY KEY (shelf, key)) WITHOUT ROWID",
)

Key = int | str
AccountKey = tuple[bytes, bytes, bytes, bytes, int]


class NewBatch(NamedTuple):
    """A batch that is to be written. `position`: its order within the sink; `forks`: as `pack_counts` returns them."""

    id: int
    position: int
    sink: str
    forks: bytes
    batch: Batch


class SavedBatch(NamedTuple):
    """A batch as the index has it. `size`: bytes of its body."""

    id: int
    position: int
    sink: str
    stream: str
    since: float
    events: int
    size: int
    forks: bytes


class AccountRow(NamedTuple):
    """`outcome`: delivered, lost, filtered. `forks` 0: the row is deleted."""

    stream: str
    sink: str
    outcome: str
    reason: str
    cgroup: int
    forks: int


class TableChanges(NamedTuple):
    """`cleared`: all items that were there are deleted first. `items`: None deletes the item."""

    cleared: bool
    items: dict[Key, bytes | None]


class Changes(NamedTuple):
    """What one transaction does, in this order. `removed`: ids of batches; `forgotten`: streams whose accounts are deleted."""

    removed: list[int]
    batches: list[NewBatch]
    forgotten: list[str]
    accounts: list[AccountRow]
    state_tables: dict[str, TableChanges]

    def __bool__(self) -> bool:
        return any(self)


class Content(NamedTuple):
    """Everything in the file except the bodies. The batches of a sink are in their order."""

    batches: list[SavedBatch]
    accounts: list[AccountRow]
    state_tables: dict[str, dict[Key, bytes]]


def batch_row(new: NewBatch, body_sum: int) -> tuple[object, ...]:
    """Without its checksum."""
    batch = new.batch
    names = map(to_bytes, (new.sink, batch.stream, batch.id))
    numbers = (float(batch.since), int(batch.uncompressed), batch.events, len(batch.body))
    return (new.id, new.position, *names, *numbers, new.forks, body_sum)


def account_row(row: AccountRow) -> tuple[AccountKey, int]:
    """The row's primary key, and its forks."""
    stream, sink, outcome, reason = map(to_bytes, (row.stream, row.sink, row.outcome, row.reason))
    return (stream, sink, outcome, reason, _to_signed(row.cgroup)), int(row.forks)


def state_row(table: bytes, key: Key, value: bytes) -> tuple[bytes, int | bytes, bytes, int]:
    stored_key = to_stored_key(key)
    return table, stored_key, value, value_sum(value, table, stored_key)


def pack_counts(forks: Mapping[int, int]) -> bytes:
    """Forks by cgroup in 12 bytes a cgroup: ten thousand dictionaries would take a hundred megabytes."""
    return array("Q", forks.keys()).tobytes() + array("I", forks.values()).tobytes()


def unpack_counts(forks: bytes) -> Iterator[tuple[int, int]]:
    """Cgroup and number of forks, from what `pack_counts` returned."""
    cgroups = len(forks) // 12 * 8
    return zip(array("Q", forks[:cgroups]), array("I", forks[cgroups:]), strict=True)


def row_sum(*row: object) -> int:
    return crc32(repr(row).encode())


def value_sum(value: bytes, *key: object) -> int:
    return crc32(value, row_sum(*key))


def to_text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogatepass")


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


# SQLite's integers are signed; cgroup ids and keys are not.
def _to_signed(number: int) -> int:
    return int(number) - (1 << 64) if number >= 1 << 63 else int(number)


def to_unsigned(stored: int) -> int:
    return stored + (1 << 64) if stored < 0 else stored


def to_stored_key(key: Key) -> int | bytes:
    return to_bytes(key) if isinstance(key, str) else _to_signed(key)


def from_stored_key(stored: int | bytes) -> Key:
    return to_text(stored) if isinstance(stored, bytes) else to_unsigned(stored)
