"""Adds the attribution to raw forks. Pure: the time is passed in, and every source that it asks answers from memory.

A fork whose pod or container is not known yet waits here, bounded in time and number, and does not delay any other.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from agent.attribution.fork_decoder import CGROUP, COUNTED_IN, PARENT_CGROUP, START, TID, TIME, ForkDecoder
from agent.attribution.shared_cache import SharedCache
from agent.interfaces import AttachedTaskSource, AttributionSource
from agent.model import Attribution, Fork

__all__ = ["Enricher", "WaitingFork"]

_ATTACHED: Final = 128  # attributions kept with `by: attach`; each keeps its pod in memory, even one that was deleted
_NESTED: Final = 4096  # cgroups below those that count their forks


class WaitingFork(NamedTuple):
    """A fork that waits until its cgroup can be attributed.

    `key`: rising, unique in this enricher. `since`: ns of the boot clock. `cgroup`: where it is, or what counts it when that is
    not known. `attached`: the task was moved to `cgroup` after it was made. `raw`: the record.
    """

    key: int
    since: int
    cgroup: int
    attached: bool
    raw: bytes


class Enricher:
    """`wait_ns`: how long a fork may wait. `most`: how many may wait at once.

    `changed`: by key, the forks that began to wait or (None) left since the caller last cleared it. `new`: what costs more than
    a fork of a known task, by the container that brought it, since the caller last cleared it: parent contexts, forks that
    wait, cgroups below the container's. `newest`: when the last fork was made, ns of the boot clock.
    """

    def __init__(
        self,
        decoder: ForkDecoder,
        attributions: AttributionSource,
        attached_tasks: AttachedTaskSource,
        *,
        wait_ns: int,
        most: int,
    ) -> None:
        self._decoder = decoder
        self._attributions = attributions
        self._attached_tasks = attached_tasks
        self._wait_ns = wait_ns
        self._most = most
        self._attached: SharedCache[Attribution, Attribution] = SharedCache(_by_attach, _ATTACHED)
        self._waiting: dict[int, deque[WaitingFork]] = {}
        self._last_key = 0
        self.new: Counter[int] = decoder.parent_contexts.made
        self._nested: SharedCache[int, int] = SharedCache(int, _NESTED, self.new)
        self.waiting = 0
        self.newest = 0
        self.changed: dict[int, WaitingFork | None] = {}

    def enrich(self, raw: bytes, now: int) -> list[Fork]:
        """Returns the forks that can be attributed already, in their order; the others wait from now on.

        `raw`: whole records; `now`: ns of the boot clock.
        """
        ready: list[Fork] = []
        waiting, decode, slot = self._waiting, self._decoder.fork, self._decoder.layout.slot
        is_known = self._attributions.is_known
        find, resolve_now, cgroup_of = self._attributions.find, self._attributions.resolve_now, self._attached_tasks.cgroup_of
        for index, record in enumerate(self._decoder.layout.unpack_forks(raw)):
            cgroup, counted_in, moved = record[CGROUP], record[COUNTED_IN], None
            if cgroup != counted_in:
                self._nested.get(counted_in, cgroup)  # a new one is a new attribution, which each sink encodes
            attribution = None if cgroup in waiting else find(cgroup)
            if attribution is None and record[COUNTED_IN] not in (cgroup, 0) and not is_known(cgroup):
                attribution = self._folded(cgroup, record[COUNTED_IN])
                cgroup = record[COUNTED_IN]
            if (
                attribution is not None
                and attribution.state == "host"
                and (moved := cgroup_of(record[TID], record[START])) is not None
            ):
                cgroup, attribution = moved, None if moved in waiting else find(moved)
            if attribution is None:
                self._last_key += 1
                self.new[counted_in] += 1
                self.add_waiting(
                    WaitingFork(self._last_key, now, cgroup, moved is not None, raw[index * slot : (index + 1) * slot])
                )
                continue
            if moved is not None:
                attribution = self._attached.get(attribution.cgroup, attribution)
            parent = record[PARENT_CGROUP]
            # A parent's cgroup of 0 could not be read.
            above = None if parent in (attribution.cgroup, 0) else resolve_now(parent)
            ready.append(decode(record, attribution, above, None))
        if raw:
            self.newest = record[TIME]
        while self.waiting > self._most:
            longest = max(self._waiting.values(), key=len)
            ready += self._release(longest[0].cgroup, now, min(self.waiting - self._most, len(longest)))
        return ready

    def resolve_waiting(self, now: int) -> list[Fork]:
        """Returns the waiting forks that can be attributed now or have waited long enough, oldest first within a cgroup."""
        ready: list[Fork] = []
        for cgroup, line in list(self._waiting.items()):
            if self._attributions.find(cgroup) is not None:
                ready += self._release(cgroup, now, len(line))
            else:
                due = sum(1 for one in line if now - one.since >= self._wait_ns)
                if due:
                    ready += self._release(cgroup, now, due)
        return ready

    def resolve_all_waiting(self, now: int) -> list[Fork]:
        """At shutdown: all waiting forks, attributed as well as is possible now."""
        return [fork for cgroup, line in list(self._waiting.items()) for fork in self._release(cgroup, now, len(line))]

    def add_waiting(self, one: WaitingFork) -> None:
        """Lets a fork wait; also one that was waiting already when an earlier agent died."""
        self._last_key = max(self._last_key, one.key)
        self._waiting.setdefault(one.cgroup, deque()).append(one)
        self.waiting += 1
        self.changed[one.key] = one

    def all_waiting(self) -> Iterator[WaitingFork]:
        return (one for line in self._waiting.values() for one in line)

    def forget(self, container: int) -> None:
        """Its cgroup was removed, and forks no more."""
        for cache in (self._decoder.parent_contexts, self._nested, self._attached):
            cache.forget(container)

    def _release(self, cgroup: int, now: int, count: int) -> Iterator[Fork]:
        line = self._waiting[cgroup]
        final = self._attributions.resolve_final(cgroup)
        for _ in range(count):
            one = line.popleft()
            self.waiting -= 1
            self.changed[one.key] = None
            (record,) = self._decoder.layout.unpack_forks(one.raw)
            attribution = self._attached.get(final.cgroup, final) if one.attached else final
            if not one.attached and record[CGROUP] != cgroup:
                attribution = self._attributions.folded(record[CGROUP], final)
            parent = record[PARENT_CGROUP]
            above = None if parent in (attribution.cgroup, 0) else self._attributions.resolve_now(parent)
            yield self._decoder.fork(record, attribution, above, (now - one.since) // 1_000_000)
        if not line:
            del self._waiting[cgroup]

    def _folded(self, cgroup: int, owner: int) -> Attribution | None:
        """Of a cgroup that is not known, by that which counts its forks. None: that is not known yet either."""
        found = None if owner in self._waiting else self._attributions.find(owner)
        return found and self._attributions.folded(cgroup, found)


def _by_attach(attribution: Attribution) -> Attribution:
    """The same attribution, made by the task's move and not by its fork."""
    return attribution if attribution.state == "host" else replace(attribution, by="attach")
