"""The end of an agent: drain the rings, ship what is there until the time is up, keep the rest for the next agent."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from agent.lifecycle.loop import PAUSE_S, Loop
from agent.lifecycle.parts import Parts

__all__ = ["leave"]

log = logging.getLogger(__name__)

_SHIP_S: Final = 10.0  # to ship what is left at SIGTERM; a pod's grace period is 30 s by default


async def leave(parts: Parts, loop: Loop) -> None:
    """What is left when the time is up stays in the journal for the next start."""
    current, keep = parts.instances[0], parts.options.keep
    if not keep:
        current.programs.stop()
        await asyncio.sleep(PAUSE_S)  # for a fork that was just being written when the programs stopped
    parts.reporter.capturing = False
    await _drain(parts)
    for instance in parts.instances[bool(keep) :]:  # what the next agent goes on with may go on waiting
        parts.pipeline.emit_forks(instance.stream, instance.enricher.resolve_all_waiting(parts.clock.boot_ns()))
    await loop.close_drained()
    loop.summarize(current)
    await parts.pipeline.commit(close_batches=True)
    await _ship(parts)
    parts.capture.current.update_meta(all_delivered=not any(len(sink.queue) or sink.unaccepted_gaps for sink in parts.sinks))
    await parts.pipeline.commit()
    parts.reporter.write_ledger(parts.options.state_dir)
    parts.reporter.log_ledger()


async def _drain(parts: Parts) -> None:
    """What lies in the rings by now; what comes later is the next agent's."""
    deadline = parts.clock.monotonic_s() + _SHIP_S
    ends = [(instance, instance.programs.forks.end) for instance in parts.instances]
    while any(instance.reached.forks < end for instance, end in ends) and parts.clock.monotonic_s() < deadline:
        parts.pipeline.turn()
        if parts.pipeline.commit_is_due():
            await parts.pipeline.commit()
        await asyncio.sleep(0)


async def _ship(parts: Parts) -> None:
    try:
        async with asyncio.timeout(_SHIP_S):
            await asyncio.gather(*(sink.queue.empty() for sink in parts.sinks))
            if any(sink.unaccepted_gaps for sink in parts.sinks):  # others were on their way
                await parts.pipeline.commit()
                await asyncio.gather(*(sink.queue.empty() for sink in parts.sinks))
    except TimeoutError:
        log.warning("what is not delivered after %.0f s stays in the journal for the next start", _SHIP_S)
