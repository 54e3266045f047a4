"""Caches of encoded parts that many forks share: of a parent context, an attribution, a second.

Encoders join such fragments; a fork adds only a few numbers of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["FragmentCache", "NumberCache"]


class _HasFragments(Protocol):
    @property
    def fragments(self) -> dict[object, Any]: ...


Key = TypeVar("Key", bound=_HasFragments)
Number = TypeVar("Number")
Fragment = TypeVar("Fragment")


class FragmentCache(Generic[Key, Fragment]):
    """Fragments of values of agent.model, kept in the value and so for as long as it exists.

    Which values exist, and how many of each container, is decided in agent.attribution for all sinks. `make` is called for a
    value that has none yet; it never returns None.
    """

    def __init__(self, make: Callable[[Key], Fragment]) -> None:
        self._make = make

    def __getitem__(self, key: Key) -> Fragment:
        fragment: Fragment | None = key.fragments.get(self)
        if fragment is None:
            fragment = key.fragments[self] = self._make(key)
        return fragment


class NumberCache(Generic[Number, Fragment]):
    """Fragments of numbers that all containers have in common: seconds, lengths. Two generations of at most `most` entries
    each: what is in use survives, and nothing is ever searched for.

    `make` is called for a key that is not there.
    """

    def __init__(self, make: Callable[[Number], Fragment], most: int) -> None:
        self._make = make
        self._most = most
        self._young: dict[Number, Fragment] = {}
        self._old: dict[Number, Fragment] = {}

    def __getitem__(self, key: Number) -> Fragment:
        fragment = self._young.get(key)
        if fragment is None:
            fragment = self._old.get(key)
            if fragment is None:
                fragment = self._make(key)
            if len(self._young) >= self._most:
                self._young, self._old = {}, self._young
            self._young[key] = fragment
        return fragment
