"""Checks capture end to end: forks a prime number of times, and expects exactly that many in the running agent's counts, or in
a capture of its own."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.attribution.hierarchy import Hierarchy
from agent.doctor.check_result import CheckResult, fail, ok, skipped, warn
from agent.doctor.checks.status_port import samples
from agent.kernel.capture import CannotCapture, NotPermitted, open_capture
from agent.kernel.programs import forks_since_boot
from agent.kernel.records import FORK, PARENT_CONTEXT, ParentContextRecord
from agent.kernel.ring import Ring

__all__ = ["FORKS", "AgentCounts", "CaptureCounts", "count_by_agent", "count_by_own_capture", "judge_canary"]

FORKS: Final = 23
_RING_BYTES: Final = 4 << 20  # for a moment; it holds 16,384 forks of the whole node between two reads
_WAIT_S: Final = 5.0  # an event takes microseconds; on a machine with no CPU left, a second
_ALIVE_NS: Final = 30 * 10**9


@dataclass(frozen=True)
class AgentCounts:
    """How far a running agent's counts grew by our forks. `least`, `most`: bounds of the tasks that the whole node created
    meanwhile, from /proc/stat, because other processes fork too. `shares_ring`: as in CaptureCounts."""

    processes: int
    tasks: int
    least: int
    most: int
    shares_ring: bool = True


@dataclass(frozen=True)
class CaptureCounts:
    """What a capture of our own counted. `events`: of our forks. `lost`: forks that did not fit into its ring. `refused`: why
    there was no capture. `shares_ring`: BCC could compile what shares a ring that fills."""

    events: int = 0
    lost: int = 0
    refused: str | None = None
    permitted: bool = True
    shares_ring: bool = True


def count_by_agent(url: str) -> AgentCounts | None:
    """None when the agent's /metrics has no counts. Raises OSError."""
    first = forks_since_boot()
    before = _captured_forks(url)
    least = forks_since_boot()
    for _ in range(FORKS):
        _fork()
    least = forks_since_boot() - least
    after = _captured_forks(url)
    if not before or not after:
        return None
    grown = {kind: after[kind] - before[kind] for kind in before.keys() & after.keys()}
    most = forks_since_boot() - first
    shares_ring = all(value for name, _, value in samples(url) if name == "forklore_ring_shared")
    return AgentCounts(int(grown.get("process", 0)), int(sum(grown.values())), least, most, shares_ring)


def _captured_forks(url: str) -> dict[str, float]:
    return {labels["kind"]: value for name, labels, value in samples(url) if name == "forklore_captured_forks_total"}


def count_by_own_capture(hierarchy: Hierarchy) -> CaptureCounts:
    """For a moment, not pinned. It does not disturb an agent that captures at the same time."""
    try:
        capture = open_capture(_RING_BYTES, hierarchy.number, hierarchy.controller, None, part=hierarchy.part)
    except CannotCapture as error:
        return CaptureCounts(refused=str(error), permitted=not isinstance(error, NotPermitted))
    try:
        programs = capture.current
        programs.start(threads=False, storm_limit=0, alive_ns=_ALIVE_NS)
        found = 0
        for _ in range(FORKS):
            _fork()
            found += _count_own(programs.forks)
        deadline = time.monotonic() + _WAIT_S
        while found < FORKS and time.monotonic() < deadline:
            time.sleep(0.01)
            found += _count_own(programs.forks)
        lost = sum(row.lost for row in programs.snapshot().counters.values())
        return CaptureCounts(found, lost, shares_ring=programs.meta.shares_ring)
    finally:
        capture.close(keep=False)


def _count_own(ring: Ring) -> int:
    """Takes all records from the ring; returns how many are forks of this process."""
    us, found = (os.getpid(), Path("/proc/self/ns/pid").stat().st_ino), 0
    while raw := ring.read(4096):
        for *_, parent_context in FORK.iter_unpack(raw):
            parent = ParentContextRecord._make(PARENT_CONTEXT.unpack(parent_context))
            found += (parent.parent_ns_pid, parent.ns_pid) == us
        ring.publish(ring.cursor)
    return found


def _fork() -> None:
    """The child ends at once."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def judge_canary(counts: AgentCounts | CaptureCounts | None) -> CheckResult:
    cure = "report it to forklore's developers, with this output, the kernel's version and the agent's log"
    if counts is None:
        return skipped("canary", "the agent's /metrics has no counts")
    if isinstance(counts, AgentCounts):
        counted = f"the agent counted {counts.processes} processes, {counts.tasks} tasks in all"
        text = f"forked {FORKS} times; {counted}; the kernel created {counts.least} to {counts.most} meanwhile"
        plausible = counts.processes >= FORKS and counts.tasks <= counts.most
        return _found(text, shares_ring=counts.shares_ring) if plausible else fail("canary", text, cure)
    if counts.refused:
        return skipped("canary", counts.refused) if not counts.permitted else fail("canary", counts.refused, cure)
    if counts.events == FORKS:
        text = f"forked {FORKS} times, and found {counts.events} in a capture of its own"
        return _found(text, shares_ring=counts.shares_ring)
    if counts.lost:
        text = (
            f"forked {FORKS} times and found {counts.events}; the node is busy: {counts.lost:,} forks did not fit into the ring"
        )
        return fail("canary", text, "run it again; the agent's ring is larger, see capture.ring_bytes")
    return fail("canary", f"forked {FORKS} times, and found {counts.events} in a capture of its own", cure)


def _found(text: str, *, shares_ring: bool) -> CheckResult:
    if shares_ring:
        return ok("canary", text)
    text += "; but BCC can't compile what shares a ring that fills: who forks much can fill it for all"
    return warn(
        "canary", text, "install Debian 12's BCC (0.26) or Debian 13's (0.31), and report this one to forklore's developers"
    )
