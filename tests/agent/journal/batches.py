"""Batches to put into a journal, and readers of its queues and accounts."""

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
    """The head of a queue, which needs to wait for nothing but the journal's thread."""
    return await asyncio.wait_for(head, 5)


async def nothing_yet(queue):
    """Whether the queue's head is not available now."""
    waiting = asyncio.ensure_future(queue.head())
    await asyncio.sleep(0.01)
    waiting.cancel()
    return not waiting.done()


async def drained(queue, most=None):
    """Completes the batches as delivered, in their order."""
    out = []
    while len(queue) and (most is None or len(out) < most):
        batch = await at_once(queue.head())
        if queue.complete(batch, delivered=batch.forks):
            out.append(batch)
    return out


def counts(account):
    """All counts of an account that are not empty."""
    every = {("delivered", ""): account.delivered}
    every |= {("lost", reason): forks for reason, forks in account.lost.items()}
    every |= {("filtered", reason): forks for reason, forks in account.filtered.items()}
    return {key: +forks for key, forks in every.items() if +forks}


def accounted_for(journal, sink="siem", stream=STREAM):
    """Forks by cgroup: delivered, lost and still queued."""
    account, queue = journal.account(stream, sink), journal.queue(sink)
    gone = sum(account.lost.values(), Counter())
    return account.delivered + gone + queue.counts_of(stream)
