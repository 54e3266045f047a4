"""Forks a prime number of times, and looks for just that many: in the running agent's counts, or in a capture of its own.

Must not live here: how forks are captured.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.attribution.cgroups import Hierarchy
from agent.doctor.check_result import Finding, fail, ok, skipped
from agent.doctor.checks.status_port import samples
from agent.kernel.capture import CannotCapture, NotPermitted, open_capture
from agent.kernel.programs import forks_since_boot
from agent.kernel.records import FORK, PARENT_CONTEXT
from agent.kernel.ring import Ring

__all__ = ["FORKS", "Counted", "Found", "ask_agent", "judge_canary", "own_capture"]

FORKS: Final = 23
_RING_BYTES: Final = 4 << 20  # of memory, for a moment: 16,384 forks of the whole node between two looks
_TOLD_S: Final = 5.0  # it takes microseconds, and on a machine that has no CPU left a second
# Places in agent.kernel.records' ORIGIN, which begins with the parent: tid ns_tid pid ns_pid start.
_NS_PID: Final = 3
_PID_NAMESPACE: Final = -7
_ALIVE_NS: Final = 30 * 10**9


@dataclass(frozen=True)
class Counted:
    """By a running agent: how many processes and tasks more after our forks. `least`, `most`: the tasks that the kernel made
    meanwhile, by /proc/stat; other processes fork, too."""

    processes: int
    tasks: int
    least: int
    most: int


@dataclass(frozen=True)
class Found:
    """In a capture of our own: events of our forks. `refused`: why there was none. `lost`: forks that had no room there."""

    events: int = 0
    lost: int = 0
    refused: str | None = None
    permitted: bool = True


def ask_agent(url: str) -> Counted | None:
    """None: it says nothing of what it counts. Raises OSError."""
    first = forks_since_boot()
    before = _captured(url)
    least = forks_since_boot()
    for _ in range(FORKS):
        _fork()
    least = forks_since_boot() - least
    after = _captured(url)
    if not before or not after:
        return None
    grown = {kind: after[kind] - before[kind] for kind in before.keys() & after.keys()}
    return Counted(int(grown.get("process", 0)), int(sum(grown.values())), least, forks_since_boot() - first)


def _captured(url: str) -> dict[str, float]:
    return {labels["kind"]: value for name, labels, value in samples(url) if name == "forklore_captured_forks_total"}


def own_capture(hierarchy: Hierarchy) -> Found:
    """For a moment, pinned nowhere; beside an agent's, which does not notice."""
    try:
        capture = open_capture(_RING_BYTES, hierarchy.number, hierarchy.controller, None)
    except CannotCapture as error:
        return Found(refused=str(error), permitted=not isinstance(error, NotPermitted))
    try:
        probe = capture.current
        probe.start(threads=False, storm_limit=0, alive_ns=_ALIVE_NS)
        found = 0
        for _ in range(FORKS):
            _fork()
            found += _ours(probe.forks)
        deadline = time.monotonic() + _TOLD_S
        while found < FORKS and time.monotonic() < deadline:
            time.sleep(0.01)
            found += _ours(probe.forks)
        lost = sum(row.lost for row in probe.snapshot().rows.values())
        return Found(found, lost)
    finally:
        capture.close(keep=False)


def _ours(ring: Ring) -> int:
    """How many of the forks that it has by now are this process's; then there is room for others."""
    us, found = (os.getpid(), Path("/proc/self/ns/pid").stat().st_ino), 0
    while raw := ring.take(4096):
        parent_contexts = (PARENT_CONTEXT.unpack(record[-1]) for record in FORK.iter_unpack(raw))
        found += sum((parent_context[_NS_PID], parent_context[_PID_NAMESPACE]) == us for parent_context in parent_contexts)
        ring.publish(ring.cursor)
    return found


def _fork() -> None:
    """The child ends at once."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def judge_canary(seen: Counted | Found | None) -> Finding:
    cure = "tell forklore's developers: what this command says, the kernel and the agent's log"
    if seen is None:
        return skipped("canary", "the agent does not say what it counts")
    if isinstance(seen, Counted):
        counted = f"the agent counted {seen.processes} processes, {seen.tasks} tasks in all"
        told = f"forked {FORKS} times; {counted}; the kernel made {seen.least} to {seen.most} meanwhile"
        sound = seen.processes >= FORKS and seen.tasks <= seen.most
        return ok("canary", told) if sound else fail("canary", told, cure)
    if seen.refused:
        return skipped("canary", seen.refused) if not seen.permitted else fail("canary", seen.refused, cure)
    if seen.events == FORKS:
        return ok("canary", f"forked {FORKS} times, and found {seen.events} in a capture of its own")
    if seen.lost:
        busy = f"forked {FORKS} times and found {seen.events}: the node is so busy that {seen.lost:,} forks had no room"
        return fail("canary", busy, "look again; the agent has a larger ring, see capture.ring_bytes")
    return fail("canary", f"forked {FORKS} times, and found {seen.events} in a capture of its own", cure)
