"""The file's tables, and what stands in their rows. Pure.

A row has a checksum of itself, since SQLite checks how pages are built and not what is in them; a body has one of its own,
looked at when it is read. Text is stored as UTF-8 bytes, so that a name which is no Unicode comes back as it went in. Must not
live here: files, connections.
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
    "Saved",
    "TableChanges",
    "as_text",
    "counts_of",
    "from_key",
    "from_signed",
    "packed",
    "row_sum",
    "text_of",
    "to_key",
    "to_signed",
    "value_sum",
]

APPLICATION: Final = 0x464F524B  # "FORK", where SQLite files say whose they are
VERSION: Final = 1
# A body has a table of its own: the index is read at every start, and must be dense for that.
SCHEMA: Final = (
    "CREATE TABLE batches (id INTEGER PRIMARY KEY, place INTEGER, sink BLOB, stream BLOB, name BLOB, since REAL,"
    " uncompressed INTEGER, events INTEGER, bytes INTEGER, forks BLOB, body_sum INTEGER, sum INTEGER)",
    "CREATE TABLE bodies (id INTEGER PRIMARY KEY, cgroups BLOB, body BLOB)",
    "CREATE TABLE accounts (stream BLOB, sink BLOB, what BLOB, reason BLOB, cgroup INTEGER, forks INTEGER, sum INTEGER,"
    " PRIMARY KEY (stream, sink, what, reason, cgroup)) WITHOUT ROWID",
    "CREATE TABLE shelves (shelf BLOB, key, value BLOB, sum INTEGER, PRIMARY KEY (shelf, key)) WITHOUT ROWID",
)

Key = int | str


class NewBatch(NamedTuple):
    """A batch that is to be written. `place`: its order within the sink; `forks` as `packed`."""

    id: int
    place: int
    sink: str
    forks: bytes
    batch: Batch


class Saved(NamedTuple):
    """A batch as the index has it. `size`: bytes of its body."""

    id: int
    place: int
    sink: str
    stream: str
    since: float
    events: int
    size: int
    forks: bytes


class AccountRow(NamedTuple):
    """`what`: delivered, lost, filtered; `forks` 0: the row goes."""

    stream: str
    sink: str
    what: str
    reason: str
    cgroup: int
    forks: int


class TableChanges(NamedTuple):
    """`cleared`: all that was there goes first. None: the item goes."""

    cleared: bool
    items: dict[Key, bytes | None]


class Changes(NamedTuple):
    """What one transaction does, in this order. `gone`: ids of batches; `forgotten`: streams whose accounts go."""

    gone: list[int]
    batches: list[NewBatch]
    forgotten: list[str]
    accounts: list[AccountRow]
    state_tables: dict[str, TableChanges]

    def __bool__(self) -> bool:
        return any(self)


class Content(NamedTuple):
    """All that is in the file but bodies. Batches of a sink are in their order."""

    batches: list[Saved]
    accounts: list[AccountRow]
    state_tables: dict[str, dict[Key, bytes]]


def packed(forks: Mapping[int, int]) -> bytes:
    """Forks by cgroup in 12 bytes a cgroup: ten thousand dictionaries would be a hundred megabytes."""
    return array("Q", forks.keys()).tobytes() + array("I", forks.values()).tobytes()


def counts_of(forks: bytes) -> Iterator[tuple[int, int]]:
    """Cgroup and number, from what `packed` made."""
    cgroups = len(forks) // 12 * 8
    return zip(array("Q", forks[:cgroups]), array("I", forks[cgroups:]), strict=True)


def row_sum(*row: object) -> int:
    return crc32(repr(row).encode())


def value_sum(value: bytes, *key: object) -> int:
    return crc32(value, row_sum(*key))


def text_of(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogatepass")


def as_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


# SQLite's integers have a sign; ours have not.
def to_signed(cgroup: int) -> int:
    return int(cgroup) - (1 << 64) if cgroup >= 1 << 63 else int(cgroup)


def from_signed(stored: int) -> int:
    return stored + (1 << 64) if stored < 0 else stored


def to_key(key: Key) -> int | bytes:
    return as_text(key) if isinstance(key, str) else to_signed(key)


def from_key(stored: int | bytes) -> Key:
    if isinstance(stored, bytes):
        return text_of(stored)
    return stored + (1 << 64) if stored < 0 else stored
