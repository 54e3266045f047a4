"""Decodes a raw fork record into a Fork. Pure: the clock that it is given only computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from agent.attribution.shared_cache import SharedCache
from agent.interfaces import WallClock
from agent.model import Attribution, Fork, ParentContext, Task

__all__ = [
    "CGROUP",
    "CLONE_FLAGS",
    "COUNTED_IN",
    "PARENT_CGROUP",
    "START",
    "TID",
    "TIME",
    "ForkDecoder",
    "RecordLayout",
    "clone_names",
    "entity_id",
]

# Positions in an unpacked fork record (agent.kernel.records.FORK), for those who need one field and not all.
TIME: Final = 1
CGROUP: Final = 2
PARENT_CGROUP: Final = 3
TID: Final = 4
START: Final = 8
COUNTED_IN: Final = 13

# include/uapi/linux/sched.h; the lowest byte is the exit signal.
CLONE_FLAGS: Final = {
    0x00000100: "VM",
    0x00000200: "FS",
    0x00000400: "FILES",
    0x00000800: "SIGHAND",
    0x00001000: "PIDFD",
    0x00002000: "PTRACE",
    0x00004000: "VFORK",
    0x00008000: "PARENT",
    0x00010000: "THREAD",
    0x00020000: "NEWNS",
    0x00040000: "SYSVSEM",
    0x00080000: "SETTLS",
    0x00100000: "PARENT_SETTID",
    0x00200000: "CHILD_CLEARTID",
    0x00800000: "UNTRACED",
    0x01000000: "CHILD_SETTID",
    0x02000000: "NEWCGROUP",
    0x04000000: "NEWUTS",
    0x08000000: "NEWIPC",
    0x10000000: "NEWUSER",
    0x20000000: "NEWPID",
    0x40000000: "NEWNET",
    0x80000000: "IO",
    0x100000000: "CLEAR_SIGHAND",
    0x200000000: "INTO_CGROUP",
    0x80: "NEWTIME",  # clone3 only, where it is in the exit signal's byte
}
_U32: Final = 0xFFFFFFFF
_U64: Final = 0xFFFFFFFFFFFFFFFF
_PARENT_CONTEXTS: Final = 2048  # decoded; each takes 1.6 KB, and 1 to 3 KB for each sink that has encoded it


class RecordLayout(NamedTuple):
    """How the kernel's structs are unpacked. Passed in by value, because this package must not import agent.kernel.

    `slot`: bytes of a fork record in the ring.
    """

    slot: int
    unpack_forks: Callable[[bytes], Iterator[tuple[Any, ...]]]
    unpack_parent_context: Callable[[bytes], tuple[Any, ...]]
    unpack_chain: Callable[[bytes], tuple[int, ...]]


def entity_id(key: int, pid: int, start_boot_ns: int) -> str:
    """A process's stable 64-bit id: boot id, pid and start through SplitMix64's finalizer (Steele et al. 2014)."""
    value = (key ^ start_boot_ns ^ (pid * 0x9E3779B97F4A7C15)) & _U64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _U64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _U64
    return f"{value ^ (value >> 31):016x}"


def clone_names(flags: int) -> tuple[str, ...] | None:
    """None when the flags were not captured."""
    return None if flags == _U64 else tuple(name for bit, name in CLONE_FLAGS.items() if flags & bit)


class ForkDecoder:
    """`boot_key`: 64 bits of the boot id. `parent_contexts`: those that were decoded, by their bytes."""

    def __init__(self, layout: RecordLayout, boot_key: int, clock: WallClock) -> None:
        self.layout = layout
        self._boot_key = boot_key
        self._wall = clock.wall
        self.parent_contexts: SharedCache[bytes, ParentContext] = SharedCache(self._parent_context, _PARENT_CONTEXTS)

    def fork(
        self, record: tuple[Any, ...], attribution: Attribution, parent_attribution: Attribution | None, lag_ms: int | None
    ) -> Fork:
        """`record`: as unpacked by the layout."""
        sequence, time, _, _, tid, ns_tid, pid, ns_pid, start, chain, cpu, levels, thread, counted, context = record
        parent_context = self.parent_contexts.get(counted, context)
        if tid < _U32 and ns_tid < _U32 and pid < _U32 and ns_pid < _U32 and start < _U64:
            entity = parent_context.leader.entity if parent_context.leader else entity_id(self._boot_key, pid, start)
            child = Task(tid, ns_tid, pid, ns_pid, self._wall(start), entity)
        else:
            child = self._task(tid, ns_tid, pid, ns_pid, start)
        # With up to two levels the chain consists of numbers that are known already.
        numbers = (
            (child.tid,) if levels == 1 else (child.tid, child.ns_tid) if levels == 2 else self._chain(child, chain, levels)
        )
        return Fork(
            sequence,
            self._wall(time),
            cpu,
            thread == 1,
            child,
            numbers,
            levels,
            parent_context,
            attribution,
            parent_attribution,
            lag_ms,
            counted,
        )

    def _parent_context(self, raw: bytes) -> ParentContext:
        values = self.layout.unpack_parent_context(raw)
        parent_task, process_task, leader_task = values[0:5], values[5:10], values[10:15]
        flags, comm, parent_comm, uid, gid, *namespaces = values[15:]
        parent = self._task(*parent_task)
        return ParentContext(
            parent=parent,
            # Usually the same; they differ when a thread called, or with CLONE_PARENT.
            parent_process=parent if process_task == parent_task else self._task(*process_task),
            leader=self._task(*leader_task) if leader_task[0] else None,
            clone=clone_names(flags),
            comm=_comm(comm),
            parent_comm=_comm(parent_comm),
            uid=_known(uid),
            gid=_known(gid),
            namespaces=tuple(inum or None for inum in namespaces),
        )

    def _task(self, tid: int, ns_tid: int, pid: int, ns_pid: int, start: int) -> Task:
        known_start = start != _U64
        return Task(
            _known(tid),
            _known(ns_tid),
            _known(pid),
            _known(ns_pid),
            self._wall(start) if known_start else None,
            # The record of a thread that is not its leader lacks the process's start, and so the process's id is unknown.
            entity_id(self._boot_key, pid, start) if known_start and pid == tid != _U32 else None,
        )

    def _chain(self, child: Task, below: bytes, levels: int) -> tuple[int | None, ...]:
        """`below`: the numbers in the namespaces below the host's."""
        numbers = map(_known, self.layout.unpack_chain(below)[: max(levels - 1, 0)])
        return (child.tid, *numbers) if levels else ()


def _known(number: int) -> int | None:
    return None if number == _U32 else number


def _comm(raw: bytes) -> str | None:
    """Up to the first NUL (the kernel leaves older bytes behind it); what is not UTF-8 becomes U+FFFD."""
    if raw[-1]:  # a real one ends with NUL; the BPF program marks by this that it could not read it
        return None
    return raw.split(b"\0", 1)[0].decode(errors="replace")
