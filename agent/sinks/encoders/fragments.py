"""A cache of encoded parts that many forks share: of a parent context or an attribution.

Encoders join such fragments; a fork adds only a few numbers of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

__all__ = ["ATTRIBUTIONS", "FragmentCache"]

# In a generation: two hold the 750 containers of 250 pods. Each entry keeps its pod in memory, 20 KB in all, also a deleted
# one.
ATTRIBUTIONS: Final = 512

Key = TypeVar("Key")
Fragment = TypeVar("Fragment")


class FragmentCache(Generic[Key, Fragment]):
    """A cache of two generations of at most `most` entries each: what is in use survives, and nothing is ever searched for.

    `make` is called for a key that is not there. Values of the model are compared by identity.
    """

    def __init__(self, make: Callable[[Key], Fragment], most: int) -> None:
        self._make = make
        self._most = most
        self._young: dict[Key, Fragment] = {}
        self._old: dict[Key, Fragment] = {}

    def __getitem__(self, key: Key) -> Fragment:
        fragment = self._young.get(key)
        if fragment is None:
            fragment = self._old.get(key)
            if fragment is None:
                fragment = self._make(key)
            if len(self._young) >= self._most:
                self._young, self._old = {}, self._young
            self._young[key] = fragment
        return fragment
