"""The next agent finds exactly what a commit has saved."""

import asyncio
import os
import stat
import subprocess
import sys
import threading
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal import Journal, JournalTaken
from agent.ledger import FORGOTTEN
from agent.model import NO_CGROUP, Batch
from tests.agent.journal.batches import STREAM, a_batch, at_once, counts, drained

text = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["", "'; DROP TABLE bodies; --", "\x00", "\ud800", "é\udcff", "a\x00b"]
)
u64 = st.sampled_from([0, 2**63 - 1, 2**63, 2**64 - 2]) | st.integers(0, 2**64 - 2)


async def test_a_batch_comes_back_byte_for_byte(disk):
    journal = await disk.opened()
    cgroups = array("Q", [7, NO_CGROUP, 8, 7, 2**63 + 5])
    batch = Batch("boot.instance.siem.0", "boot.instance", os.urandom(300_000), cgroups, 1700000000.123456, 4_000_000)
    journal.queue("siem").put(batch)
    assert await journal.commit()
    journal = await disk.next_agent(journal)
    queue = journal.queue("siem")
    assert (len(queue), queue.bytes, queue.forks, queue.oldest()) == (1, 300_000, 4, batch.since)
    assert queue.counts_of("boot.instance") == {7: 2, 8: 1, 2**63 + 5: 1}
    assert await at_once(queue.head()) == batch


async def test_what_was_not_committed_is_not_restored(state_dir):
    journal = await state_dir.opened()
    journal.queue("siem").put(a_batch("saved", forks={7: 1}))
    journal.put("state", 1, b"saved")
    await journal.commit()
    await drained(journal.queue("siem"))
    journal.queue("siem").put(a_batch("later"))
    journal.put("state", 1, b"later")
    journal = await state_dir.next_agent(journal)
    assert journal.table("state") == {1: b"saved"}
    assert counts(journal.account(STREAM, "siem")) == {}
    assert [batch.id for batch in await drained(journal.queue("siem"))] == ["saved"]


async def test_the_order_survives_splits_and_restarts(state_dir):
    journal = await state_dir.opened()
    queue = journal.queue("siem")
    for name in ("0", "1", "2"):
        queue.put(a_batch(name, forks={7: 4}))
    await journal.commit()
    queue.complete(await queue.head(), delivered={}, instead=[a_batch("0.0", forks={7: 2}), a_batch("0.1", forks={7: 2})])
    await journal.commit()
    queue.complete(await queue.head(), delivered={}, instead=[a_batch("0.0.0", forks={7: 1}), a_batch("0.0.1", forks={7: 1})])
    await journal.commit()
    journal = await state_dir.next_agent(journal)
    journal.queue("siem").put(a_batch("3"))
    await journal.commit()
    assert [batch.id for batch in await drained(journal.queue("siem"))] == ["0.0.0", "0.0.1", "0.1", "1", "2", "3"]
    assert journal.account(STREAM, "siem").delivered == {7: 12}


async def test_sinks_are_independent_of_each_other(state_dir):
    journal = await state_dir.opened()
    for number in range(3):
        journal.queue("siem").put(a_batch(f"s{number}"))
        journal.queue("collector").put(a_batch(f"c{number}"))
    await journal.commit()
    await drained(journal.queue("siem"))
    await journal.commit()
    journal = await state_dir.next_agent(journal)
    assert len(journal.queue("siem")) == 0
    assert [batch.id for batch in await drained(journal.queue("collector"))] == ["c0", "c1", "c2"]


async def test_delivered_batches_are_deleted_and_their_space_is_given_back(disk):
    journal = await disk.opened(siem=1 << 30)
    queue, body = journal.queue("siem"), os.urandom(1 << 20)
    for number in range(48):
        queue.put(a_batch(f"{number}", body=body))
        await journal.commit()
    assert journal.bytes_on_disk > 48 << 20
    assert len(await drained(queue)) == 48
    for _ in range(30):
        await journal.commit()
    assert journal.bytes_on_disk < 24 << 20
    assert journal.bytes_on_disk == sum(path.stat().st_size for path in disk.folder.glob("journal*"))


async def test_what_was_removed_before_a_commit_is_never_written(state_dir):
    journal = await state_dir.opened(siem=100)
    for number in range(50):
        journal.queue("siem").put(a_batch(f"{number}", body=b"never written" * 7))
        journal.put("state", number, b"never written")
        journal.put("state", number, None)
    journal.queue("siem").put(a_batch("last", 90))
    await journal.commit()
    assert b"never written" not in state_dir.wal.read_bytes() + state_dir.file.read_bytes()
    assert b"last" in state_dir.wal.read_bytes()


async def test_of_an_item_the_last_value_is_saved(state_dir):
    journal = await state_dir.opened()
    journal.put("a", 1, b"one")
    journal.put("a", 2, b"two")
    journal.put("a", "1", b"text")
    journal.put("b", 1, b"another")
    await journal.commit()
    journal.put("a", 1, b"uno")
    journal.put("a", 2, None)
    journal.put("b", 2, b"goes")
    journal.clear("b")
    journal.put("b", 3, b"stays")
    await journal.commit()
    journal = await state_dir.next_agent(journal)
    assert (journal.table("a"), journal.table("b"), journal.table("c")) == ({1: b"uno", "1": b"text"}, {3: b"stays"}, {})


async def test_a_state_table_can_be_read_until_the_first_commit_and_then_raises(state_dir):
    journal = await state_dir.opened()
    journal.put("a", 1, b"one")
    await journal.commit()
    journal = await state_dir.next_agent(journal)
    journal.put("a", 1, None)
    journal.clear("a")
    assert journal.table("a") == {1: b"one"}
    await journal.commit()
    with pytest.raises(RuntimeError, match="before the first commit"):
        journal.table("a")
    journal = await state_dir.next_agent(journal)
    assert journal.table("a") == {}


async def test_an_item_of_the_last_run_can_be_deleted(state_dir):
    journal = await state_dir.opened()
    journal.put("a", 1, b"one")
    journal.put("a", 2**64 - 1, b"two")
    await journal.commit()
    journal = await state_dir.next_agent(journal)
    journal.put("a", 1, None)
    await journal.commit()
    journal = await state_dir.next_agent(journal)
    assert journal.table("a") == {2**64 - 1: b"two"}


async def test_accounts_are_saved_and_continued(state_dir):
    journal = await state_dir.opened()
    account = journal.account(STREAM, "siem")
    account.deliver({7: 3, 8: 1})
    account.lose("rejected", {7: 2})
    account.leave_out("select", {9: 4})
    await journal.commit()
    journal = await state_dir.next_agent(journal)
    account = journal.account(STREAM, "siem")
    account.deliver({7: 1})
    account.forget(8)
    await journal.commit()
    journal = await state_dir.next_agent(journal)
    assert counts(journal.account(STREAM, "siem")) == {
        ("delivered", ""): {7: 4, FORGOTTEN: 1},
        ("lost", "rejected"): {7: 2},
        ("filtered", "select"): {9: 4},
    }


async def test_a_stream_is_forgotten_once_no_batch_of_it_waits(state_dir):
    journal = await state_dir.opened()
    journal.queue("siem").put(a_batch(forks={7: 1}))
    journal.account("other", "siem").deliver({7: 1})
    await journal.commit()
    assert not journal.forget_stream(STREAM)
    await drained(journal.queue("siem"))
    assert journal.streams() == {STREAM, "other"}
    assert journal.forget_stream(STREAM)
    await journal.commit()
    journal = await state_dir.next_agent(journal)
    assert journal.streams() == {"other"}


async def test_batches_for_a_removed_sink_are_counted_as_lost(state_dir):
    journal = await state_dir.opened(siem=1000, old=1000)
    journal.queue("old").put(a_batch("0", forks={7: 2, 8: 1}))
    journal.queue("old").put(a_batch("1", forks={7: 1}))
    journal.queue("old").put(a_batch("2", forks={9: 1}, stream="other"))
    journal.queue("siem").put(a_batch("3", forks={7: 1}))
    await journal.commit()
    journal = await state_dir.next_agent(journal, siem=1000)
    assert journal.removed == {"old": {STREAM: {7: 3, 8: 1}, "other": {9: 1}}}
    assert counts(journal.account(STREAM, "old")) == {("lost", "sink_removed"): {7: 3, 8: 1}}
    assert len(journal.queue("siem")) == 1
    await journal.commit()
    journal = await state_dir.next_agent(journal, siem=1000, old=1000)
    assert (journal.removed, len(journal.queue("old"))) == ({}, 0)
    assert counts(journal.account("other", "old")) == {("lost", "sink_removed"): {9: 1}}


async def test_a_smaller_limit_applies_from_the_next_batch_on(state_dir):
    journal = await state_dir.opened(siem=1000)
    for number in range(5):
        journal.queue("siem").put(a_batch(f"{number}", 100, {7: 1}))
    await journal.commit()
    journal = await state_dir.next_agent(journal, siem=250)
    journal.queue("siem").put(a_batch("5", 100, {7: 1}))
    assert journal.account(STREAM, "siem").lost == {"journal_full": {7: 4}}
    await journal.commit()
    assert [batch.id for batch in await drained(journal.queue("siem"))] == ["4", "5"]


@given(
    sink=text,
    stream=text,
    name=text,
    table=text,
    key=text | u64,
    reason=text,
    cgroup=u64,
    value=st.binary(),
)
def test_any_name_is_restored_unchanged(in_memory, sink, stream, name, table, key, reason, cgroup, value):
    file = in_memory() / "journal.sqlite3"

    async def live():
        journal = Journal(file, {sink: 1000})
        await journal.open()
        journal.queue(sink).put(a_batch(name, forks={cgroup: 2}, stream=stream))
        journal.put(table, key, value)
        journal.account(stream, sink).lose(reason, {cgroup: 3})
        assert await journal.commit()
        await journal.close()
        journal = Journal(file, {sink: 1000})
        await journal.open()
        assert journal.trouble is None
        assert journal.table(table) == {key: value}
        assert journal.account(stream, sink).lost == {reason: {cgroup: 3}}
        batch = await at_once(journal.queue(sink).head())
        assert (batch.id, batch.stream, batch.forks) == (name, stream, {cgroup: 2})
        await journal.close()

    asyncio.run(live())


async def test_ten_thousand_batches_are_in_memory_as_an_index_without_bodies(state_dir):
    journal = await state_dir.opened(siem=1 << 30)
    body = os.urandom(1000)
    for number in range(10_000):
        journal.queue("siem").put(a_batch(f"{number}", forks=dict.fromkeys(range(20), 1), body=body))
        if number % 500 == 499:
            await journal.commit()
    journal = await state_dir.next_agent(journal, siem=1 << 30)
    queue = journal.queue("siem")
    assert (len(queue), queue.forks, queue.bytes) == (10_000, 200_000, 10_000_000)
    assert not any(entry.batch for entry in queue)
    assert sum(sys.getsizeof(entry) + sys.getsizeof(entry.forks) for entry in queue) < 10_000 * 500
    assert [batch.id for batch in await drained(queue, 3)] == ["0", "1", "2"]


async def test_only_its_owner_may_read_it(state_dir):
    journal = await state_dir.opened()
    await journal.commit()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state_dir.folder.iterdir()}
    assert modes == {"journal.sqlite3": 0o600, "journal.sqlite3-wal": 0o600, "lock": 0o600}
    assert stat.S_IMODE(state_dir.folder.stat().st_mode) == 0o700


async def test_a_second_agent_in_the_same_directory_is_refused_in_one_line(state_dir):
    journal = await state_dir.opened()
    with pytest.raises(JournalTaken, match=rf"is in use by another agent, process {os.getpid()}$"):
        await state_dir.opened()
    assert await journal.commit()
    assert journal.trouble is None
    await state_dir.next_agent(journal)


async def test_a_file_that_another_program_has_open_is_refused_in_one_line(state_dir):
    await (await state_dir.opened()).close()
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE'); print(flush=True); input()"
    command = [sys.executable, "-c", script, str(state_dir.file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:  # noqa: ASYNC220  nothing else runs
        other.stdout.readline()
        with pytest.raises(JournalTaken, match=r"journal\.sqlite3 is in use by another process$"):
            await state_dir.opened()
        other.communicate(b"\n")
    await state_dir.opened()


async def test_a_cancelled_commit_is_completed(state_dir):
    journal = await state_dir.opened()
    journal.queue("siem").put(a_batch("first", 100_000))
    commit = asyncio.create_task(journal.commit())
    await asyncio.sleep(0)
    commit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await commit
    journal.queue("siem").put(a_batch("second"))
    assert await journal.commit()
    journal = await state_dir.next_agent(journal)
    assert [batch.id for batch in await drained(journal.queue("siem"))] == ["first", "second"]


async def test_changes_during_a_commit_are_saved_by_the_next_one(state_dir):
    journal = await state_dir.opened(siem=120_000)
    queue, gate = journal.queue("siem"), threading.Event()
    queue.put(a_batch("first", 100_000, {7: 1}))
    journal.put("state", 1, b"one")
    journal._storage._thread.submit(gate.wait)
    commit = asyncio.create_task(journal.commit())
    while not next(iter(queue)).written:  # noqa: ASYNC110  it sets no event
        await asyncio.sleep(0)
    queue.put(a_batch("second", 100_000, {7: 1}))
    journal.put("state", 1, None)
    journal.put("state", 2, b"two")
    gate.set()
    assert await commit
    assert await journal.commit()
    journal = await state_dir.next_agent(journal, siem=120_000)
    assert journal.table("state") == {2: b"two"}
    assert counts(journal.account(STREAM, "siem")) == {("lost", "journal_full"): {7: 1}}
    assert [batch.id for batch in await drained(journal.queue("siem"))] == ["second"]
