"""The structs of bpf/records.h, for the reader. Byte order is the machine's; sizes in bytes.

records.h asserts the same sizes when it is compiled, and a test compares every field with its text.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, Literal, NamedTuple

__all__ = [
    "ATTACH_WINDOW",
    "CGROUP_ATTRIBUTION_1",
    "CGROUP_COUNTERS",
    "CGROUP_EVENT",
    "CGROUP_EVENT_SLOT",
    "CGROUP_PATH",
    "CHAIN",
    "CONFIG",
    "CONFIG_1",
    "CPU_COUNTERS",
    "FORK",
    "FORK_SLOT",
    "NUMBERS",
    "OVER_BUDGET",
    "PARENT_CONTEXT",
    "STORM",
    "TRACKED_CGROUP",
    "UNKNOWN_32",
    "UNKNOWN_64",
    "CgroupCounters",
    "CpuCounters",
    "ForkRecord",
    "ParentContextRecord",
    "StormState",
    "TrackedRecord",
]

UNKNOWN_32: Final = 0xFFFFFFFF
UNKNOWN_64: Final = 0xFFFFFFFFFFFFFFFF
CHAIN: Final = 8
RING_HEADER: Final = 8  # struct bpf_ringbuf_hdr: u32 len, u32 pg_off

FORK: Final = Struct(f"={RING_HEADER}x 4Q 4IQ {4 * (CHAIN - 1)}s HBBQ 152s")
FORK_SLOT: Final = 256


class ForkRecord(NamedTuple):
    """The fields of FORK, for readers that are not in the hot loop. `chain` is packed NUMBERS, `parent_context` packed
    PARENT_CONTEXT."""

    sequence: int
    time: int
    cgroup: int
    parent_cgroup: int
    child_tid: int
    child_ns_tid: int
    child_pid: int
    child_ns_pid: int
    child_start: int
    chain: bytes
    cpu: int
    levels: int
    kind: int
    counted_in: int
    parent_context: bytes


NUMBERS: Final = Struct(f"={CHAIN - 1}I")  # the chain of a fork, without the host's number
PARENT_CONTEXT: Final = Struct("=4IQ 4IQ 4IQ Q16s16s2I 7I4x")


class ParentContextRecord(NamedTuple):
    """The fields of PARENT_CONTEXT, for readers that are not in the hot loop."""

    parent_tid: int
    parent_ns_tid: int
    parent_pid: int
    parent_ns_pid: int
    parent_start: int
    parent_process_tid: int
    parent_process_ns_tid: int
    parent_process_pid: int
    parent_process_ns_pid: int
    parent_process_start: int
    leader_tid: int
    leader_ns_tid: int
    leader_pid: int
    leader_ns_pid: int
    leader_start: int
    flags: int
    comm: bytes
    parent_comm: bytes
    uid: int
    gid: int
    ns_pid: int
    ns_mnt: int
    ns_net: int
    ns_user: int
    ns_uts: int
    ns_ipc: int
    ns_cgroup: int


CGROUP_PATH: Final = 960
# cgroup parent time kind length sequence start tid base | path
CGROUP_EVENT: Final = Struct(f"={RING_HEADER}x 3Q2I2Q2I {CGROUP_PATH}s")
CGROUP_EVENT_SLOT: Final = 1024

CGROUP_COUNTERS: Final = Struct("=7Q")
CPU_COUNTERS: Final = Struct("=6Q")
CONFIG: Final = Struct("=5Q")  # enabled threads storm_limit alive_until pod_level
CONFIG_1: Final = Struct("=4Q")  # of layout 1: without pod_level
TRACKED_CGROUP: Final = Struct("=2Q3I4xQ")  # container pod kind children records folded
CGROUP_ATTRIBUTION_1: Final = Struct("=3Q")  # of layout 1: counted_in pod is_pod
STORM: Final = Struct("=2I3Q")  # second reason count over since
OVER_BUDGET: Final = Struct("=2Q")  # over since
ATTACH_WINDOW: Final = Struct("=3Q")  # second records folded


class CgroupCounters(NamedTuple):
    """Exact counts of one cgroup since the programs were loaded, named as in wire.events.Counts."""

    processes: int
    threads: int
    emitted: int
    filtered: int
    suppressed: int
    lost: int
    entered: int

    @property
    def is_consistent(self) -> bool:
        """Every fork that was counted has its outcome counted, too."""
        return self.processes + self.threads == self.emitted + self.filtered + self.suppressed + self.lost


class CpuCounters(NamedTuple):
    """The counts of one CPU. `sequence`: the next fork's number. `newtasks`: all tasks, also those without a fork event.
    `unpaired`: forks whose task_newtask came before the start. `orphaned`: forks while no agent was running; they are in no
    cgroup's counters."""

    sequence: int
    newtasks: int
    unpaired: int
    cgroup_events: int
    cgroup_events_lost: int
    orphaned: int


class StormState(NamedTuple):
    """When a cgroup was last above a limit, and since when; ns of CLOCK_BOOTTIME. `reason`: the limit, as in
    wire.events.ForkStorm."""

    over: int
    since: int
    reason: Literal["limit", "ring", "uniqueness"]


class TrackedRecord(NamedTuple):
    """An entry of the map of tracked cgroups; `kind` as in agent.model."""

    container: int
    pod: int
    kind: int
    children: int
    records: int
    folded: int
