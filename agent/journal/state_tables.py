"""The state of other packages: which of its items are to be written with the next commit.

An item that is put and deleted between two commits is never written.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from agent.journal.rows import Changes, Key, TableChanges

__all__ = ["StateTables"]


@dataclass(slots=True)
class _StateTable:
    """`items`: staged, None deletes. `cleared`: all items in the file are deleted first.

    `in_file`: keys that are in the file, or may be; `fresh`: those of them that depend on the commit under way.
    """

    items: dict[Key, bytes | None] = field(default_factory=dict)
    cleared: bool = False
    in_file: set[Key] = field(default_factory=set)
    fresh: set[Key] = field(default_factory=set)


class StateTables:
    """By name."""

    def __init__(self) -> None:
        self._state_tables: dict[str, _StateTable] = {}

    def put(self, name: str, key: Key, value: bytes | None) -> None:
        table = self._state_tables.get(name)
        if table is None:
            table = self._state_tables[name] = _StateTable()
        if value is None and key not in table.in_file:
            table.items.pop(key, None)
        else:
            table.items[key] = value

    def clear(self, name: str) -> None:
        table = self._state_tables.setdefault(name, _StateTable())
        table.items.clear()
        table.in_file.clear()
        table.cleared = True

    def load(self, name: str, keys: Set[Key]) -> None:
        """These are in the file."""
        self._state_tables.setdefault(name, _StateTable()).in_file |= keys

    def supersede(self, name: str) -> None:
        """Deletes what is in the file, but not what is staged."""
        self._state_tables.setdefault(name, _StateTable()).cleared = True

    def take(self) -> dict[str, TableChanges]:
        """For a commit."""
        taken = {}
        for name, table in self._state_tables.items():
            if table.items or table.cleared:
                taken[name] = TableChanges(table.cleared, table.items)
                table.fresh = {key for key, value in table.items.items() if value is not None} - table.in_file
                table.in_file |= table.fresh
                table.items, table.cleared = {}, False
        return taken

    def committed(self, changes: Changes) -> None:
        for name, (_, items) in changes.state_tables.items():
            table = self._state_tables[name]
            table.in_file.difference_update([key for key, value in items.items() if value is None])
            if not (table.in_file or table.items or table.cleared):
                del self._state_tables[name]  # a table of one stream, which has ended

    def failed(self, changes: Changes) -> None:
        """Stages what was taken again, beneath what was put since."""
        for name, (cleared, items) in changes.state_tables.items():
            table = self._state_tables[name]
            table.in_file -= table.fresh
            if table.cleared:
                continue
            since = {key: value for key, value in table.items.items() if value is not None or key not in table.fresh}
            deleted = table.items.keys() - since.keys()
            table.items = {key: value for key, value in items.items() if key not in deleted} | since
            table.cleared = cleared
