"""The maps of a program instance that are keyed by cgroup id: the configuration, what is tracked, counters, storms.

Layout 2 has counters of pods and of cgroups outside pods in two maps, and tracks pods and containers only. Layout 1, of version
0.1, had one map of each kind with an entry for every cgroup. Its instances are drained and replaced, never started again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from agent.kernel.maps import BpfMap
from agent.kernel.pins import ATTRIBUTIONS_PIN_1, COUNTERS_PIN_1, MAP_PINS
from agent.kernel.records import (
    ATTACH_WINDOW,
    CGROUP_ATTRIBUTION_1,
    CGROUP_COUNTERS,
    CONFIG,
    CONFIG_1,
    OVER_BUDGET,
    STORM,
    TRACKED_CGROUP,
    CgroupCounters,
    StormState,
    TrackedRecord,
)
from agent.model import CONTAINER, POD

__all__ = ["MAX_HOST_CGROUPS", "MAX_TRACKED", "OTHER", "CgroupMaps", "Config", "TableFill"]

MAX_TRACKED: Final = 4096  # pods and containers; a node has 250 pods at most as a rule. 0.3 MB
MAX_HOST_CGROUPS: Final = 4096  # cgroups outside pods: systemd's units. 0.3 MB
OTHER: Final = 0  # the key of the counters that are used when their map is full
_MAX_CGROUPS_1: Final = 16384  # entries of layout 1's maps
_MAX_PODS_1: Final = 4096
_MAX_COUNTING: Final = MAX_TRACKED + MAX_HOST_CGROUPS  # containers, and cgroups outside pods, that count
_FIRST: Final = bytes(4)


class Config(NamedTuple):
    """bpf/records.h's struct config. Layout 1 has no `pod_level`."""

    enabled: int = 0
    threads: int = 0
    storm_limit: int = 0
    alive_until: int = 0
    pod_level: int = 0


class TableFill(NamedTuple):
    """How many entries a map of the kernel has, and how many fit."""

    entries: int
    most: int

    @property
    def ratio(self) -> float:
        return self.entries / self.most


class CgroupMaps:
    """`descriptors`: by the names of the pins. Raises KeyError: a map is missing."""

    def __init__(self, descriptors: Mapping[str, int], layout: int) -> None:
        self._layout = layout
        pins = MAP_PINS
        if layout == 1:
            self._config = BpfMap(descriptors[pins["config"]], 4, CONFIG_1.size, 1)
            self._tracked = BpfMap(descriptors[ATTRIBUTIONS_PIN_1], 8, CGROUP_ATTRIBUTION_1.size, _MAX_CGROUPS_1)
            self._counters = {"cgroups": BpfMap(descriptors[COUNTERS_PIN_1], 8, CGROUP_COUNTERS.size, _MAX_CGROUPS_1)}
            self._sizes = {"tracked": _MAX_CGROUPS_1, "cgroups": _MAX_CGROUPS_1, "storms": _MAX_PODS_1}
            self._storms = BpfMap(descriptors[pins["storms"]], 8, STORM.size, _MAX_PODS_1)
        else:
            self._config = BpfMap(descriptors[pins["config"]], 4, CONFIG.size, 1)
            self._tracked = BpfMap(descriptors[pins["tracked"]], 8, TRACKED_CGROUP.size, MAX_TRACKED)
            self._counters = {
                "pod_counters": BpfMap(descriptors[pins["pod_counters"]], 8, CGROUP_COUNTERS.size, 2 * MAX_TRACKED),
                "host_counters": BpfMap(descriptors[pins["host_counters"]], 8, CGROUP_COUNTERS.size, MAX_HOST_CGROUPS),
            }
            self._sizes = {
                "tracked": MAX_TRACKED,
                "pod_counters": 2 * MAX_TRACKED,
                "host_counters": MAX_HOST_CGROUPS,
                "storms": MAX_TRACKED + MAX_HOST_CGROUPS,
            }
            self._storms = BpfMap(descriptors[pins["storms"]], 8, STORM.size, MAX_TRACKED + MAX_HOST_CGROUPS)

        # An instance of 0.1 has no such maps. It is only drained.
        budgets, windows = descriptors.get(pins["over_budget"]), descriptors.get(pins["attach_windows"])
        self._over_budget = BpfMap(budgets, 8, OVER_BUDGET.size, _MAX_COUNTING) if budgets is not None else None
        self._attach_windows = BpfMap(windows, 8, ATTACH_WINDOW.size, _MAX_COUNTING) if windows is not None else None

    def read_config(self) -> Config:
        struct = CONFIG_1 if self._layout == 1 else CONFIG
        return Config._make((*struct.unpack(self._config.get(_FIRST) or bytes(struct.size)), 0)[: len(Config._fields)])

    def write_config(self, config: Config) -> None:
        self._config.put(_FIRST, CONFIG_1.pack(*config[:4]) if self._layout == 1 else CONFIG.pack(*config))

    def create_other(self) -> None:
        """The counters that are used when their map is full: of a new instance, before the first fork."""
        self._counters["host_counters"].put(_key(OTHER), bytes(CGROUP_COUNTERS.size))

    def track(self, cgroup: int, pod: int, kind: int) -> bool:
        """`pod`: the cgroup whose storm limit applies. False: the map is full. What the programs count in an entry stays."""
        fresh = TrackedRecord(cgroup, pod, kind, 0, 0, 0)
        try:
            if not self._tracked.insert(_key(cgroup), TRACKED_CGROUP.pack(*fresh)):
                found = self._read_tracked(self._tracked.get(_key(cgroup)))
                if found and (found.pod, found.kind) != (pod, kind):
                    self._tracked.put(_key(cgroup), TRACKED_CGROUP.pack(*found._replace(pod=pod, kind=kind)))
        except OSError:
            return False
        return True

    def untrack(self, cgroup: int) -> None:
        """Its counters stay."""
        self._tracked.remove(_key(cgroup))
        self._storms.remove(_key(cgroup))
        if self._over_budget is not None:
            self._over_budget.remove(_key(cgroup))

    def tracked(self) -> dict[int, TrackedRecord]:
        """Pods, containers and what is above pods, by cgroup id."""
        entries = ((_id(key), self._read_tracked(value)) for key, value in self._tracked.items())
        # Layout 1 has an entry for each cgroup inside a container, too.
        return {cgroup: one for cgroup, one in entries if one and one.container == cgroup}

    def copy(self, source: CgroupMaps) -> None:
        """What an instance that this one replaces has tracked, its running storms and its configuration."""
        for cgroup, one in source.tracked().items():
            self._tracked.put(_key(cgroup), TRACKED_CGROUP.pack(*one))
        for key, value in source._storms.items():
            self._storms.put(key, value)
        self.write_config(source.read_config())

    def delete_counters(self, cgroup: int) -> None:
        for counters in self._counters.values():
            counters.remove(_key(cgroup))

    def counters(self) -> dict[int, CgroupCounters]:
        """By cgroup. One that was counted outside pods before it was tracked is in both maps; its counts are their sum."""
        found: dict[int, CgroupCounters] = {}
        for cgroup, counters in self._all_counters():
            before = found.get(cgroup)
            found[cgroup] = CgroupCounters(*map(sum, zip(before, counters, strict=True))) if before else counters
        return found

    def suppress(self, container: int, now: int) -> None:
        """`now`: ns of the boot clock."""
        if self._over_budget is not None:
            self._over_budget.put(_key(container), OVER_BUDGET.pack(now, now))

    def storms(self) -> dict[int, StormState]:
        """The pods and cgroups outside pods that were ever above the storm limit, by cgroup id, and the containers above their
        budget. What is both has the limit that it was last above."""
        found = {}
        for key, value in self._over_budget.items() if self._over_budget is not None else ():
            over, since = OVER_BUDGET.unpack(value)
            found[_id(key)] = StormState(over, since, "uniqueness")
        for key, value in self._storms.items():
            _second, by_ring, _count, over, since = STORM.unpack(value)
            if over and (_id(key) not in found or found[_id(key)].over < over):
                found[_id(key)] = StormState(over, since, "ring" if by_ring else "limit")
        return found

    def folded_tasks(self) -> int:
        """How many tasks were attached without a record, to cgroups that are still there."""
        windows = self._attach_windows.items() if self._attach_windows is not None else ()
        return sum(ATTACH_WINDOW.unpack(value)[2] for _, value in windows)

    def fills(self) -> dict[str, TableFill]:
        """By the map's name."""
        maps = {"tracked": self._tracked, **self._counters, "storms": self._storms}
        return {name: TableFill(sum(1 for _ in one.items()), self._sizes[name]) for name, one in maps.items()}

    def _all_counters(self) -> Iterator[tuple[int, CgroupCounters]]:
        for counters in self._counters.values():
            for key, value in counters.items():
                yield _id(key), CgroupCounters._make(CGROUP_COUNTERS.unpack(value))

    def _read_tracked(self, value: bytes | None) -> TrackedRecord | None:
        if value is None:
            return None
        if self._layout != 1:
            return TrackedRecord._make(TRACKED_CGROUP.unpack(value))
        counted_in, pod, is_pod = CGROUP_ATTRIBUTION_1.unpack(value)
        return TrackedRecord(counted_in, pod, POD if is_pod else CONTAINER, 0, 0, 0)


def _key(cgroup: int) -> bytes:
    return cgroup.to_bytes(8, sys.byteorder)


def _id(key: bytes) -> int:
    return int.from_bytes(key, sys.byteorder)
