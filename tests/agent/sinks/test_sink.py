"""One sink: when lines become a batch, what is safe to take out of the ring, and how late it is."""

import gzip
import json

import pytest

from agent.nouns import Fork, Origin, Subject, Task
from agent.sinks.native import NativeEncoder
from agent.sinks.sink import Sink

TASK = Task(1, 1, 1, 1, 10**18, "0" * 16)
ORIGIN = Origin(TASK, TASK, None, (), "sh", "sh", 0, 0, (1,) * 7)
HOST, INSIDE = Subject(7, "/", "host", None), Subject(8, "/p", "unresolved", "attach")


def a_fork(sequence=0, subject=HOST, counted=None):
    return Fork(sequence, 10**18, 0, False, TASK, (1,), 1, ORIGIN, subject, None, None, counted or subject.cgroup)


def a_sink(**fields):
    given = {"compression": "gzip", "events": 10, "size": 1 << 20, "wait_s": 1.0, "journal_bytes": 1 << 20}
    given |= {"token_file": None, "headers": {}, "stream": "boot.epoch", **fields}
    return Sink("siem", "http://127.0.0.1:1/", NativeEncoder("boot.epoch", "demo", "node1"), **given)


@pytest.fixture
async def sink():
    return a_sink()


async def sequences(sink):
    found = []
    while len(sink.journal):
        batch = await sink.journal.head()
        found += [json.loads(line)["id"].rpartition(".")[2] for line in gzip.decompress(batch.body).splitlines()]
        sink.journal.done(batch)
    return [int(one) for one in found]


async def test_lines_wait_for_others_until_their_time_is_up(sink):
    sink.take([a_fork()], 100.0)
    sink.commit(100.9, 256)
    assert (sink.open_forks, len(sink.journal), sink.safe) == (1, 0, 0)
    sink.commit(101.0, 512)
    assert (sink.open_forks, len(sink.journal), sink.safe) == (0, 1, 512)


async def test_the_time_is_that_of_the_first_line(sink):
    sink.take([a_fork(0)], 100.0)
    sink.take([a_fork(1)], 100.9)
    sink.commit(101.0, 512)
    assert await sequences(sink) == [0, 1]


async def test_a_full_batch_does_not_wait(sink):
    sink.take([a_fork(number) for number in range(10)], 100.0)
    sink.commit(100.0, 256)
    assert len(sink.journal) == 1


async def test_a_batch_of_many_bytes_does_not_wait():
    sink = a_sink(size=1024)
    sink.take([a_fork()], 100.0)
    sink.commit(100.0, 256)
    assert len(sink.journal) == 1


async def test_at_the_end_nothing_waits(sink):
    sink.take([a_fork()], 100.0)
    sink.commit(100.0, 256, all_of_it=True)
    assert (len(sink.journal), sink.safe) == (1, 256)


async def test_with_nothing_open_all_that_was_handed_over_is_safe(sink):
    sink.commit(100.0, 4096)
    assert sink.safe == 4096


async def test_nothing_is_safe_while_a_line_is_open(sink):
    sink.commit(100.0, 256)
    sink.take([a_fork()], 100.0)
    sink.commit(100.1, 512)
    assert sink.safe == 256


async def test_events_of_the_agents_own_go_along_and_are_no_forks(sink):
    sink.tell({"event": "gap", "id": "x.5"}, 100.0)
    sink.take([a_fork(6)], 100.0)
    assert sink.open_forks == 1
    sink.commit(101.0, 256)
    assert sink.journal.forks == 1
    assert await sequences(sink) == [5, 6]


async def test_a_fork_is_accounted_to_the_cgroup_that_the_kernel_counted_it_in(sink):
    sink.take([a_fork(0), a_fork(1, INSIDE, counted=7)], 100.0)
    sink.commit(101.0, 256)
    assert (await sink.journal.head()).forks == {7: 2}


async def test_what_the_journal_has_no_room_for_is_lost_and_said():
    sink = a_sink(journal_bytes=1, events=1)
    for number in range(5):
        sink.take([a_fork(number)], 100.0)
        sink.commit(100.0, 256)
    assert sink.account.lost == {"journal_full": {7: 4}}
    assert await sequences(sink) == [4]


async def test_the_lag_is_that_of_the_oldest_line(sink):
    assert sink.lag(100.0) == 0
    sink.take([a_fork()], 100.0)
    assert sink.lag(100.5) == 0.5
    sink.commit(101.0, 256)
    sink.take([a_fork()], 103.0)
    assert sink.lag(104.0) == 4.0


async def test_a_halved_batch_of_entrants_that_were_counted_with_their_parent_keeps_its_counts(sink):
    parent = Subject(7, "/", "host", None)
    sink.take([a_fork(number, INSIDE, counted=7)._replace(parent_subject=parent) for number in range(4)], 100.0)
    sink.commit(101.0, 256)
    halves = sink._packer.halve(await sink.journal.head())
    assert [half.forks for half in halves] == [{7: 2}, {7: 2}]
