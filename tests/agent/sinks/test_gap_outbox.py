"""What a sink has lost is reported until its receiver has accepted it: the counts of accepted gaps add up to what was lost.

A real journal, sink and sender, and a receiver over HTTP that accepts, rejects, loses and repeats as its protocol allows.
"""

import asyncio
import json
import random
from collections import Counter
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from agent.journal import Journal
from agent.lifecycle.build import build_sink
from agent.model import Attribution
from agent.reporting.summaries import Interval, Summaries
from agent.settings.sinks import SinkSettings
from agent.sinks.gap_outbox import GapOutbox
from tests.agent.fakes import FakeAttributions
from tests.agent.sinks.encoders.plain_otel import attributes_of, parse_item
from tests.agent.sinks.model_strategies import a_fork, a_parent_context, a_task

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
INTERVAL = Interval("2026-11-28T12:00:00.000000000Z", "2026-11-28T12:00:10.000000000Z")
CGROUPS = (7, 8, 9)


def gap_fields(attribution):
    return {"cgroup": {"id": attribution.cgroup, "path": None}, "container": None, "k8s": K8S}


K8S = dict.fromkeys(["namespace", "pod", "pod_uid", "labels", "workload", "service_account", "qos"]) | {
    "cluster": "demo",
    "node": "node1",
}


def a_gap(missing, count, cgroup=7, reason="rejected", sink="siem"):
    return {
        "event": "gap", "id": f"{STREAM}.gap.{sink}.{reason}.{cgroup}.{missing}", "timestamp": INTERVAL.end,
        "interval": {"start": INTERVAL.start, "end": INTERVAL.end}, "missing": "sched_process_fork", "count": count,
        "reason": reason, "sink": sink, **gap_fields(Attribution(cgroup, None, "host", None)),
        "enrichment": {"state": "host", "by": None, "lag_ms": 0},
    }  # fmt: skip


def read_gap(protocol, item):
    """(id, reason, count) of an item as its receiver reads it; None when it is no gap."""
    if protocol == "otlp":
        fields = attributes_of(parse_item(item)[1])
        if fields["forklore.event"] != "gap":
            return None
        return fields["log.record.uid"], fields["forklore.reason"], fields["forklore.count"]
    event = json.loads(item.splitlines()[-1])
    if protocol == "elasticsearch":
        own = event["event"]
        return (own["id"], own["reason"], event["forklore"]["count"]) if own["action"] == "gap" else None
    event = event["event"] if protocol == "splunk_hec" else event
    return (event["id"], event["reason"], event["count"]) if event["event"] == "gap" else None


class Receiver:
    """`accepted`: gaps by id. A test event is always accepted."""

    def __init__(self, protocol, seed):
        self.protocol = protocol
        self.accepted = {}
        self.steady, self.framing = False, None
        self._random = random.Random(seed)  # noqa: S311  no secret

    async def answer(self, request):
        items = self.framing.items(await request.read())
        gaps = [read_gap(self.protocol, item) for item in items]
        if self.steady or any(gap and gap[1] == "test" for gap in gaps):
            return self._take(gaps)
        choice = self._random.choice(["take", "take", "part", "refuse", "too large", "busy", "unheard"])
        if choice == "take":
            return self._take(gaps)
        if choice == "part":
            return self._take(gaps, {at for at in range(len(items)) if self._random.random() < 0.4})
        if choice == "unheard":  # it has accepted them, and the agent does not know
            self._take(gaps)
            return web.Response(status=503)
        return web.Response(status={"refuse": 400, "too large": 413, "busy": 503}[choice])

    def _take(self, gaps, refused=frozenset()):
        many = len(gaps)
        if self.protocol == "splunk_hec" and refused:  # it names the first, and accepts nothing
            return web.json_response(
                {"code": 6, "text": "Invalid data format", "invalid-event-number": min(refused)}, status=400
            )
        self.accepted |= {gap[0]: gap for at, gap in enumerate(gaps) if gap and at not in refused}
        if self.protocol == "otlp":
            return web.json_response({"partialSuccess": {"rejectedLogRecords": str(len(refused))}} if refused else {})
        if self.protocol == "elasticsearch":
            items = [
                {
                    "create": {"status": 400, "error": {"type": "document_parsing_exception"}}
                    if at in refused
                    else {"status": 201}
                }
                for at in range(many)
            ]
            return web.json_response({"errors": bool(refused), "items": items})
        if self.protocol == "http" and refused:
            return web.json_response({"accepted": many, "rejected": [{"line": at, "reason": "no"} for at in sorted(refused)]})
        return web.Response(status=200)

    @asynccontextmanager
    async def running(self):
        application = web.Application(client_max_size=1 << 26)
        application.router.add_post("/{any:.*}", self.answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/x" + ("/_bulk" if self.protocol == "elasticsearch" else "")
        try:
            yield self
        finally:
            await runner.cleanup()


class Agent:
    """One life: a sink, its journal, and the summaries of a stream that report the sink's losses."""

    def __init__(self, folder, settings):
        self.journal = Journal(folder / "journal.sqlite3", {"siem": settings.journal_bytes})
        self._settings = settings
        self.summaries = Summaries(STREAM, FakeAttributions(lambda cgroup: Attribution(cgroup, None, "host", None)), gap_fields)

    async def start(self, reported):
        await self.journal.open()
        self.sink = build_sink(self._settings, self.journal, "demo", "node1", ())
        self.sink.restore(self.journal)
        if reported:
            self.summaries.restore(reported)

    @asynccontextmanager
    async def sending(self):
        task = asyncio.create_task(self.sink.sender.run(lambda _low, _high: 0.0002))
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def turn(self, forks, now):
        self.sink.emit_forks(STREAM, forks, now)
        self.sink.close_batch()
        for gap in self.summaries.sink_gaps("siem", self.lost, INTERVAL):
            self.sink.emit_event(STREAM, gap, now)
        self.sink.stage(self.journal, now)
        assert await self.journal.commit()

    @property
    def lost(self):
        return self.sink.account(STREAM).lost


@pytest.mark.timeout(60)
@pytest.mark.parametrize("protocol", ["http", "elasticsearch", "splunk_hec", "otlp"])
async def test_the_counts_of_accepted_gaps_add_up_to_what_was_lost(tmp_path, protocol):
    receiver, number = Receiver(protocol, protocol), 0
    chance = random.Random(23)  # noqa: S311  no secret
    async with receiver.running():
        batch = {"events": 20, "bytes": "64Ki", "wait": "1s"}
        fields = {"name": "siem", "url": receiver.url, "protocol": protocol, "batch": batch, "journal_bytes": "1Mi"}
        settings = SinkSettings.model_validate({**fields, "compression": "none"}).model_copy(update={"journal_bytes": 60_000})
        reported, agent = None, None
        for _life in range(3):
            agent = Agent(tmp_path, settings)
            await agent.start(reported)
            receiver.framing = agent.sink._format.framing
            async with agent.sending():
                for turn in range(25):
                    forks = [
                        a_fork(
                            sequence=number + at,
                            child=a_task(100 + number + at),
                            parent_context=a_parent_context(comm="sh"),
                            counted=chance.choice(CGROUPS),
                        )
                        for at in range(chance.randrange(60))
                    ]
                    number += len(forks)
                    await agent.turn(forks, float(turn))
                    await asyncio.sleep(0.002)
            reported = agent.summaries.record()  # as the journal has it with the gaps of that commit
            await agent.journal.close()
        receiver.steady = True
        agent = Agent(tmp_path, settings)
        await agent.start(reported)
        async with agent.sending(), asyncio.timeout(20):
            for turn in range(3):
                await agent.turn([], float(turn))
                await agent.sink.queue.empty()
        assert agent.sink.unaccepted_gaps == 0
        lost = {reason: forks.total() for reason, forks in agent.lost.items()}
        await agent.journal.close()
    by_reason = Counter()
    for _, reason, count in receiver.accepted.values():
        by_reason[reason] += count
    del by_reason["test"]
    assert by_reason == lost
    assert lost["rejected"] > 20
    assert lost["journal_full"] > 20


def taken(outbox):
    return [(stream, [gap["id"].rpartition(".")[2] for gap in gaps], shipment) for stream, gaps, shipment in outbox.take()]


def test_gaps_that_come_while_others_are_on_their_way_are_added_up():
    outbox = GapOutbox()
    outbox.add(STREAM, a_gap(5, 5))
    ((_, first, shipment),) = taken(outbox)
    outbox.add(STREAM, a_gap(7, 2))
    outbox.add(STREAM, a_gap(10, 3))
    outbox.add(STREAM, a_gap(1, 1, cgroup=8))
    assert (first, taken(outbox), len(outbox)) == (["5"], [], 3)
    shipment.left(accepted=True)
    ((_, gaps, _),) = outbox.take()
    assert [(gap["id"].rpartition(".")[2], gap["count"]) for gap in gaps] == [("10", 5), ("1", 1)]


def test_gaps_that_were_not_accepted_are_sent_again_as_they_were():
    outbox = GapOutbox()
    outbox.add(STREAM, a_gap(5, 5))
    ((_, first, shipment),) = taken(outbox)
    outbox.add(STREAM, a_gap(7, 2))
    shipment.left(accepted=False)
    ((_, again, shipment),) = taken(outbox)
    assert again == first
    shipment.left(accepted=True)
    assert [ids for _, ids, _ in taken(outbox)] == [["7"]]


def test_a_batch_in_parts_is_accepted_when_all_its_parts_are():
    outbox = GapOutbox()
    outbox.add(STREAM, a_gap(5, 5))
    ((_, _, shipment),) = taken(outbox)
    shipment.split(3)
    shipment.left(accepted=True)
    shipment.left(accepted=False)
    assert taken(outbox) == []
    shipment.left(accepted=True)
    assert [ids for _, ids, _ in taken(outbox)] == [["5"]]


def test_each_stream_has_batches_of_its_own():
    outbox = GapOutbox()
    for stream, missing in (("a", 1), ("b", 2), ("a", 3)):
        outbox.add(stream, a_gap(missing, 1, cgroup=missing))
    assert [(stream, ids) for stream, ids, _ in taken(outbox)] == [("a", ["1", "3"]), ("b", ["2"])]


def test_a_gap_without_a_count_stands_for_itself():
    outbox = GapOutbox()
    for pod in (1, 2):
        outbox.add(STREAM, {**a_gap(0, None, cgroup=pod, reason="not_observable"), "id": f"{pod}"})
    assert [ids for _, ids, _ in taken(outbox)] == [["1", "2"]]


def test_the_next_agent_sends_all_that_was_not_accepted():
    outbox = GapOutbox()
    outbox.add(STREAM, a_gap(5, 5))
    taken(outbox)
    outbox.add(STREAM, a_gap(7, 2))
    after = GapOutbox()
    after.restore(type(outbox.record()).decode(outbox.record().encode()))
    assert [ids for _, ids, _ in taken(after)] == [["5", "7"]]
