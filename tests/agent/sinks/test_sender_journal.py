"""A sender on the real journal: what it settles is what the next agent finds, through faults and deaths between commits."""

import asyncio

from agent.journal import Journal
from agent.sinks.delivery.connections import Timeouts
from tests.faults import Close, FaultProxy, Forward, Half, Reset, Say, TooLarge

from .sending import Way, until

STREAM = "boot.epoch"


async def until_empty(way, journal):
    """The sender at work, with a commit a hundred times a second."""

    async def commits():
        while True:
            await journal.commit()
            await asyncio.sleep(0.01)

    async with way.running(), asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(commits())
        await way.queue.empty()
        task.cancel()
    await journal.commit()


async def test_through_faults_and_deaths_every_fork_arrives_and_counts_once(receiver, tmp_path):
    lives = [
        [Reset("taken"), Say(503), Forward(), Half(Forward())],
        [TooLarge(0), Forward(), Say(413), Close()],
        [Say(400), Reset("read"), Forward(close=True)],
    ]
    put = 0

    async def born():
        journal = Journal(tmp_path / "journal.db", {"siem": 1 << 20})
        await journal.open()
        way = Way(proxy.url("/v1/events"), queue=journal.queue("siem"), timeouts=Timeouts(5, 1, 2))
        way.sent = put
        return journal, way

    with FaultProxy(receiver.address) as proxy:
        for faults in lives:
            journal, way = await born()
            for _ in range(5):
                way.put(4)
            put = way.sent
            await journal.commit()
            proxy.play(*faults)
            enough = len(proxy.requests) + len(faults) + 1
            async with way.running():
                await until(lambda enough=enough: len(proxy.requests) >= enough)
            await journal.close()  # which commits nothing: as a death would leave it
        journal, way = await born()
        await until_empty(way, journal)
    account = journal.account(STREAM, "siem")
    lost = {reason: forks.total() for reason, forks in account.lost.items()}
    assert account.delivered.total() + sum(lost.values()) == put == 60
    assert lost.keys() <= {"rejected", "too_large"}
    first = list(dict.fromkeys(receiver.taken))
    assert first == sorted(first)
    assert len(first) >= account.delivered.total()
    await journal.close()
