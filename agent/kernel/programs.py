"""One instance of the BPF programs, as the agent holds it: the descriptors of its maps, and what can be done with them.

An instance is one load of bpf/fork.c. It is activated behind the dispatcher; an agent may exit and leave it running for the
next one; it is drained after another instance has replaced it. Loading and attaching are in agent.kernel.capture.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from agent.kernel.maps import BpfMap, array_map, possible_cpus
from agent.kernel.meta import META_BYTES, Meta, decode_meta, encode_meta
from agent.kernel.pins import MAP_PINS
from agent.kernel.records import (
    CGROUP_ATTRIBUTION,
    CGROUP_COUNTERS,
    CGROUP_EVENT,
    CGROUP_EVENT_SLOT,
    CGROUP_PATH,
    CONFIG,
    CPU_COUNTERS,
    FORK,
    FORK_SLOT,
    OVER_BUDGET,
    STORM,
    CgroupCounters,
    CpuCounters,
    ForkRecord,
    StormState,
)
from agent.kernel.ring import Ring
from agent.model import CgroupEvent

__all__ = [
    "CGROUP_EVENT_BYTES",
    "MAX_CGROUPS",
    "MAX_PODS",
    "OTHER",
    "LoadedPrograms",
    "Snapshot",
    "boot_id",
    "forks_since_boot",
]

CGROUP_EVENT_BYTES: Final = 1 << 20  # 1,024 cgroup events between two commits
MAX_CGROUPS: Final = 16384  # cgroups with counters; 1.9 MB
MAX_PODS: Final = 4096  # pods with a storm limit; a node has 250 at most as a rule
OTHER: Final = 0  # the key of the counters that are used when their map is full
_SNAPSHOT_TRIES: Final = 5  # a fork may be counted as made and not yet as emitted; that lasts a microsecond
_FIRST: Final = bytes(4)
_COUNTED_IN: Final = itemgetter(ForkRecord._fields.index("counted_in"))


@dataclass(frozen=True)
class Snapshot:
    """All counters at one moment. `proc_stat`: /proc/stat's `processes` just before and just after; the sum of the counters
    lies between the two."""

    counters: dict[int, CgroupCounters]
    cpus: tuple[CpuCounters, ...]
    misses: int
    proc_stat: tuple[int, int]

    @property
    def tasks_made(self) -> int:
        """All tasks, including those that /proc/stat counts and that have no fork event: workers of io_uring and vhost."""
        return sum(cpu.newtasks + cpu.unpaired for cpu in self.cpus)

    @property
    def orphaned(self) -> int:
        return sum(cpu.orphaned for cpu in self.cpus)


class _Config(NamedTuple):
    """bpf/records.h's struct config."""

    enabled: int
    threads: int
    storm_limit: int
    alive_until: int


def forks_since_boot() -> int:
    """/proc/stat's `processes`: every task that was ever made, threads included."""
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        if line.startswith("processes "):
            return int(line.split()[1])
    raise RuntimeError("/proc/stat has no `processes`: is another file system mounted at /proc?")


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class LoadedPrograms:
    """The kernel side of a program instance; agent.program_instance has the rest.

    `descriptors`: of its maps, by the names of their pins. `meta`: of a new instance; None: read it from its own map.
    `misses`: counts the runs that the kernel skipped.

    Raises ValueError when this code cannot read the instance.
    """

    def __init__(self, descriptors: dict[str, int], meta: Meta | None, misses: Callable[[], int]) -> None:
        self.descriptors = descriptors
        if meta is not None:
            descriptors["meta"] = array_map("forklore_meta", META_BYTES)
        try:
            self._meta_map = BpfMap(descriptors["meta"], 4, META_BYTES, 1)
            self.meta = meta if meta is not None else decode_meta(self._meta_map.get(_FIRST) or b"")
            self._config = self._map("config", 4, CONFIG.size, 1)
            self._counters = self._map("cgroup_counters", 8, CGROUP_COUNTERS.size, MAX_CGROUPS)
            self._cpu_counters = self._map("cpu_counters", 4, CPU_COUNTERS.size * possible_cpus(), 1)
            self._attributions = self._map("cgroup_attributions", 8, CGROUP_ATTRIBUTION.size, MAX_CGROUPS)
            self._storms = self._map("storms", 8, STORM.size, MAX_PODS)
            # An instance of 0.1 has no such map. It is only drained.
            self._over_budget = self._map("over_budget", 8, OVER_BUDGET.size, MAX_CGROUPS) if self._has("over_budget") else None
            self.forks = Ring(descriptors[MAP_PINS["forks"]], self.meta.ring_bytes, FORK_SLOT)
            self._events = Ring(descriptors[MAP_PINS["cgroup_events"]], CGROUP_EVENT_BYTES, CGROUP_EVENT_SLOT)
            if not (self.forks.is_valid and self._events.is_valid):
                raise ValueError("a ring has positions that no ring can have")
        except (KeyError, OSError) as error:
            raise ValueError(f"the instance is incomplete: {error}") from error
        self._misses = misses
        self.stream = self.meta.stream
        self.alive_until = self._read_config().alive_until
        if meta is not None:
            self._counters.put(_key(OTHER), bytes(CGROUP_COUNTERS.size))
            self.update_meta()

    def update_meta(self, **changes: Any) -> None:  # noqa: ANN401  Meta's fields
        """Writes `meta`, with these changes."""
        self.meta = replace(self.meta, **changes)
        self._meta_map.put(_FIRST, encode_meta(self.meta))

    def copy_state(self, source: LoadedPrograms) -> None:
        """Copies the configuration, the tracked cgroups and the running storms of the instance that this one replaces."""
        for to, from_ in ((self._attributions, source._attributions), (self._storms, source._storms)):
            for key, value in from_.items():
                to.put(key, value)
        self._config.put(_FIRST, source._config.get(_FIRST) or bytes(CONFIG.size))

    def start(self, *, threads: bool, storm_limit: int, alive_ns: int) -> None:
        """Starts to count and to send, for `alive_ns` from now; call it again before that time is up. `threads`: send each as
        an event, too. `storm_limit`: events of one pod in a second; more are only counted. 0: no limit."""
        before = forks_since_boot()
        first = not self._read_config().enabled
        self.alive_until = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + alive_ns
        self._config.put(_FIRST, CONFIG.pack(1, threads, storm_limit, self.alive_until))
        if self.meta.all_delivered:
            self.update_meta(all_delivered=False)
        if first:
            self.update_meta(attached=(before, forks_since_boot()), misses=(self._misses(), None))

    def stop(self) -> None:
        """Counts and sends nothing more; counters and rings stay readable."""
        if self.meta.stopped is None:
            before = forks_since_boot()
            self._config.put(_FIRST, CONFIG.pack(0, 0, 0, 0))
            self.set_stopped((before, forks_since_boot()))

    def set_stopped(self, proc_stat: tuple[int, int]) -> None:
        """Records that it is no longer active, since a moment between these two readings of /proc/stat."""
        attached, _stopped = self.meta.misses
        self.update_meta(stopped=proc_stat, misses=(attached, self._misses()))

    def track(self, cgroup: int, counted_in: int, pod: int, *, is_pod: bool) -> bool:
        """Sets the cgroup whose counters count this cgroup's forks, and the pod whose storm limit applies. `is_pod`: it is the
        pod's own directory. False: the map is full; the cgroup has counters of its own, and no limit."""
        try:
            self._attributions.put(_key(cgroup), CGROUP_ATTRIBUTION.pack(counted_in, pod, is_pod))
        except OSError:
            return False
        return True

    def suppress(self, container: int, now: int) -> None:
        """Only counts the forks of a container that is above its budget, for 10 s from `now`, ns of the boot clock."""
        if self._over_budget is not None:
            self._over_budget.put(_key(container), OVER_BUDGET.pack(now, now))

    def untrack(self, cgroup: int) -> None:
        """Removes what `track` has set for a cgroup that was removed. Its counters stay."""
        self._attributions.remove(_key(cgroup))
        self._storms.remove(_key(cgroup))
        if self._over_budget is not None:
            self._over_budget.remove(_key(cgroup))

    def delete_counters(self, cgroup: int) -> None:
        """Removes all of a cgroup that was removed. Only after its last counts have been journaled."""
        self._counters.remove(_key(cgroup))
        self.untrack(cgroup)

    def storms(self) -> dict[int, StormState]:
        """The pods that were ever above the storm limit, by the cgroup id of their directory, and the containers that were
        above their budget. What is both, since it is alone in its pod, has the limit that it was last above."""
        found = {}
        for key, value in self._over_budget.items() if self._over_budget is not None else ():
            over, since = OVER_BUDGET.unpack(value)
            found[_id(key)] = StormState(over, since, "uniqueness")
        for key, value in self._storms.items():
            _second, _count, over, since = STORM.unpack(value)
            if over and (_id(key) not in found or found[_id(key)].over < over):
                found[_id(key)] = StormState(over, since, "limit")
        return found

    def cpu_counters(self) -> tuple[CpuCounters, ...]:
        return tuple(map(CpuCounters._make, CPU_COUNTERS.iter_unpack(self._cpu_counters.get(_FIRST) or b"")))

    def snapshot(self) -> Snapshot:
        """The sum of the counters lies between the two readings of /proc/stat, less `attached`."""
        before = forks_since_boot()
        cpus = self.cpu_counters()
        for _ in range(_SNAPSHOT_TRIES):
            counters = {_id(key): CgroupCounters._make(CGROUP_COUNTERS.unpack(value)) for key, value in self._counters.items()}
            if all(one.is_consistent for one in counters.values()):
                break
        proc_stat = self.meta.stopped or (before, forks_since_boot())
        start, end = self.meta.misses
        return Snapshot(counters, cpus, (self._misses() if end is None else end) - start, proc_stat)

    def pending_by_cgroup(self) -> Counter[int]:
        """How many finished forks are in the ring and not yet read, by the cgroup that they are counted in. Only for an
        instance that is not active any more."""
        counts: Counter[int] = Counter()
        start = self.forks.cursor
        while raw := self.forks.read(4096):
            counts.update(map(_COUNTED_IN, FORK.iter_unpack(raw)))
        self.forks.rewind(start)
        return counts

    def cgroup_events(self) -> Iterator[CgroupEvent]:
        """The cgroups that were created, removed and attached to since the last call, in order. `publish_cgroup_events` frees
        their space in the ring."""
        while raw := self._events.read(1024):
            for cgroup, parent, at, kind, length, _sequence, start, tid, path in CGROUP_EVENT.iter_unpack(raw):
                whole = 0 < length < CGROUP_PATH
                yield CgroupEvent(cgroup, parent, at, kind, path[: max(length - 1, 0)], whole, tid, start)

    def resume(self, forks: int, cgroup_events: int) -> None:
        """Continues at the positions of the last agent's journal."""
        self.forks.resume(forks)
        self._events.resume(cgroup_events)

    @property
    def cgroup_events_cursor(self) -> int:
        """The position up to which `cgroup_events` has read."""
        return self._events.cursor

    def publish_cgroup_events(self, position: int) -> None:
        self._events.publish(position)

    def close(self) -> None:
        """Closes the descriptors. The instance goes on while it is pinned, or while the dispatcher calls it."""
        self.forks.close()
        self._events.close()
        for number in self.descriptors.values():
            os.close(number)
        self.descriptors = {}

    def _map(self, name: str, key_size: int, value_size: int, max_entries: int) -> BpfMap:
        return BpfMap(self.descriptors[MAP_PINS[name]], key_size, value_size, max_entries)

    def _has(self, name: str) -> bool:
        return MAP_PINS[name] in self.descriptors

    def _read_config(self) -> _Config:
        return _Config._make(CONFIG.unpack(self._config.get(_FIRST) or bytes(CONFIG.size)))


def _key(cgroup: int) -> bytes:
    return cgroup.to_bytes(8, sys.byteorder)


def _id(key: bytes) -> int:
    return int.from_bytes(key, sys.byteorder)
