"""Other rooms' small things: what of them is to be written with the next commit.

An item that comes and goes between two commits is never written. Must not live here: the file; what an item's bytes mean.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from agent.journal.rows import Changes, Key, ShelfChanges

__all__ = ["Shelves"]


@dataclass(slots=True)
class _Shelf:
    """`items`: staged, None: it goes; `cleared`: what the file has goes first; `kept`: keys that are in the file, or may be."""

    items: dict[Key, bytes | None] = field(default_factory=dict)
    cleared: bool = False
    kept: set[Key] = field(default_factory=set)
    fresh: set[Key] = field(default_factory=set)  # of `kept`: only if the commit under way succeeds


class Shelves:
    """By name."""

    def __init__(self) -> None:
        self._shelves: dict[str, _Shelf] = {}

    def keep(self, name: str, key: Key, value: bytes | None) -> None:
        shelf = self._shelves.get(name)
        if shelf is None:
            shelf = self._shelves[name] = _Shelf()
        if value is None and key not in shelf.kept:
            shelf.items.pop(key, None)
        else:
            shelf.items[key] = value

    def clear(self, name: str) -> None:
        shelf = self._shelves.setdefault(name, _Shelf())
        shelf.items.clear()
        shelf.kept.clear()
        shelf.cleared = True

    def found(self, name: str, keys: Set[Key]) -> None:
        self._shelves.setdefault(name, _Shelf()).kept |= keys

    def outdated(self, name: str) -> None:
        """What the file has goes, and what is staged stays."""
        self._shelves.setdefault(name, _Shelf()).cleared = True

    def take(self) -> dict[str, ShelfChanges]:
        """For a commit."""
        taken = {}
        for name, shelf in self._shelves.items():
            if shelf.items or shelf.cleared:
                taken[name] = ShelfChanges(shelf.cleared, shelf.items)
                shelf.fresh = {key for key, value in shelf.items.items() if value is not None} - shelf.kept
                shelf.kept |= shelf.fresh
                shelf.items, shelf.cleared = {}, False
        return taken

    def committed(self, changes: Changes) -> None:
        for name, (_, items) in changes.shelves.items():
            shelf = self._shelves[name]
            shelf.kept.difference_update([key for key, value in items.items() if value is None])
            if not (shelf.kept or shelf.items or shelf.cleared):
                del self._shelves[name]  # a stream's own, once it is over

    def failed(self, changes: Changes) -> None:
        """What was taken is staged again, beneath what came since."""
        for name, (cleared, items) in changes.shelves.items():
            shelf = self._shelves[name]
            shelf.kept -= shelf.fresh
            if shelf.cleared:
                continue
            since = {key: value for key, value in shelf.items.items() if value is not None or key not in shelf.fresh}
            gone = shelf.items.keys() - since.keys()
            shelf.items = {key: value for key, value in items.items() if key not in gone} | since
            shelf.cleared = cleared
