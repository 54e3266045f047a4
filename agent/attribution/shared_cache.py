"""A cache in which each container has a share of its own, so that none can push out what another uses. Pure.

A container chooses how many entries it needs: a new task, name, uid or cgroup for each fork is a new one. When there are too
many in all, those of the container with the most go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

__all__ = ["SharedCache"]

Key = TypeVar("Key")
Value = TypeVar("Value")


class _Share(Generic[Key, Value]):
    """One container's. What is used goes from `old` to `young`, so what is in use survives and nothing is searched for."""

    __slots__ = ("old", "young")

    def __init__(self) -> None:
        self.young: dict[Key, Value] = {}
        self.old: dict[Key, Value] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def evict(self, count: int) -> None:
        if len(self.old) < count:
            self.old |= self.young
            self.young = {}
        for key in [*islice(self.old, count)]:
            del self.old[key]


class SharedCache(Generic[Key, Value]):
    """`make`: the value of a key that is not there. `most`: entries in all.

    `made`: how many values were made for each container, for the caller to clear. A container is named by the cgroup whose
    counters count its forks.
    """

    def __init__(self, make: Callable[[Key], Value], most: int, made: Counter[int] | None = None) -> None:
        self._make = make
        self._most = most
        self._shares: dict[int, _Share[Key, Value]] = {}
        self._count = 0
        self.made: Counter[int] = Counter() if made is None else made

    def __len__(self) -> int:
        return self._count

    def get(self, container: int, key: Key) -> Value:
        share = self._shares.get(container)
        if share is not None and (value := share.young.get(key)) is not None:
            return value
        return self._get_older(container, key)

    def forget(self, container: int) -> None:
        """It was removed, and forks no more."""
        if share := self._shares.pop(container, None):
            self._count -= len(share)

    def _get_older(self, container: int, key: Key) -> Value:
        share = self._shares.get(container)
        if share is None:
            share = self._shares[container] = _Share()
        value = share.old.pop(key, None)
        if value is None:
            value = self._make(key)
            self.made[container] += 1
            if self._count >= self._most:
                self._evict()
            self._count += 1
        share.young[key] = value
        return value

    def _evict(self) -> None:
        """Removes a quarter of the largest share, and of those at least half as large: so shares are compared rarely."""
        largest = max(map(len, self._shares.values()))
        for share in self._shares.values():
            if 2 * len(share) >= largest:
                count = (len(share) + 3) // 4
                share.evict(count)
                self._count -= count
