"""One sink with a real journal: when items become a batch, what a crash leaves of the open batch, selection, and lag."""

import gzip
import json

import pytest

from agent.journal import Journal
from agent.lifecycle.build import build_sink
from agent.model import Attribution, Fork, ParentContext, Task
from agent.settings.sinks import SinkSettings

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
OTHER_STREAM = STREAM[:-1] + "9"
TASK = Task(1, 1, 1, 1, 10**18, "0" * 16)
PARENT_CONTEXT = ParentContext(TASK, TASK, None, (), "sh", "sh", 0, 0, (1,) * 7)
HOST, INSIDE = Attribution(7, "/", "host", None), Attribution(8, "/p", "unresolved", "attach")
SUMMARY = {
    "event": "fork_summary",
    "id": "x.5",
    "cgroup": None,
    "k8s": {"namespace": None, "labels": None},
    "enrichment": {"state": "host"},
}


def a_fork(sequence=0, attribution=HOST, counted=None):
    return Fork(
        sequence, 10**18, 0, False, TASK, (1,), 1, PARENT_CONTEXT, attribution, None, None, counted or attribution.cgroup
    )


class Ground:
    """A journal in a folder, and the sink that writes into it. `again`: as the next agent finds them."""

    def __init__(self, folder, **fields):
        self.folder = folder
        batch = {"events": 10, "bytes": "1Mi", "wait": "1s"} | fields.pop("batch", {})
        self.settings = SinkSettings.model_validate({"name": "siem", "url": "http://127.0.0.1:1/", "batch": batch, **fields})

    async def open(self):
        self.journal = Journal(self.folder / "journal.sqlite3", {"siem": self.settings.journal_bytes})
        await self.journal.open()
        self.sink = build_sink(self.settings, self.journal, "demo", "node1", ())
        self.sink.restore(self.journal)
        return self.sink

    async def commit(self, now, **how):
        self.sink.stage(self.journal, now, **how)
        assert await self.journal.commit()

    async def again(self, **fields):
        await self.journal.close()
        if fields:
            self.settings = self.settings.model_copy(update=fields)
        return await self.open()

    async def sequences(self):
        """The sequences of the queued batches, in order. Empties the queue."""
        found = []
        while len(self.sink.queue):
            batch = await self.journal.queue("siem").head()
            found.append([int(json.loads(line)["id"].rpartition(".")[2]) for line in gzip.decompress(batch.body).splitlines()])
            self.journal.queue("siem").complete(batch, delivered=batch.forks)
        return found


@pytest.fixture
async def ground(tmp_path):
    here = Ground(tmp_path)
    await here.open()
    yield here
    await here.journal.close()


async def test_items_wait_for_others_until_their_time_is_up(ground):
    ground.sink.emit_forks(STREAM, [a_fork()], 100.0)
    assert not ground.sink.due(100.9)
    await ground.commit(100.9)
    assert (ground.sink.queued(STREAM), len(ground.sink.queue)) == (1, 0)
    assert ground.sink.due(101.0)
    await ground.commit(101.0)
    assert (ground.sink.queued(STREAM), len(ground.sink.queue)) == (1, 1)


async def test_the_wait_starts_with_the_first_item(ground):
    ground.sink.emit_forks(STREAM, [a_fork(0)], 100.0)
    ground.sink.emit_forks(STREAM, [a_fork(1)], 100.9)
    await ground.commit(101.0)
    assert await ground.sequences() == [[0, 1]]


async def test_a_batch_is_due_when_the_clock_was_set_back(ground):
    ground.sink.emit_forks(STREAM, [a_fork()], 100.0)
    assert ground.sink.due(50.0)


async def test_a_full_batch_does_not_wait(ground):
    ground.sink.emit_forks(STREAM, [a_fork(number) for number in range(10)], 100.0)
    assert ground.sink.due(100.0)


async def test_a_batch_of_many_bytes_does_not_wait(tmp_path):
    ground = Ground(tmp_path, batch={"bytes": "1Ki"})
    (await ground.open()).emit_forks(STREAM, [a_fork()], 100.0)
    assert ground.sink.due(100.0)
    await ground.journal.close()


async def test_a_batch_has_forks_of_one_stream_only(ground):
    ground.sink.emit_forks(STREAM, [a_fork(0), a_fork(1)], 100.0)
    ground.sink.emit_forks(OTHER_STREAM, [a_fork(2)], 100.0)
    assert (ground.sink.queued(STREAM), ground.sink.queued(OTHER_STREAM)) == (2, 1)
    await ground.commit(101.0)
    assert await ground.sequences() == [[0, 1], [2]]


async def test_an_open_batch_survives_a_crash(ground):
    ground.sink.emit_forks(STREAM, [a_fork(0), a_fork(1, INSIDE)], 100.0)
    await ground.commit(100.5)
    sink = await ground.again()
    assert sink.queued(STREAM) == 2
    sink.emit_forks(STREAM, [a_fork(2)], 100.9)
    assert sink.due(101.0), "it has waited since before the crash"
    await ground.commit(101.0)
    assert sink.queue.forks_of(STREAM) == 3
    assert await ground.sequences() == [[0, 1, 2]]


async def test_a_closed_batch_is_not_restored_as_open(ground):
    ground.sink.emit_forks(STREAM, [a_fork(0)], 100.0)
    await ground.commit(100.5)
    await ground.commit(101.0)
    sink = await ground.again()
    assert sink.queued(STREAM) == 1
    assert await ground.sequences() == [[0]]


async def test_bodies_of_another_format_are_counted_as_lost(ground):
    ground.sink.emit_forks(STREAM, [a_fork(0), a_fork(1)], 100.0)
    await ground.commit(101.0, everything=True)
    ground.sink.emit_forks(STREAM, [a_fork(2, INSIDE)], 101.0)
    await ground.commit(101.5)
    sink = await ground.again(compression="zstd")
    assert sink.queued(STREAM) == 0
    assert sink.account(STREAM).lost == {"sink_changed": {7: 2, 8: 1}}


async def test_agent_events_are_batched_and_do_not_count_as_forks(ground):
    ground.sink.emit_event(STREAM, SUMMARY, 100.0)
    ground.sink.emit_forks(STREAM, [a_fork(6)], 100.0)
    assert ground.sink.queued(STREAM) == 1
    await ground.commit(101.0)
    assert ground.sink.queue.forks_of(STREAM) == 1
    assert await ground.sequences() == [[5, 6]]


async def test_a_fork_is_counted_for_the_cgroup_that_the_kernel_counted_it_in(ground):
    ground.sink.emit_forks(STREAM, [a_fork(0), a_fork(1, INSIDE, counted=7)], 100.0)
    await ground.commit(101.0)
    assert (await ground.journal.queue("siem").head()).forks == {7: 2}


async def test_forks_that_are_not_selected_are_counted_as_filtered(tmp_path):
    ground = Ground(tmp_path, select={"host": False})
    sink = await ground.open()
    sink.emit_forks(STREAM, [a_fork(0), a_fork(1, INSIDE), a_fork(2)], 100.0)
    assert sink.account(STREAM).filtered == {"select": {7: 2}}
    await ground.commit(101.0)
    assert await ground.sequences() == [[1]]
    await ground.again()
    assert ground.sink.account(STREAM).filtered == {"select": {7: 2}}
    await ground.journal.close()


async def test_a_sink_without_forks_counts_all_as_filtered(tmp_path):
    ground = Ground(tmp_path, select={"events": ["fork_summary"]})
    sink = await ground.open()
    sink.emit_forks(STREAM, [a_fork(0)], 100.0)
    sink.emit_event(STREAM, SUMMARY, 100.0)
    assert sink.account(STREAM).filtered == {"select": {7: 1}}
    await ground.commit(101.0)
    assert await ground.sequences() == [[5]]
    await ground.journal.close()


async def test_the_lag_is_that_of_the_oldest_item(ground):
    assert ground.sink.lag(100.0) == 0
    ground.sink.emit_forks(STREAM, [a_fork()], 100.0)
    assert ground.sink.lag(100.5) == 0.5
    await ground.commit(101.0)
    ground.sink.emit_forks(STREAM, [a_fork()], 103.0)
    assert ground.sink.lag(104.0) == 4.0
    assert ground.sink.lag(50.0) == 0, "the clock was set back"
