"""Batches to put into a journal, and all that can be seen of one from outside."""

from __future__ import annotations

import asyncio
from array import array
from collections import Counter

from agent.model import NO_CGROUP, Batch

STREAM = "0f2a.1"


def a_batch(name="a", size=10, forks=(), *, stream=STREAM, since=0.0, own=1, body=None):
    """`forks` by cgroup; `own`: how many of the agent's own events are in it."""
    cgroups = array("Q", Counter(dict(forks)).elements())
    cgroups.extend([NO_CGROUP] * own)
    return Batch(name, stream, bytes([len(name) % 256]) * size if body is None else body, cgroups, since, 3 * size)


async def at_once(head):
    """The head, when it can be had without waiting for anybody but the journal's own thread."""
    return await asyncio.wait_for(head, 5)


async def nothing_yet(queue):
    """Whether the head is not to be had now."""
    waiting = asyncio.ensure_future(queue.head())
    await asyncio.sleep(0.01)
    waiting.cancel()
    return not waiting.done()


async def drained(queue, most=None):
    """Takes the batches out as delivered, in their order."""
    out = []
    while len(queue) and (most is None or len(out) < most):
        batch = await at_once(queue.head())
        if queue.complete(batch, delivered=batch.forks):
            out.append(batch)
    return out


def counts(account):
    """Only what is not nothing."""
    every = {("delivered", ""): account.delivered}
    every |= {("lost", reason): forks for reason, forks in account.lost.items()}
    every |= {("filtered", reason): forks for reason, forks in account.filtered.items()}
    return {key: +forks for key, forks in every.items() if +forks}


def told(journal, sink="siem", stream=STREAM):
    """Forks that were put in for a sink, as far as the journal says what became of them."""
    account, queue = journal.account(stream, sink), journal.queue(sink)
    gone = sum(account.lost.values(), Counter())
    return account.delivered + gone + queue.counts_of(stream)
