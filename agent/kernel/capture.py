"""What hangs on the kernel's hooks: the dispatcher, the probe in charge behind it, and probes that were in charge before.

The dispatcher stays; probes come and go behind it (bpf/dispatch.c). With pins all of it outlives the agent: the next one takes
over what it finds, compiles nothing when nothing changed, and drains what another version left. Must not live here: what a
probe counts.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, NamedTuple

from agent.kernel.compiler import CannotCapture, NotPermitted, compiled
from agent.kernel.libbpf import load_libbpf
from agent.kernel.loader import DISPATCHER_MAPS, TRACEPOINTS, digest
from agent.kernel.maps import BpfMap, ProgramStats, program_stats
from agent.kernel.pins import DISPATCH, MAP_PINS, CannotPin, Pins, PinsTaken
from agent.kernel.programs import (
    CHANGES_BYTES,
    LAYOUT,
    META_BYTES,
    MOST_CGROUP_COUNTERS,
    STORM_ROWS,
    LoadedPrograms,
    Meta,
    boot_id,
    forks_since_boot,
)
from agent.kernel.records import FORK_SLOT
from agent.kernel.ring import Ring

__all__ = ["CannotCapture", "Capture", "NotPermitted", "PinsTaken", "Unreadable", "left_in", "open_capture", "orders_of"]

log = logging.getLogger(__name__)

_HALF: Final = 8  # slots a probe has
_FIRST: Final = bytes(4)


class Unreadable(NamedTuple):
    """A probe went that this version can't read, or nobody, and so many forks in its ring with it."""

    stream: str
    forks: int


class Capture:
    """`taken_over`: the probe in charge was found running. `former`: probes that are not in charge any more and must be
    drained, the oldest first. `unpinned`: why nothing outlives this agent; None: it does."""

    def __init__(self, held: dict[str, int], pins: Pins | None, unpinned: str | None) -> None:
        self._held = held
        self._pins = pins
        self.unpinned = unpinned
        self._slots = BpfMap(held["slots"], 4, 4, 2 * _HALF)
        self._base = BpfMap(held["base"], 4, 4, 1)
        self.current: LoadedPrograms
        self.former: list[LoadedPrograms] = []
        self.unreadable: list[Unreadable] = []
        self.taken_over = False

    def misses(self) -> int:
        """How often the kernel skipped a hook, for it was running on that CPU already."""
        return sum(stats.misses for stats in self.programs().values())

    def programs(self) -> dict[str, ProgramStats]:
        """What the kernel says of each hook, the probe's part included, by its tracepoint."""
        return {tracepoint: program_stats(self._held[f"hook-{tracepoint}"]) for tracepoint, _ in TRACEPOINTS}

    def retire(self, programs: LoadedPrograms) -> None:
        """It has been drained and accounted for: it goes for good."""
        self.former.remove(programs)
        if all(other.meta.base != programs.meta.base for other in (self.current, *self.former)):
            for number in range(len(TRACEPOINTS)):
                self._slots.remove((programs.meta.base + number).to_bytes(4, sys.byteorder))
        if self._pins:
            self._pins.remove(programs.meta.epoch)
        programs.close()

    def close(self, *, keep: bool) -> None:
        """`keep`: capture goes on, if it is pinned, for the next agent to take over. Else everything is detached."""
        if self._pins:
            if not keep:
                self._pins.remove_all()
            self._pins.close()
        for programs in (self.current, *self.former):
            programs.close()
        for descriptor in self._held.values():
            os.close(descriptor)

    def find(self) -> None:
        """All probes that are pinned, as `former`. What the crash of a start left half made goes."""
        for epoch in self._pins.instance_ids() if self._pins else ():
            descriptors = self._pins.get(epoch) if self._pins else {}
            try:
                self.former.append(LoadedPrograms(descriptors, None, self.misses))
            except ValueError as error:
                if left := left_in(descriptors):
                    log.error("the probe %s can't be read: %s; %d forks lie there", epoch, error, left.forks)
                    self.unreadable.append(left)
                for descriptor in descriptors.values():
                    os.close(descriptor)
                if self._pins:
                    self._pins.remove(epoch)
        self.former.sort(key=lambda programs: programs.meta.made)

    def in_charge(self) -> LoadedPrograms | None:
        """Of those that were found: the newest of its half, for a probe takes a half over that is not in charge."""
        base = int.from_bytes(self._base.get(_FIRST) or bytes(4), sys.byteorder)
        return next((programs for programs in reversed(self.former) if programs.meta.base == base), None)

    def take_over(self, programs: LoadedPrograms) -> None:
        self.current, self.taken_over = programs, True
        self.former.remove(programs)
        for former in self.former:
            if former.meta.stopped is None:  # its agent died just after the change
                former.stopped(programs.meta.attached)

    def put_in_charge(self, meta: Meta, loaded: dict[str, int], before: LoadedPrograms | None) -> None:
        """All hooks at once, by one write. `before`: the one that was; it is former from then on, and no fork falls between."""
        maps = {name: descriptor for name, descriptor in loaded.items() if name.startswith("map-")}
        self.current = LoadedPrograms(maps, meta, self.misses)
        if self._pins:
            self._pins.put(meta.epoch, maps)
        for number, (_, function) in enumerate(TRACEPOINTS):
            program = loaded[f"program-{function}"]
            self._slots.put((meta.base + number).to_bytes(4, sys.byteorder), program.to_bytes(4, sys.byteorder))
            os.close(program)  # the slot has it now
        if before:
            self.current.inherit(before)
        then = forks_since_boot()
        self._base.put(_FIRST, meta.base.to_bytes(4, sys.byteorder))
        between = (then, forks_since_boot())
        if before:
            self.current.note(attached=between, misses=(self.misses(), None))
        for former in self.former:
            if former.meta.stopped is None:
                former.stopped(between)


def open_capture(
    ring_bytes: int, hierarchy: int, controller: str | None, pin: Path | None, known: Collection[str] | None = None
) -> Capture:
    """The probe is attached on return; it counts nothing until its `start`, unless it was found running.

    `ring_bytes`: a power of two and of whole pages. `hierarchy`: the cgroup hierarchy's number in /proc/self/cgroup;
    `controller`: one that is mounted there (v1), None for v2. `pin`: the folder for pins, None: nowhere. Raises
    CannotCapture, NotPermitted or PinsTaken; where pins can't be had it goes on without and says why. `known`: the streams
    that may be taken over, None: any; what runs under another is put out of charge, and is `former`.
    """
    orders = orders_of(ring_bytes, hierarchy, controller)
    pins, unpinned = None, "capture.pin is null" if pin is None else None
    try:
        pins = Pins(pin) if pin else None
    except CannotPin as error:
        unpinned = str(error)
    try:
        return _opened(orders, pins, unpinned, known)
    except OSError as error:
        raise CannotCapture(f"cannot take over what is pinned in {pin}: {error}") from error


def orders_of(ring_bytes: int, hierarchy: int, controller: str | None) -> dict[str, Any]:
    """What a probe is made to, but for its source. See `open_capture`."""
    return {
        "ring_bytes": ring_bytes,
        "changes_bytes": CHANGES_BYTES,
        "tally_rows": MOST_CGROUP_COUNTERS,
        "storm_rows": STORM_ROWS,
        "hierarchy": hierarchy,
        "controller": controller,
    }


def _opened(orders: dict[str, Any], pins: Pins | None, unpinned: str | None, known: Collection[str] | None) -> Capture:
    held = pins.get(DISPATCH) if pins else {}
    whole = {*DISPATCHER_MAPS, *(f"{kind}-{tracepoint}" for tracepoint, _ in TRACEPOINTS for kind in ("hook", "link"))}
    fresh: dict[str, int] = {}
    was_attached = held.keys() == whole
    if not was_attached:  # none, or the start that made it was cut off
        for descriptor in held.values():
            os.close(descriptor)
        fresh = compiled(orders, dispatcher=True)
        held = _attached({name: fresh.pop(name) for name in list(fresh) if not name.startswith(("map-", "program-"))}, pins)
    capture = Capture(held, pins, unpinned)
    capture.find()
    fingerprint = digest(orders)
    before = capture.in_charge() if was_attached else None
    same = before and before.meta.fingerprint == fingerprint and (known is None or before.stream in known)
    if before and same and before.meta.stopped is None:  # else its agent was on its way out, and did not get there
        capture.take_over(before)
        return capture
    base = _HALF - before.meta.base if before else 0
    fresh = fresh or compiled(orders, dispatcher=False)
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    meta = Meta(LAYOUT, FORK_SLOT, fingerprint, secrets.token_hex(8), boot_id(), orders["ring_bytes"], base, now)
    capture.put_in_charge(meta, fresh, before)
    return capture


def _attached(dispatcher: dict[str, int], pins: Pins | None) -> dict[str, int]:
    """Hangs it on the hooks, in their order, and pins it. Nothing is behind it yet. Raises CannotCapture, NotPermitted."""
    held = {name.removeprefix("dispatch-"): descriptor for name, descriptor in dispatcher.items()}
    for tracepoint, _ in TRACEPOINTS:
        link = load_libbpf().bpf_raw_tracepoint_open(tracepoint.encode(), held[f"hook-{tracepoint}"])
        if link < 0:
            refused = NotPermitted if -link in (errno.EPERM, errno.EACCES) else CannotCapture
            raise refused(f"the kernel would not attach to {tracepoint}: {os.strerror(-link)}")
        held[f"link-{tracepoint}"] = link
    if pins:
        pins.remove(DISPATCH)
        pins.put(DISPATCH, held)
    return held


def left_in(descriptors: dict[str, int]) -> Unreadable | None:
    """What lies in the ring of a probe whose records can't be read: counted by its positions. None: it is no probe at all."""
    try:
        said = json.loads((BpfMap(descriptors["meta"], 4, META_BYTES, 1).get(_FIRST) or b"").rstrip(b"\0"))
        ring = Ring(descriptors[MAP_PINS["forks"]], int(said["ring_bytes"]), int(said["slot"]))
        stream = f"{said['boot_id']}.{said['epoch']}"
    except (KeyError, OSError, ValueError, TypeError):
        return None
    left = ring.backlog if ring.sound else 0
    ring.close()
    return Unreadable(stream, left)
