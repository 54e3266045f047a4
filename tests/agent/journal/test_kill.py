"""kill -9 at any moment of a real process leaves what some commit saved, and no commit that it had told of is gone."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

from tests.agent.journal.batches import drained, told
from tests.agent.journal.victim import LIMITS, forks_of

KILLS = int(os.environ.get("KILLS", "6"))


def killed(file, seed):
    """Lets an agent live for a moment; returns the last commit that it told of."""
    command = [sys.executable, "-m", "tests.agent.journal.victim", str(file), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        first = victim.stdout.readline()
        assert first, "it did not come to its first commit"
        time.sleep(random.uniform(0, 0.15))  # noqa: S311  any moment will do
        victim.send_signal(signal.SIGKILL)
        return int((first + victim.stdout.read()).split()[-1])


async def test_killed_again_and_again_it_goes_on_where_it_stopped(disk):
    for kill in range(KILLS):
        told_of = killed(disk.file, kill)
        journal = await disk.opened(**LIMITS)
        assert (journal.trouble, journal.corruptions) == (None, 0)
        saved = int(journal.table("number")["put"])
        assert saved >= told_of
        put = sum((forks_of(number) for number in range(saved + 1)), Counter())
        for sink in LIMITS:
            queue = journal.queue(sink)
            assert +told(journal, sink, "0f2a.1") == +put
            numbers = [saved - len(queue) + 1 + at for at in range(len(queue))]
            assert [entry.counts() for entry in queue] == [+forks_of(number) for number in numbers]
        assert max(journal.table("waiting")) == saved + 19
        await journal.close()
    journal = await disk.opened(**LIMITS)
    numbers = [int(batch.id) for batch in await drained(journal.queue("siem"))]
    assert numbers == list(range(saved - len(numbers) + 1, saved + 1))
