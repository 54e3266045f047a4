"""One instance of the BPF programs, as the agent holds it: the descriptors of its maps, and what can be done with them.

An instance is one load of bpf/fork.c. It is activated behind the dispatcher; an agent may exit and leave it running for the
next one; it is drained after another instance has replaced it. Loading and attaching are in agent.kernel.capture.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from agent.kernel.layouts.cgroup_maps import CgroupMaps, Config, TableFill
from agent.kernel.maps import BpfMap, array_map, possible_cpus
from agent.kernel.meta import META_BYTES, Meta, decode_meta, encode_meta
from agent.kernel.pins import MAP_PINS
from agent.kernel.records import (
    CGROUP_EVENT,
    CGROUP_EVENT_SLOT,
    CGROUP_PATH,
    CPU_COUNTERS,
    FORK,
    FORK_SLOT,
    CgroupCounters,
    CpuCounters,
    ForkRecord,
    StormState,
    TrackedRecord,
)
from agent.kernel.ring import Ring
from agent.model import CgroupEvent

__all__ = [
    "CGROUP_EVENT_BYTES",
    "LoadedPrograms",
    "Snapshot",
    "boot_id",
    "forks_since_boot",
]

CGROUP_EVENT_BYTES: Final = 1 << 20  # 1,024 cgroup events between two commits
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
    `misses`: counts the runs that the kernel skipped. `part`: of the hierarchy is captured, and /proc/stat counts more.

    Raises ValueError when this code cannot read the instance.
    """

    def __init__(
        self, descriptors: dict[str, int], meta: Meta | None, misses: Callable[[], int], *, part: bool = False
    ) -> None:
        self.descriptors = descriptors
        if meta is not None:
            descriptors["meta"] = array_map("forklore_meta", META_BYTES)
        try:
            self._meta_map = BpfMap(descriptors["meta"], 4, META_BYTES, 1)
            self.meta = meta if meta is not None else decode_meta(self._meta_map.get(_FIRST) or b"")
            self._cgroups = CgroupMaps(descriptors, self.meta.layout)
            self._cpu_counters = BpfMap(descriptors[MAP_PINS["cpu_counters"]], 4, CPU_COUNTERS.size * possible_cpus(), 1)
            self.forks = Ring(descriptors[MAP_PINS["forks"]], self.meta.ring_bytes, FORK_SLOT)
            self._events = Ring(descriptors[MAP_PINS["cgroup_events"]], CGROUP_EVENT_BYTES, CGROUP_EVENT_SLOT)
            if not (self.forks.is_valid and self._events.is_valid):
                raise ValueError("a ring has positions that no ring can have")
        except (KeyError, OSError) as error:
            raise ValueError(f"the instance is incomplete: {error}") from error
        self._misses = misses
        self.part = part
        self.stream = self.meta.stream
        self.alive_until = self._cgroups.read_config().alive_until
        if meta is not None:
            self._cgroups.create_other()
            self.update_meta()

    def update_meta(self, **changes: Any) -> None:  # noqa: ANN401  Meta's fields
        """Writes `meta`, with these changes."""
        self.meta = replace(self.meta, **changes)
        self._meta_map.put(_FIRST, encode_meta(self.meta))

    def copy_state(self, source: LoadedPrograms) -> None:
        """Copies the configuration, the tracked cgroups and the running storms of the instance that this one replaces."""
        self._cgroups.copy(source._cgroups)

    def start(self, *, threads: bool, storm_limit: int, alive_ns: int) -> None:
        """Starts to count and to send, for `alive_ns` from now; call it again before that time is up. `threads`: send each as
        an event, too. `storm_limit`: events of one pod in a second; more are only counted. 0: no limit."""
        before = self.tasks_so_far()
        before_config = self._cgroups.read_config()
        self.alive_until = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + alive_ns
        self._cgroups.write_config(Config(1, threads, storm_limit, self.alive_until, before_config.pod_level))
        if self.meta.all_delivered:
            self.update_meta(all_delivered=False)
        if not before_config.enabled:
            self.update_meta(attached=(before, self.tasks_so_far()), misses=(self._misses(), None))

    def stop(self) -> None:
        """Counts and sends nothing more; counters and rings stay readable."""
        if self.meta.stopped is None:
            before = self.tasks_so_far()
            self._cgroups.write_config(Config(pod_level=self._cgroups.read_config().pod_level))
            self.set_stopped((before, self.tasks_so_far()))

    def tasks_so_far(self) -> int:
        """/proc/stat's `processes`; of a part, for which there is no such number, the tasks that task_newtask reported."""
        return sum(cpu.newtasks + cpu.unpaired for cpu in self.cpu_counters()) if self.part else forks_since_boot()

    def set_stopped(self, proc_stat: tuple[int, int]) -> None:
        """Records that it is no longer active, since a moment between these two readings of /proc/stat."""
        attached, _stopped = self.meta.misses
        self.update_meta(stopped=proc_stat, misses=(attached, self._misses()))

    def set_pod_level(self, level: int) -> None:
        """The deepest level of pods' cgroups. 0: not known; then each cgroup that is not tracked is counted for itself."""
        config = self._cgroups.read_config()
        if config.pod_level != level:
            self._cgroups.write_config(config._replace(pod_level=level))

    def track(self, cgroup: int, pod: int, kind: int) -> bool:
        """`pod`: the cgroup whose storm limit applies; `kind`: as in agent.model. False: the map is full; the cgroup counts for
        its ancestor, and has no limit."""
        return self._cgroups.track(cgroup, pod, kind)

    def suppress(self, container: int, now: int) -> None:
        """Only counts the forks of a container that is above its budget, for 10 s from `now`, ns of the boot clock."""
        self._cgroups.suppress(container, now)

    def untrack(self, cgroup: int) -> None:
        """Removes what `track` has set. Its counters stay."""
        self._cgroups.untrack(cgroup)

    def tracked(self) -> dict[int, TrackedRecord]:
        """Pods, containers and what is above pods, by cgroup id."""
        return self._cgroups.tracked()

    def table_fills(self) -> dict[str, TableFill]:
        """How full each of the kernel's maps of cgroups is, by its name."""
        return self._cgroups.fills()

    def folded_tasks(self) -> int:
        """How many tasks were attached to cgroups that are still there, without a record: beyond 64 in a second."""
        return self._cgroups.folded_tasks()

    def delete_counters(self, cgroup: int) -> None:
        """Removes all of a cgroup that was removed. Only after its last counts have been journaled."""
        self._cgroups.delete_counters(cgroup)
        self.untrack(cgroup)

    def storms(self) -> dict[int, StormState]:
        """The pods that were ever above the storm limit, by the cgroup id of their directory, and the containers that were
        above their budget. What is both, since it is alone in its pod, has the limit that it was last above."""
        return self._cgroups.storms()

    def cpu_counters(self) -> tuple[CpuCounters, ...]:
        return tuple(map(CpuCounters._make, CPU_COUNTERS.iter_unpack(self._cpu_counters.get(_FIRST) or b"")))

    def snapshot(self) -> Snapshot:
        """The sum of the counters lies between the two readings of /proc/stat, less `attached`."""
        before = self.tasks_so_far()
        cpus = self.cpu_counters()
        for _ in range(_SNAPSHOT_TRIES):
            counters = self._cgroups.counters()
            if all(one.is_consistent for one in counters.values()):
                break
        proc_stat = self.meta.stopped or (before, self.tasks_so_far())
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
            for cgroup, parent, at, kind, length, _sequence, start, tid, base, raw_path in CGROUP_EVENT.iter_unpack(raw):
                whole = 0 < length < CGROUP_PATH
                path = raw_path[: max(length - 1, 0)]
                # As user space sees it: from the root of its part on.
                seen = b"/" + b"/".join(path.split(b"/")[base + 1 :]) if base else path
                yield CgroupEvent(cgroup, parent, at, kind, seen, whole, tid, start)

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
