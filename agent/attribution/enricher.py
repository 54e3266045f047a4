"""Raw forks + subjects -> forks that say who, when and whose. Pure: told the time, asks only functions that answer at once.

A fork whose pod or container is not known yet waits here, bounded in time and number, and holds up no other. Must not live
here: formats, queues to anywhere, the asking of an API.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

from agent.interfaces import AttachedTaskSource, AttributionSource, WallClock
from agent.model import Attribution, Fork, ParentContext, Task

__all__ = ["CLONE_FLAGS", "Enricher", "Layout", "Waiting", "clone_names", "entity_id"]

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
    0x80: "NEWTIME",  # clone3 only, where it lies inside the signal's byte
}
_U32: Final = 0xFFFFFFFF
_U64: Final = 0xFFFFFFFFFFFFFFFF
_ATTACHED: Final = 128  # subjects, each of which keeps its pod though that be gone
_PARENT_CONTEXTS: Final = 1024  # tasks whose decoded half is kept, twice over; each takes 1.6 KB in all


class Layout(NamedTuple):
    """How a raw record is taken apart: the kernel room's structs, given by value (rooms don't know each other)."""

    slot: int
    unpack_fork: Callable[[bytes], Iterator[tuple[Any, ...]]]
    unpack_parent_context: Callable[[bytes], tuple[Any, ...]]
    unpack_chain: Callable[[bytes], tuple[int, ...]]


class Waiting(NamedTuple):
    """A fork that waits for its name: since when (boot clock ns), the raw record, for which cgroup, and whether it was
    moved there
    after it was made. `key`: a number of its own, rising."""

    key: int
    since: int
    cgroup: int
    entered: bool
    raw: bytes


def entity_id(key: int, pid: int, start_boot_ns: int) -> str:
    """A process's stable 64-bit name: boot id, pid and start through SplitMix64's finalizer (Steele et al. 2014)."""
    value = (key ^ start_boot_ns ^ (pid * 0x9E3779B97F4A7C15)) & _U64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _U64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _U64
    return f"{value ^ (value >> 31):016x}"


@lru_cache(maxsize=256)  # a handful on any node; a container can make up more
def clone_names(flags: int) -> tuple[str, ...] | None:
    """None when they were not seen."""
    return None if flags == _U64 else tuple(name for bit, name in CLONE_FLAGS.items() if flags & bit)


class Enricher:
    """`wait_ns`, `most`: how long and how many forks may wait for their pods. `boot_key`: 64 bits of the boot id.

    `changed`: what began to wait, or (None) no longer waits, since the last time that it was emptied; by key.
    """

    def __init__(
        self,
        layout: Layout,
        boot_key: int,
        clock: WallClock,
        attributions: AttributionSource,
        attached_tasks: AttachedTaskSource,
        wait_ns: int,
        most: int,
    ) -> None:
        self._layout = layout
        self._boot_key = boot_key
        self._wall = clock.wall
        self._find = attributions.find
        self._resolve_now = attributions.resolve_now
        self._resolve_final = attributions.resolve_final
        self._cgroup_of = attached_tasks.cgroup_of
        self._attached_tasks: dict[Attribution, Attribution] = {}
        self._wait_ns = wait_ns
        self._most = most
        self._waiting: dict[int, deque[Waiting]] = {}
        self._next = 0
        self.waiting = 0
        self.changed: dict[int, Waiting | None] = {}
        self._parent_contexts: dict[bytes, ParentContext] = {}
        self._older_parent_contexts: dict[bytes, ParentContext] = {}

    def enrich(self, raw: bytes, now: int) -> list[Fork]:
        """`raw`: whole records; `now`: boot clock ns. Returns those that can be told already, in their order."""
        ready: list[Fork] = []
        find, settled, waiting = self._find, self._fork, self._waiting
        slot = self._layout.slot
        for at, values in enumerate(self._layout.unpack_fork(raw)):
            cgroup, moved = values[2], None
            attribution = None if cgroup in waiting else find(cgroup)
            if (
                attribution is not None
                and attribution.state == "host"
                and (moved := self._cgroup_of(values[4], values[8])) is not None
            ):
                cgroup, attribution = moved, None if moved in waiting else find(moved)
            if attribution is None:
                self._next += 1
                self.add_waiting(Waiting(self._next, now, cgroup, moved is not None, raw[at * slot : (at + 1) * slot]))
            else:
                ready.append(settled(values, attribution if moved is None else self._attached(attribution), None))
        while self.waiting > self._most:
            ready += self._release(next(iter(self._waiting)), now, 1)
        return ready

    def resolve_waiting(self, now: int) -> list[Fork]:
        """Those that waited and whose subject is known now, or whose time is up. Oldest first within a cgroup."""
        ready: list[Fork] = []
        for cgroup, line in list(self._waiting.items()):
            if self._find(cgroup) is not None:
                ready += self._release(cgroup, now, len(line))
            else:
                due = sum(1 for one in line if now - one.since >= self._wait_ns)
                if due:
                    ready += self._release(cgroup, now, due)
        return ready

    def resolve_all_waiting(self, now: int) -> list[Fork]:
        """The house is closing: all that waits goes with what is known."""
        return [fork for cgroup, line in list(self._waiting.items()) for fork in self._release(cgroup, now, len(line))]

    def add_waiting(self, one: Waiting) -> None:
        """It waits from now on; also one that waited already when an earlier agent died."""
        self._next = max(self._next, one.key)
        self._waiting.setdefault(one.cgroup, deque()).append(one)
        self.waiting += 1
        self.changed[one.key] = one

    def all_waiting(self) -> Iterator[Waiting]:
        return (one for line in self._waiting.values() for one in line)

    def _release(self, cgroup: int, now: int, count: int) -> Iterator[Fork]:
        line = self._waiting[cgroup]
        attribution = self._resolve_final(cgroup)
        for _ in range(count):
            one = line.popleft()
            self.waiting -= 1
            self.changed[one.key] = None
            (values,) = self._layout.unpack_fork(one.raw)
            yield self._fork(
                values, self._attached(attribution) if one.entered else attribution, (now - one.since) // 1_000_000
            )
        if not line:
            del self._waiting[cgroup]

    def _attached(self, attribution: Attribution) -> Attribution:
        """The same subject, told by the move and not by the fork."""
        if attribution.state == "host":
            return attribution
        if len(self._attached_tasks) >= _ATTACHED:
            self._attached_tasks.clear()
        found = self._attached_tasks.get(attribution)
        if found is None:
            found = self._attached_tasks[attribution] = replace(attribution, by="attach")
        return found

    def _fork(self, values: tuple[Any, ...], attribution: Attribution, lag_ms: int | None) -> Fork:
        sequence, time, _, parent_cgroup, tid, ns_tid, pid, ns_pid, start, chain, cpu, levels, thread, counted, blob = values
        parent_context = self._parent_contexts.get(blob) or self._parent_context_of(blob)
        if tid < _U32 and ns_tid < _U32 and pid < _U32 and ns_pid < _U32 and start < _U64:
            entity = parent_context.leader.entity if parent_context.leader else entity_id(self._boot_key, pid, start)
            child = Task(tid, ns_tid, pid, ns_pid, self._wall(start), entity)
        else:
            child = self._task(tid, ns_tid, pid, ns_pid, start)
        # Up to two levels the chain is made of numbers that are known already.
        numbers = (
            (child.tid,) if levels == 1 else (child.tid, child.ns_tid) if levels == 2 else self._chain(child, chain, levels)
        )
        # 0: it could not be read.
        parent = None if parent_cgroup in (attribution.cgroup, 0) else self._resolve_now(parent_cgroup)
        wall = self._wall(time)
        return Fork(
            sequence, wall, cpu, thread == 1, child, numbers, levels, parent_context, attribution, parent, lag_ms, counted
        )

    def _parent_context_of(self, blob: bytes) -> ParentContext:
        parent_context = self._older_parent_contexts.get(blob)
        if parent_context is None:
            values = self._layout.unpack_parent_context(blob)
            flags, comm, parent_comm, uid, gid = values[15:20]
            parent = self._task(*values[0:5])
            parent_context = ParentContext(
                parent=parent,
                # The same, as a rule: but a thread may have called, or CLONE_PARENT been asked for.
                parent_process=parent if values[5:10] == values[0:5] else self._task(*values[5:10]),
                leader=self._task(*values[10:15]) if values[10] else None,
                clone=clone_names(flags),
                comm=_comm(comm),
                parent_comm=_comm(parent_comm),
                uid=_known(uid),
                gid=_known(gid),
                namespaces=tuple(inum or None for inum in values[20:27]),
            )
        if (
            len(self._parent_contexts) >= _PARENT_CONTEXTS
        ):  # two generations: what is in use survives, and nothing is ever searched for
            self._parent_contexts, self._older_parent_contexts = {}, self._parent_contexts
        self._parent_contexts[blob] = parent_context
        return parent_context

    def _task(self, tid: int, ns_tid: int, pid: int, ns_pid: int, start: int) -> Task:
        known_start = start != _U64
        return Task(
            _known(tid),
            _known(ns_tid),
            _known(pid),
            _known(ns_pid),
            self._wall(start) if known_start else None,
            # Of a thread that is not its leader the process's start is not known here, and so neither is its name.
            entity_id(self._boot_key, pid, start) if known_start and pid == tid != _U32 else None,
        )

    def _chain(self, child: Task, below: bytes, levels: int) -> tuple[int | None, ...]:
        """`below`: the numbers in the namespaces below the host's."""
        numbers = map(_known, self._layout.unpack_chain(below)[: max(levels - 1, 0)])
        return (child.tid, *numbers) if levels else ()


def _known(number: int) -> int | None:
    return None if number == _U32 else number


def _comm(raw: bytes) -> str | None:
    """Up to the first NUL (the kernel leaves older bytes behind it); what is not UTF-8 becomes U+FFFD."""
    if raw[-1]:  # a real one ends with NUL; the probe says by this that it could not read it
        return None
    return raw.split(b"\0", 1)[0].decode(errors="replace")
