"""One agent from its start to its end."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import Executor
from pathlib import Path

from agent.attribution.hierarchy import choose_hierarchy
from agent.journal import Journal
from agent.kernel.capture import open_capture
from agent.kernel.clock import SystemClock
from agent.kernel.programs import boot_id
from agent.lifecycle.build import serve_status
from agent.lifecycle.confinement import confine, first_threads
from agent.lifecycle.loop import Loop
from agent.lifecycle.parts import Parts
from agent.lifecycle.shutdown import leave
from agent.lifecycle.startup import open_parts, start
from agent.settings import Settings
from agent.state_records import POSITIONS

__all__ = ["live", "run"]


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """From attach to the last delivered batch. Raises CannotCapture, NoHierarchy, PinsTaken, JournalTaken, OSError (a port in
    use)."""
    threads = first_threads()
    hierarchy = choose_hierarchy(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
    journal = Journal(settings.state_dir / "journal.sqlite3", {sink.name: sink.journal_bytes for sink in settings.sinks})
    await journal.open()
    try:
        options = settings.capture
        # Programs whose history the journal does not have are not taken over: their successors begin with a clean account, and
        # what they leave is drained and reported.
        known = {str(stream) for stream in journal.table(POSITIONS)}
        capture = await asyncio.to_thread(
            open_capture, options.ring_bytes, hierarchy.number, hierarchy.controller, options.pin, known
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
