"""What is attached to the kernel's tracepoints: the dispatcher, the active instance of the programs, and former instances.

The dispatcher stays attached; instances are replaced behind it (bpf/dispatch.c). With pins all of it outlives the agent: the
next agent takes over what it finds, compiles only what changed, and drains the instances of other versions. What an instance
counts and sends is in agent.kernel.programs.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import sys
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from agent.kernel.compiler import CannotCapture, CompiledPrograms, NotPermitted, compile_programs
from agent.kernel.layouts.cgroup_maps import MAX_HOST_CGROUPS, MAX_TRACKED
from agent.kernel.libbpf import load_libbpf
from agent.kernel.loader import DISPATCHER_MAPS, TRACEPOINTS, BuildOptions, compute_fingerprint
from agent.kernel.maps import BpfMap, ProgramStats, program_stats
from agent.kernel.meta import LAYOUT, Meta, read_ring_meta
from agent.kernel.pins import DISPATCH, MAP_PINS, CannotPin, Pins, PinsTaken
from agent.kernel.programs import CGROUP_EVENT_BYTES, LoadedPrograms, boot_id
from agent.kernel.records import FORK_SLOT
from agent.kernel.ring import Ring

__all__ = [
    "CannotCapture",
    "Capture",
    "NotPermitted",
    "PinsTaken",
    "UnreadableInstance",
    "build_options",
    "open_capture",
    "read_unreadable",
]

log = logging.getLogger(__name__)

_HALF: Final = 8  # the dispatcher's slots for one instance
_FIRST: Final = bytes(4)


class UnreadableInstance(NamedTuple):
    """An instance that this version cannot read and has removed, and how many forks were in its ring."""

    stream: str
    forks: int


class Capture:
    """`current`: the active instance. `taken_over`: it was found running. `former`: instances that are not active any more and
    must be drained, the oldest first. `unpinned`: why nothing outlives this agent; None: capture does."""

    current: LoadedPrograms

    def __init__(self, dispatcher: dict[str, int], pins: Pins | None, unpinned: str | None, *, part: bool = False) -> None:
        """`dispatcher`: descriptors by the names of its pins. `part`: of a hierarchy is captured."""
        self._part = part
        self._dispatcher = dispatcher
        self._pins = pins
        self.unpinned = unpinned
        self._slots = BpfMap(dispatcher["slots"], 4, 4, 2 * _HALF)
        self._base = BpfMap(dispatcher["base"], 4, 4, 1)
        self.former: list[LoadedPrograms] = []
        self.unreadable: list[UnreadableInstance] = []
        self.taken_over = False

    def misses(self) -> int:
        """How many runs the kernel skipped, because the program was already running on that CPU."""
        return sum(stats.misses for stats in self.program_stats().values())

    def program_stats(self) -> dict[str, ProgramStats]:
        """The kernel's statistics of each attached program, by tracepoint; they include the program behind it."""
        return {tracepoint: program_stats(self._dispatcher[f"hook-{tracepoint}"]) for tracepoint, _ in TRACEPOINTS}

    def remove_instance(self, programs: LoadedPrograms) -> None:
        """Removes a former instance that has been drained and accounted for."""
        self.former.remove(programs)
        if all(other.meta.base != programs.meta.base for other in (self.current, *self.former)):
            for number in range(len(TRACEPOINTS)):
                self._slots.remove(_u32(programs.meta.base + number))
        if self._pins:
            self._pins.remove(programs.meta.instance_id)
        programs.close()

    def close(self, *, keep: bool) -> None:
        """`keep`: pinned capture goes on, for the next agent to take over. Else everything is detached."""
        if self._pins:
            if not keep:
                self._pins.remove_all()
            self._pins.close()
        for programs in (self.current, *self.former):
            programs.close()
        for descriptor in self._dispatcher.values():
            os.close(descriptor)

    def open_pinned(self) -> None:
        """Opens all pinned instances, as `former`. Removes incomplete ones, which a start that was killed has left."""
        for instance_id in self._pins.instance_ids() if self._pins else ():
            descriptors = self._pins.get(instance_id) if self._pins else {}
            try:
                self.former.append(LoadedPrograms(descriptors, None, self.misses, part=self._part))
            except ValueError as error:
                if unreadable := read_unreadable(descriptors):
                    forks = unreadable.forks
                    log.error("cannot read the program instance %s (%s): removed with %d forks", instance_id, error, forks)
                    self.unreadable.append(unreadable)
                for descriptor in descriptors.values():
                    os.close(descriptor)
                if self._pins:
                    self._pins.remove(instance_id)
        self.former.sort(key=lambda programs: programs.meta.loaded_ns)

    def active(self) -> LoadedPrograms | None:
        """Of `former`: the newest instance in the active half, because instances are loaded into the other half."""
        base = int.from_bytes(self._base.get(_FIRST) or bytes(4), sys.byteorder)
        return next((programs for programs in reversed(self.former) if programs.meta.base == base), None)

    def take_over(self, programs: LoadedPrograms) -> None:
        """Makes the active instance of `former` the current one."""
        self.current, self.taken_over = programs, True
        self.former.remove(programs)
        for former in self.former:
            if former.meta.stopped is None:  # its agent was killed just after the switch
                former.set_stopped((former.tasks_so_far(),) * 2 if self._part else programs.meta.attached)

    def activate(self, meta: Meta, loaded: dict[str, int], before: LoadedPrograms | None) -> None:
        """Switches all tracepoints to a new instance by one write, so no fork is missed and none is captured twice. `loaded`:
        descriptors of its maps and programs. `before`: the instance that was active; it becomes a former one."""
        maps = {name: descriptor for name, descriptor in loaded.items() if name.startswith("map-")}
        self.current = LoadedPrograms(maps, meta, self.misses, part=self._part)
        if self._pins:
            self._pins.put(meta.instance_id, maps)
        for number, (_, function) in enumerate(TRACEPOINTS):
            program = loaded[f"program-{function}"]
            self._slots.put(_u32(meta.base + number), _u32(program))
            os.close(program)  # the slot holds it now
        if before:
            self.current.copy_state(before)
        then = self.current.tasks_so_far()
        self._base.put(_FIRST, _u32(meta.base))
        proc_stat = (then, self.current.tasks_so_far())
        if before:
            self.current.update_meta(attached=proc_stat, misses=(self.misses(), None))
        for former in self.former:
            if former.meta.stopped is None:
                former.set_stopped((former.tasks_so_far(),) * 2 if self._part else proc_stat)


def open_capture(
    ring_bytes: int,
    hierarchy: int,
    controller: str | None,
    pin: Path | None,
    known: Collection[str] | None = None,
    part: int = 0,
) -> Capture:
    """Returns with the programs attached. They count nothing until `current.start`, unless they were found running.

    `ring_bytes`: a power of two and of whole pages. `hierarchy`: the cgroup hierarchy's number in /proc/self/cgroup;
    `controller`: one that is mounted there (v1), None for v2. `pin`: the folder for pins; None: pin nothing. When pins are not
    possible, capture works without them, and `unpinned` says why. `known`: the streams that may be taken over, None: any; an
    active instance of another stream is replaced, and is in `former`. `part`: only this cgroup, by its id, and what is below it
    are captured; 0: all.

    Raises CannotCapture, NotPermitted or PinsTaken.
    """
    options = build_options(ring_bytes, hierarchy, controller, part)
    pins, unpinned = None, "capture.pin is null" if pin is None else None
    try:
        pins = Pins(pin) if pin else None
    except CannotPin as error:
        unpinned = str(error)
    try:
        return _open(options, pins, unpinned, known)
    except OSError as error:
        raise CannotCapture(f"cannot take over what is pinned in {pin}: {error}") from error


def build_options(ring_bytes: int, hierarchy: int, controller: str | None, part: int = 0) -> BuildOptions:
    """The arguments are `open_capture`'s."""
    return BuildOptions(ring_bytes, CGROUP_EVENT_BYTES, MAX_TRACKED, MAX_HOST_CGROUPS, hierarchy, controller, part)


def _open(options: BuildOptions, pins: Pins | None, unpinned: str | None, known: Collection[str] | None) -> Capture:
    dispatcher = pins.get(DISPATCH) if pins else {}
    complete = {*DISPATCHER_MAPS, *(f"{kind}-{tracepoint}" for tracepoint, _ in TRACEPOINTS for kind in ("hook", "link"))}
    compiled: CompiledPrograms | None = None
    was_attached = dispatcher.keys() == complete
    if not was_attached:  # there is none, or the start that made it was killed
        for descriptor in dispatcher.values():
            os.close(descriptor)
        compiled = compile_programs(options, dispatcher=True)
        names = [name for name in compiled.descriptors if not name.startswith(("map-", "program-"))]
        dispatcher = _attach({name: compiled.descriptors.pop(name) for name in names}, pins)
    capture = Capture(dispatcher, pins, unpinned, part=options.part != 0)
    capture.open_pinned()
    wanted = compute_fingerprint(options)
    before = capture.active() if was_attached else None
    same = before and before.meta.fingerprint == wanted and (known is None or before.stream in known)
    if before and same and before.meta.stopped is None:  # stopped: its agent was killed while it was leaving
        capture.take_over(before)
        return capture
    base = _HALF - before.meta.base if before else 0
    descriptors, shares_ring = compiled or compile_programs(options, dispatcher=False)
    if not shares_ring:
        log.warning("this BCC can't ask how full the ring is: a ring that fills is not shared, and who forks much can fill it")
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    meta = Meta(LAYOUT, FORK_SLOT, wanted, secrets.token_hex(8), boot_id(), options.ring_bytes, base, now)
    capture.activate(replace(meta, shares_ring=shares_ring), descriptors, before)
    return capture


def _attach(loaded: dict[str, int], pins: Pins | None) -> dict[str, int]:
    """Attaches the dispatcher's programs in the order of TRACEPOINTS, and pins them. Nothing is behind them yet. Raises
    CannotCapture, NotPermitted."""
    dispatcher = {name.removeprefix("dispatch-"): descriptor for name, descriptor in loaded.items()}
    for tracepoint, _ in TRACEPOINTS:
        link = load_libbpf().bpf_raw_tracepoint_open(tracepoint.encode(), dispatcher[f"hook-{tracepoint}"])
        if link < 0:
            refused = NotPermitted if -link in (errno.EPERM, errno.EACCES) else CannotCapture
            raise refused(f"the kernel refused to attach to {tracepoint}: {os.strerror(-link)}")
        dispatcher[f"link-{tracepoint}"] = link
    if pins:
        pins.remove(DISPATCH)
        pins.put(DISPATCH, dispatcher)
    return dispatcher


def read_unreadable(descriptors: dict[str, int]) -> UnreadableInstance | None:
    """How many forks are in the ring of an instance whose records this version cannot read, by the ring's positions. None: the
    instance is incomplete."""
    try:
        stream, ring_bytes, slot = read_ring_meta(descriptors["meta"])
        ring = Ring(descriptors[MAP_PINS["forks"]], ring_bytes, slot)
    except (KeyError, OSError, ValueError, TypeError):
        return None
    forks = ring.backlog if ring.is_valid else 0
    ring.close()
    return UnreadableInstance(stream, forks)


def _u32(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)
