"""kill -9 of a real process leaves the content of some commit, not older than the last one that it reported."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

from tests.agent.journal.batches import accounted_for, drained
from tests.agent.journal.writer import LIMITS, forks_of

KILLS = int(os.environ.get("KILLS", "6"))


def killed(file, seed):
    """Runs a writer for a moment and kills it; returns the last commit that it reported."""
    command = [sys.executable, "-m", "tests.agent.journal.writer", str(file), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        first = writer.stdout.readline()
        assert first, "it did not come to its first commit"
        time.sleep(random.uniform(0, 0.15))  # noqa: S311  any moment will do
        writer.send_signal(signal.SIGKILL)
        return int((first + writer.stdout.read()).split()[-1])


async def test_after_each_of_many_kills_it_continues_where_it_stopped(disk):
    for kill in range(KILLS):
        reported = killed(disk.file, kill)
        journal = await disk.opened(**LIMITS)
        assert (journal.trouble, journal.corruptions) == (None, 0)
        saved = int(journal.table("number")["put"])
        assert saved >= reported
        put = sum((forks_of(number) for number in range(saved + 1)), Counter())
        for sink in LIMITS:
            queue = journal.queue(sink)
            assert +accounted_for(journal, sink, "0f2a.1") == +put
            numbers = [saved - len(queue) + 1 + at for at in range(len(queue))]
            assert [entry.counts() for entry in queue] == [+forks_of(number) for number in numbers]
        assert max(journal.table("waiting")) == saved + 19
        await journal.close()
    journal = await disk.opened(**LIMITS)
    numbers = [int(batch.id) for batch in await drained(journal.queue("siem"))]
    assert numbers == list(range(saved - len(numbers) + 1, saved + 1))
