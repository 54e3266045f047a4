"""A process to be killed at any moment: puts batches, commits, and completes some. Prints each commit's number."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path

from agent.journal import Journal
from tests.agent.journal.batches import a_batch

LIMITS = {"siem": 2_000_000, "collector": 200_000}


def forks_of(number: int) -> Counter[int]:
    return Counter({number % 5: number % 7, 5: 1})


async def live(file: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  reproducible
    journal = Journal(file, LIMITS)
    await journal.open()
    last = int(journal.table("number").get("put", b"-1"))
    for number in range(last + 1, 1_000_000):
        body = chance.randbytes(chance.choice([100, 5000, 60_000]))
        for sink in LIMITS:
            journal.queue(sink).put(a_batch(f"{number}", forks=forks_of(number), body=body))
        journal.put("number", "put", b"%d" % number)
        for waiting in range(number, number + 20):
            journal.put("waiting", waiting, bytes(chance.choice([1, 248])))
            journal.put("waiting", waiting - 30, None)
        if chance.random() < 0.4:
            continue
        assert await journal.commit()
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        if chance.random() < 0.5:
            for queue in journal.queues.values():
                for _ in range(min(len(queue), chance.randrange(4))):
                    batch = await queue.head()
                    if chance.random() < 0.1:
                        queue.complete(batch, delivered={}, lost={"rejected": batch.forks})
                    else:
                        queue.complete(batch, delivered=batch.forks)


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), int(sys.argv[2])))
