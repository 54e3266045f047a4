"""One probe, as the agent holds it: its descriptors, and what can be done with them.

A probe lasts for one epoch: it is loaded, put in charge, perhaps left behind by its agent and taken over by the next, and
drained when another is put in charge. What its agents must know of it is written in `meta`, beside its maps. Must not live
here: how it came to be loaded and attached (capture), paths and pods.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from agent.kernel.maps import BpfMap, array_map, possible_cpus
from agent.kernel.pins import MAP_PINS
from agent.kernel.records import (
    CGROUP_COUNTERS,
    CHANGE,
    CHANGE_PATH,
    CHANGE_SLOT,
    CONFIG,
    CPU_ROW,
    FORK,
    FORK_SLOT,
    STORM,
    SUBJECT,
    CgroupCounters,
    CpuRow,
    StormRow,
)
from agent.kernel.ring import Ring
from agent.model import CgroupEvent

__all__ = [
    "CHANGES_BYTES",
    "LAYOUT",
    "META_BYTES",
    "MOST_CGROUP_COUNTERS",
    "STORM_ROWS",
    "LoadedPrograms",
    "Meta",
    "Snapshot",
    "boot_id",
    "forks_since_boot",
]

LAYOUT: Final = 1  # of records and rows; another number means that this code can't read that probe
CHANGES_BYTES: Final = 1 << 20  # 1,024 cgroups born or died between two commits
MOST_CGROUP_COUNTERS: Final = 16384  # cgroups that forked and are not yet forgotten; 1.9 MB
STORM_ROWS: Final = 4096  # pods; a node has 250 at most as a rule
_LOOKS: Final = 5  # a fork may just be between "it was made" and "it was told"; that takes a microsecond
OTHER: Final = 0  # the row for when the table is full
META_BYTES: Final = 1024
_FIRST: Final = bytes(4)


@dataclass(frozen=True)
class Meta:
    """What is written beside a pinned probe.

    `slot`: bytes of a record with its header. `base`: the probe's half of the dispatcher's slots; `made`: ns of CLOCK_BOOTTIME.
    `attached`, `stopped`: /proc/stat's `processes` just before and after it was put in charge, and just before and after it
    was no longer. `misses`: how often the hooks' programs had been skipped by then, and then. `settled`: its last
    agent left with everything delivered that it had taken out.
    """

    layout: int
    slot: int
    fingerprint: str
    epoch: str
    boot_id: str
    ring_bytes: int
    base: int
    made: int
    attached: tuple[int, int] = (0, 0)
    stopped: tuple[int, int] | None = None
    misses: tuple[int, int | None] = (0, None)
    settled: bool = False


@dataclass(frozen=True)
class Snapshot:
    """The tally at one moment. `proc_stat` is /proc/stat's `processes` just before and just after: the truth that the sum must
    lie between."""

    rows: dict[int, CgroupCounters]
    cpus: tuple[CpuRow, ...]
    misses: int
    proc_stat: tuple[int, int]

    @property
    def tasks_made(self) -> int:
        """All tasks, those among them that /proc/stat counts and no fork event tells of: io_uring's and vhost's workers."""
        return sum(cpu.newtasks + cpu.unpaired for cpu in self.cpus)

    @property
    def orphaned(self) -> int:
        return sum(cpu.orphaned for cpu in self.cpus)


def forks_since_boot() -> int:
    """/proc/stat's `processes`: every task that was ever made, threads included."""
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        if line.startswith("processes "):
            return int(line.split()[1])
    raise RuntimeError("/proc/stat has no `processes`: is /proc the kernel's own?")


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class LoadedPrograms:
    """`descriptors`: its maps, by the names of their pins. `meta` None: it is read from the probe's own. `misses`: the hooks'.

    `stream` is `<boot id>.<epoch>`: the epoch is 64 random bits a load, for numbered ones repeat. Raises ValueError when what
    is there is no probe that this code can read.
    """

    def __init__(self, descriptors: dict[str, int], meta: Meta | None, misses: Callable[[], int]) -> None:
        self.descriptors = descriptors
        if meta is not None:
            descriptors["meta"] = array_map("forklore_meta", META_BYTES)
        try:
            self._meta_map = BpfMap(descriptors["meta"], 4, META_BYTES, 1)
            self.meta = meta if meta is not None else _meta_of(self._meta_map.get(_FIRST) or b"")
            self._config = BpfMap(descriptors[MAP_PINS["config"]], 4, CONFIG.size, 1)
            self._tally = BpfMap(descriptors[MAP_PINS["cgroup_counters"]], 8, CGROUP_COUNTERS.size, MOST_CGROUP_COUNTERS)
            self._cpus = BpfMap(descriptors[MAP_PINS["cpu_counters"]], 4, CPU_ROW.size * possible_cpus(), 1)
            self._attributions = BpfMap(descriptors[MAP_PINS["cgroup_attributions"]], 8, SUBJECT.size, MOST_CGROUP_COUNTERS)
            self._storms = BpfMap(descriptors[MAP_PINS["storms"]], 8, STORM.size, STORM_ROWS)
            self.forks = Ring(descriptors[MAP_PINS["forks"]], self.meta.ring_bytes, FORK_SLOT)
            self._changes = Ring(descriptors[MAP_PINS["cgroup_events"]], CHANGES_BYTES, CHANGE_SLOT)
            if not (self.forks.sound and self._changes.sound):
                raise ValueError("a ring has positions that no ring can have")
        except (KeyError, OSError) as error:
            raise ValueError(f"not a whole probe: {error}") from error
        self._misses = misses
        self.stream = f"{self.meta.boot_id}.{self.meta.epoch}"
        self.alive_until: int = self._configured()[3]
        if meta is not None:
            self._tally.put(OTHER.to_bytes(8, sys.byteorder), bytes(CGROUP_COUNTERS.size))
            self.note()

    def note(self, **changes: Any) -> None:  # noqa: ANN401  Meta's fields
        """Writes `meta` anew, with these changes."""
        self.meta = replace(self.meta, **changes)
        self._meta_map.put(_FIRST, json.dumps(asdict(self.meta)).encode().ljust(META_BYTES, b"\0"))

    def inherit(self, before: LoadedPrograms) -> None:
        """Goes on where another will stop: its orders, and what was marked there."""
        for mine, its in ((self._attributions, before._attributions), (self._storms, before._storms)):
            for key, value in its.items():
                mine.put(key, value)
        self._config.put(_FIRST, before._config.get(_FIRST) or bytes(CONFIG.size))

    def start(self, *, threads: bool, storm_limit: int, alive_ns: int) -> None:
        """From here on every task is counted, for `alive_ns` after the last call. `threads`: send each as an event, too.
        `storm_limit`: events a second of one pod above which they are only counted; 0: none."""
        before = forks_since_boot()
        first = not self._configured()[0]
        self.alive_until = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + alive_ns
        self._config.put(_FIRST, CONFIG.pack(1, threads, storm_limit, self.alive_until))
        if self.meta.settled:
            self.note(settled=False)
        if first:
            self.note(attached=(before, forks_since_boot()), misses=(self._misses(), None))

    def stop(self) -> None:
        """Nothing more is counted or sent; what was stays readable."""
        if self.meta.stopped is None:
            before = forks_since_boot()
            self._config.put(_FIRST, CONFIG.pack(0, 0, 0, 0))
            self.stopped((before, forks_since_boot()))

    def stopped(self, proc_stat: tuple[int, int]) -> None:
        """It is no longer in charge, since the moment between these two readings of /proc/stat."""
        self.note(stopped=proc_stat, misses=(self.meta.misses[0], self._misses()))

    def track(self, cgroup: int, counted: int, pod: int, *, is_pod: bool) -> bool:
        """Whose a cgroup is: the row that its forks are counted in, and the pod whose limit holds. False: the table is full,
        and the cgroup counts for itself, without a limit."""
        try:
            self._attributions.put(cgroup.to_bytes(8, sys.byteorder), SUBJECT.pack(counted, pod, is_pod))
        except OSError:
            return False
        return True

    def storms(self) -> dict[int, StormRow]:
        """The pods that were ever above the limit, by their directory's cgroup id."""
        rows = ((int.from_bytes(key, sys.byteorder), STORM.unpack(value)) for key, value in self._storms.items())
        return {pod: StormRow(over, since) for pod, (_second, _count, over, since) in rows if over}

    def cpus(self) -> tuple[CpuRow, ...]:
        return tuple(CpuRow(*values) for values in CPU_ROW.iter_unpack(self._cpus.get(_FIRST) or b""))

    def snapshot(self) -> Snapshot:
        """The sum of the rows lies between the two readings of /proc/stat, less `attached`."""
        before = forks_since_boot()
        cpus = self.cpus()
        for _ in range(_LOOKS):
            read = ((int.from_bytes(key, sys.byteorder), CGROUP_COUNTERS.unpack(value)) for key, value in self._tally.items())
            rows = {cgroup: CgroupCounters(*row) for cgroup, row in read}
            if all(row.is_whole for row in rows.values()):
                break
        proc_stat = self.meta.stopped or (before, forks_since_boot())
        start, end = self.meta.misses
        return Snapshot(rows, cpus, (self._misses() if end is None else end) - start, proc_stat)

    def forget(self, cgroup: int) -> None:
        """Drop a dead cgroup's rows. Only when its last counts have been taken over."""
        self._tally.remove(cgroup.to_bytes(8, sys.byteorder))
        self.untrack(cgroup)

    def untrack(self, cgroup: int) -> None:
        """Drop what was said of a dead cgroup; what it counted stays."""
        key = cgroup.to_bytes(8, sys.byteorder)
        self._attributions.remove(key)
        self._storms.remove(key)

    def pending_by_cgroup(self) -> Counter[int]:
        """How many forks of each row lie in the ring, finished and not taken yet. Only when it is not in charge any more."""
        counts: Counter[int] = Counter()
        start = self.forks.cursor
        while raw := self.forks.take(4096):
            counts.update(values[13] for values in FORK.iter_unpack(raw))
        self.forks.rewind(start)
        return counts

    def changes(self) -> Iterator[CgroupEvent]:
        """The cgroups that were born, died and were entered since the last call, in order. Their room in the ring is given back
        by `publish_changes`."""
        while taken := self._changes.take(1024):
            for cgroup, parent, at, change, length, _sequence, start, tid, path in CHANGE.iter_unpack(taken):
                whole = 0 < length < CHANGE_PATH
                yield CgroupEvent(cgroup, parent, at, change, path[: max(length - 1, 0)], whole, tid, start)

    def resume(self, forks: int, changes: int) -> None:
        """Goes on where the last agent's journal says that it had come to."""
        self.forks.resume(forks)
        self._changes.resume(changes)

    @property
    def changes_taken(self) -> int:
        """Up to where `changes` has read."""
        return self._changes.cursor

    def publish_changes(self, position: int) -> None:
        self._changes.publish(position)

    def close(self) -> None:
        """Lets go of it. It lasts while it is pinned, or the dispatcher calls it."""
        self.forks.close()
        self._changes.close()
        for number in self.descriptors.values():
            os.close(number)
        self.descriptors = {}

    def _configured(self) -> tuple[int, ...]:
        return CONFIG.unpack(self._config.get(_FIRST) or bytes(CONFIG.size))


def _meta_of(raw: bytes) -> Meta:
    try:
        said = json.loads(raw.rstrip(b"\0"))
        pairs = {"attached": tuple(said["attached"]), "misses": tuple(said["misses"])}
        stopped = said["stopped"] and tuple(said["stopped"])
        meta = Meta(**{**said, **pairs, "stopped": stopped})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"its meta says {raw[:80]!r}") from error
    if meta.layout != LAYOUT:
        raise ValueError(f"its records are of layout {meta.layout}, and {LAYOUT} is what is read here")
    return meta
