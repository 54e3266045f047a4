"""The structs of bpf/fork.c as the reader sees them. Little- or big-endian as the machine is; sizes in bytes.

The loader is told these sizes and refuses a probe that differs (`_Static_assert` in fork.c). Must not live here: any meaning.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

__all__ = [
    "CGROUP_COUNTERS",
    "CHAIN",
    "CHANGE",
    "CHANGE_PATH",
    "CHANGE_SLOT",
    "CONFIG",
    "CPU_ROW",
    "FORK",
    "FORK_SLOT",
    "NUMBERS",
    "PARENT_CONTEXT",
    "STORM",
    "SUBJECT",
    "UNKNOWN_32",
    "UNKNOWN_64",
    "CgroupCounters",
    "CpuRow",
    "StormRow",
]

UNKNOWN_32: Final = 0xFFFFFFFF
UNKNOWN_64: Final = 0xFFFFFFFFFFFFFFFF
CHAIN: Final = 8
RING_HEADER: Final = 8  # struct bpf_ringbuf_hdr: u32 len, u32 pg_off

# sequence time cgroup parent_cgroup | tid ns_tid pid ns_pid start | chain below the host's | cpu levels kind counted |
# the origin, undivided
FORK: Final = Struct(f"={RING_HEADER}x 4Q 4IQ {4 * (CHAIN - 1)}s HBBQ 152s")
FORK_SLOT: Final = 256
NUMBERS: Final = Struct(f"={CHAIN - 1}I")  # the chain of a fork
# parent, parent_process, leader: tid ns_tid pid ns_pid start | flags comm parent_comm uid gid | pid mnt net user uts ipc cgroup
PARENT_CONTEXT: Final = Struct("=4IQ 4IQ 4IQ Q16s16s2I 7I4x")

CHANGE_PATH: Final = 960
# cgroup parent time change length sequence start tid | path
CHANGE: Final = Struct(f"={RING_HEADER}x 3Q2I2QI4x {CHANGE_PATH}s")
CHANGE_SLOT: Final = 1024

CGROUP_COUNTERS: Final = Struct("=7Q")
CPU_ROW: Final = Struct("=6Q")
CONFIG: Final = Struct("=4Q")  # enabled threads storm_limit alive_until
SUBJECT: Final = Struct("=3Q")  # counted pod is_pod
STORM: Final = Struct("=4Q")  # second count over since


class CgroupCounters(NamedTuple):
    """Exact counts of one cgroup since the probe's epoch, as wire.events.Counts names them."""

    processes: int
    threads: int
    emitted: int
    filtered: int
    suppressed: int
    lost: int
    entered: int

    @property
    def is_whole(self) -> bool:
        """Nothing is under way in it."""
        return self.processes + self.threads == self.emitted + self.filtered + self.suppressed + self.lost


class CpuRow(NamedTuple):
    """What one CPU has counted. `sequence`: numbers given out so far, so it is the next one. `orphaned`: forks
    while no agent was alive, which are in no row of the tally."""

    sequence: int
    newtasks: int
    unpaired: int
    cgroup_events: int
    cgroup_events_lost: int
    orphaned: int


class StormRow(NamedTuple):
    """A pod above its limit: when it last was, and since when; ns of CLOCK_BOOTTIME."""

    over: int
    since: int
