"""Protocols: what one package of the agent expects of an object that it is given by another.

The packages of one layer do not import each other; startup passes the objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from agent.ledger import Account
from agent.model import Attribution, Batch, CgroupEvent

__all__ = [
    "AccountStore",
    "AttachedTaskSource",
    "AttributionSource",
    "BatchObserver",
    "BatchQueue",
    "BatchSource",
    "CgroupEventConsumer",
    "CgroupTracker",
    "Clock",
    "EventFields",
    "StateReader",
    "StateStore",
    "StateWriter",
    "WallClock",
]

Key = int | str


class StateWriter(Protocol):
    """The journal's state tables, as a part of the agent saves its own state: staged at once, written with the next commit."""

    def put(self, table: str, key: Key, value: bytes | None) -> None:
        """None removes the item. `key`: text, or 0 to 2**64 - 1."""


class StateReader(Protocol):
    """What the agent before had saved."""

    def table(self, name: str) -> Mapping[Key, bytes]:
        """The items of a state table, as of the last commit of the agent before. To be read before the first commit."""
        ...


class StateStore(StateReader, StateWriter, Protocol):
    """State tables to read and to write."""

    def clear(self, table: str) -> None:
        """Removes all items of a table."""


class Clock(Protocol):
    """The time, as the loop reads it. Tests pass one that they move themselves."""

    def boot_ns(self) -> int:
        """CLOCK_BOOTTIME, ns: the clock of the kernel's records."""
        ...

    def wall_ns(self) -> int:
        """CLOCK_REALTIME, ns since 1970. May be stepped."""
        ...

    def monotonic_s(self) -> float:
        """CLOCK_MONOTONIC, seconds."""
        ...

    def separation_ns(self) -> int:
        """CLOCK_REALTIME less CLOCK_BOOTTIME, ns."""
        ...


class WallClock(Protocol):
    """From the boot clock to wall time."""

    def wall(self, boot_ns: int) -> int:
        """Nanoseconds since 1970 of a moment of the boot clock."""
        ...


class AttributionSource(Protocol):
    """From a cgroup id to its container and pod. All answers come from memory, at once."""

    def find(self, cgroup: int) -> Attribution | None:
        """None: not known yet, and it may be known soon."""
        ...

    def resolve_now(self, cgroup: int) -> Attribution:
        """What is known at this moment; what is not known yet may still become known."""
        ...

    def resolve_final(self, cgroup: int) -> Attribution:
        """What is known when the time to wait is up. From here on nothing waits for this cgroup."""
        ...

    def is_known(self, cgroup: int) -> bool:
        """Whether the cgroup itself is known; else only that which counts its forks may be."""
        ...

    def folded(self, cgroup: int, owner: Attribution) -> Attribution:
        """Of a cgroup that is not known, whose forks count for `owner`."""
        ...


class AttachedTaskSource(Protocol):
    """Tasks that were moved into a container's cgroup after their fork."""

    def cgroup_of(self, tid: int, start: int) -> int | None:
        """`start`: of the task, ns of the boot clock. None: it was not moved."""
        ...


class CgroupTracker(Protocol):
    """The BPF programs' table of pods and containers."""

    def track(self, cgroup: int, pod: int, kind: int) -> bool:
        """`pod`: the cgroup whose storm limit holds; `kind`: as in agent.model. False: the map is full."""
        ...

    def untrack(self, cgroup: int) -> None:
        """Removes what `track` has set."""

    def set_pod_level(self, level: int) -> None:
        """The deepest level of pods' cgroups; 0: not known."""


class BatchObserver(Protocol):
    """Learns what becomes of a batch, from the queue that the batch was put in."""

    def split(self, parts: int) -> None:
        """So many batches took its place."""

    def left(self, *, accepted: bool) -> None:
        """The batch, or one of its parts, left the queue. `accepted`: the receiver has every item of it."""


class BatchSource(Protocol):
    """What a sender asks of its sink's queue, which survives a crash."""

    async def head(self) -> Batch:
        """The oldest batch; waits for one. It stays in the queue until it is completed."""
        ...

    def delivered_of(self, stream: str) -> int:
        """Forks of a stream that the receiver has accepted so far."""
        ...

    def complete(
        self,
        batch: Batch,
        *,
        delivered: Mapping[int, int],
        lost: Mapping[str, Mapping[int, int]] = ...,
        instead: Sequence[Batch] = ...,
        accepted: bool = ...,
    ) -> bool:
        """Removes the batch that `head` returned, counts its forks, and puts smaller batches in its place, in one step.

        `delivered`: forks by cgroup; `lost`: by reason and cgroup. `accepted`: the receiver has every item that is not in
        `instead`, the agent's own events, too. False: it is no longer the head.
        """
        ...


class BatchQueue(BatchSource, Protocol):
    """The batches of one sink, oldest first. `bytes`: of their bodies."""

    bytes: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]:
        """The queue's own entries, for `lose`."""
        ...

    def put(self, batch: Batch, observer: BatchObserver | None = ...) -> None:
        """Adds it as the newest. `observer`: learns what becomes of it, unless the agent ends before."""

    def lose(self, entries: Sequence[Any], reason: str) -> None:
        """Removes entries and counts their forks as lost."""

    def oldest(self) -> float | None:
        """When the oldest batch's first item came, seconds of the wall clock. None: the queue is empty."""
        ...

    def forks_of(self, stream: str) -> int:
        """Forks of a stream that are in the queue."""
        ...

    async def empty(self) -> None:
        """Waits until the queue is empty."""


class AccountStore(Protocol):
    """The journal's accounts: what became of each stream's forks in each sink."""

    def account(self, stream: str, sink: str) -> Account:
        """A new account when there is none yet."""
        ...


class CgroupEventConsumer(Protocol):
    """What keeps the cgroups of this node up to date."""

    def apply_cgroup_events(self, events: Iterable[CgroupEvent], tracker: CgroupTracker) -> None:
        """Takes in events in their order, and tracks what is a pod's."""


class EventFields(Protocol):
    """The fields of an event that name its cgroup, container and pod."""

    def __call__(self, attribution: Attribution) -> dict[str, Any]: ...
