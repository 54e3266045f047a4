"""A sender with the real journal: the next agent finds what it completed, through faults and restarts between commits."""

import asyncio

from agent.journal import Journal
from agent.sinks.delivery.connections import Timeouts
from tests.faults import Close, FaultProxy, Forward, Half, Reset, Say, TooLarge

from .sender_scene import SenderScene, until

STREAM = "boot.instance"


async def until_empty(scene, journal):
    """Runs the sender, with a hundred commits a second."""

    async def commits():
        while True:
            await journal.commit()
            await asyncio.sleep(0.01)

    async with scene.running(), asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(commits())
        await scene.queue.empty()
        task.cancel()
    await journal.commit()


async def test_through_faults_and_restarts_every_fork_arrives_and_counts_once(receiver, tmp_path):
    lives = [
        [Reset("forwarded"), Say(503), Forward(), Half(Forward())],
        [TooLarge(0), Forward(), Say(413), Close()],
        [Say(400), Reset("body"), Forward(close=True)],
    ]
    put = 0

    async def started():
        journal = Journal(tmp_path / "journal.db", {"siem": 1 << 20})
        await journal.open()
        scene = SenderScene(proxy.url("/v1/events"), queue=journal.queue("siem"), timeouts=Timeouts(5, 1, 2))
        scene.sent = put
        return journal, scene

    with FaultProxy(receiver.address) as proxy:
        for faults in lives:
            journal, scene = await started()
            for _ in range(5):
                scene.put(4)
            put = scene.sent
            await journal.commit()
            proxy.play(*faults)
            enough = len(proxy.requests) + len(faults) + 1
            async with scene.running():
                await until(lambda enough=enough: len(proxy.requests) >= enough)
            await journal.close()  # without a commit, as after a crash
        journal, scene = await started()
        await until_empty(scene, journal)
    account = journal.account(STREAM, "siem")
    lost = {reason: forks.total() for reason, forks in account.lost.items()}
    assert account.delivered.total() + sum(lost.values()) == put == 60
    assert lost.keys() <= {"rejected", "too_large"}
    first = list(dict.fromkeys(receiver.accepted))
    assert first == sorted(first)
    assert len(first) >= account.delivered.total()
    await journal.close()
