"""One agent from its start to its end."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Collection
from concurrent.futures import Executor
from pathlib import Path

from agent.attribution.hierarchy import choose_hierarchy, writable_mounts
from agent.journal import Journal
from agent.kernel.capture import open_capture
from agent.kernel.clock import SystemClock
from agent.kernel.programs import boot_id
from agent.lifecycle.build import serve_status
from agent.lifecycle.capabilities import of_process
from agent.lifecycle.confinement import confine, first_threads
from agent.lifecycle.loop import Loop
from agent.lifecycle.parts import Parts
from agent.lifecycle.shutdown import leave
from agent.lifecycle.startup import open_parts, start
from agent.settings import Settings
from agent.state_records import POSITIONS, unreadable_record

__all__ = ["live", "run", "warn_of_writable_cgroups"]

log = logging.getLogger(__name__)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """From attach to the last delivered batch. Raises CannotCapture, NoHierarchy, PinsTaken, JournalTaken, OSError (a port in
    use)."""
    threads = first_threads()
    mountinfo = _read("/proc/self/mountinfo")
    hierarchy = choose_hierarchy(mountinfo, _read("/proc/self/cgroup"))
    if hierarchy.part:
        log.warning("this node is a container: forks outside it are not seen (%s is a part of the hierarchy)", hierarchy.root)
    warn_of_writable_cgroups(mountinfo, of_process().permitted)
    limits = {sink.name: sink.journal_bytes for sink in settings.sinks}
    journal = Journal(settings.state_dir / "journal.sqlite3", limits, unreadable=unreadable_record)
    await journal.open()
    try:
        options = settings.capture
        # Programs whose history the journal does not have are not taken over: their successors begin with a clean account, and
        # what they leave is drained and reported.
        known = {str(stream) for stream in journal.table(POSITIONS)}
        capture = await asyncio.to_thread(
            open_capture, options.ring_bytes, hierarchy.number, hierarchy.controller, options.pin, known, part=hierarchy.part
        )
        keep = options.keep
        try:
            parts = open_parts(settings, hierarchy, capture, journal, SystemClock(), boot_id=boot_id())
            await live(parts, settings, stop, threads)
        except BaseException:
            keep = True  # an unhandled error: the next agent takes over
            raise
        finally:
            capture.close(keep=keep)
    finally:
        await journal.close()


def warn_of_writable_cgroups(mountinfo: str, permitted: Collection[str]) -> None:
    """Logs what the runtime left writable. `permitted`: capabilities; with SYS_ADMIN a mount's options hold nothing off."""
    if "SYS_ADMIN" not in permitted and (writable := writable_mounts(mountinfo)):
        log.warning(
            "the container runtime can't mount recursively read-only: %d cgroup mounts below are writable, %s among them; mount"
            " one hierarchy instead (agent.cgroups.hostPath of the chart: /sys/fs/cgroup/pids)",
            len(writable),
            writable[0],
        )


async def live(parts: Parts, settings: Settings, stop: asyncio.Event, threads: Executor) -> None:
    """Until `stop` is set and what was captured has been shipped, or the time for that is up. `threads`: the loop's so far."""
    status = await serve_status(parts.reporter, settings)  # first: when the port is taken, nothing has begun
    async with asyncio.TaskGroup() as tasks:
        running = parts.pipeline.start_posting(tasks)
        start(parts)
        _spare_the_collector()
        left = await confine(parts.capture, parts.journal, settings, parts.metadata_cache.root, threads)
        parts.reporter.privileges = left.in_words()
        if parts.watch:
            running.append(tasks.create_task(parts.watch.run(), name="pods"))
        loop = Loop(parts)
        await loop.run(stop)
        await leave(parts, loop)
        for task in running:
            task.cancel()
    await status.cleanup()


def _spare_the_collector() -> None:
    """What is there now stays; the forks that come and go by the thousand hold no cycles. Saves a twentieth of the CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
