"""A disk that can't be written is reported and stops nothing; when it works again, all that was staged is written."""

import asyncio
import os
import resource
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agent.journal import Journal
from agent.journal.errors import Corrupt, Unavailable
from agent.journal.file import File
from agent.journal.rows import Changes, TableChanges
from tests.agent.journal.batches import STREAM, a_batch, accounted_for, at_once, counts, drained, nothing_yet
from tests.agent.journal.conftest import StateDirectory
from wire.backoff import Backoff


@contextmanager
def failing_disk(limit=0):
    """Fails every write beyond so many bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def unsaved(journal):
    """Of each batch that is in memory only, the bytes that it takes."""
    return [entry.memory_bytes for queue in journal.queues.values() for entry in queue if not entry.saved]


async def committed(journal):
    """Commits until it succeeds."""
    async with asyncio.timeout(5):
        while not await journal.commit():  # noqa: ASYNC110  a disk sets no event
            await asyncio.sleep(0.02)


async def test_changes_that_could_not_be_written_stay_staged_and_are_written_later(state_dir):
    journal = await state_dir.opened()
    journal.put("state", 0, b"goes")
    journal.put("other", 0, b"goes")
    journal.account("old", "siem").deliver({7: 1})
    await journal.commit()
    journal.queue("siem").put(a_batch("first", 50_000, {7: 1}))
    journal.clear("other")
    journal.put("state", 0, None)
    journal.put("state", 1, b"one")
    journal.account(STREAM, "siem").leave_out("select", {7: 9})
    assert journal.forget_stream("old")
    with failing_disk():
        assert not await journal.commit()
        assert journal.trouble == "File too large"
        journal.queue("siem").put(a_batch("second", 50_000, {7: 1}))
    await committed(journal)
    assert (journal.trouble, journal.corruptions) == (None, 0)
    journal = await state_dir.next_agent(journal)
    assert (journal.table("state"), journal.table("other"), journal.streams()) == ({1: b"one"}, {}, {STREAM})
    assert counts(journal.account(STREAM, "siem")) == {("filtered", "select"): {7: 9}}
    assert [batch.id for batch in await drained(journal.queue("siem"))] == ["first", "second"]


async def test_a_table_that_is_cleared_while_a_commit_fails_stays_cleared(state_dir):
    journal = await state_dir.opened()
    journal.put("state", 1, b"saved")
    await journal.commit()
    journal.put("state", 2, bytes(50_000))
    with failing_disk():
        commit = asyncio.create_task(journal.commit())
        while journal._state_tables._state_tables["state"].items:  # noqa: ASYNC110  it sets no event
            await asyncio.sleep(0)
        journal.clear("state")
        journal.put("state", 3, b"new")
        assert not await commit
    await committed(journal)
    journal = await state_dir.next_agent(journal)
    assert journal.table("state") == {3: b"new"}


async def test_it_reports_that_it_works_only_after_a_write(state_dir):
    journal = await state_dir.opened()
    with failing_disk():
        journal.put("state", 1, bytes(50_000))
        assert not await journal.commit()
        journal.put("state", 1, None)
        await asyncio.sleep(0.11)
        assert not await journal.commit()
        assert journal.trouble
    await committed(journal)
    assert journal.trouble is None


async def test_while_the_disk_fails_senders_get_batches_from_memory_and_delivered_ones_are_never_written(state_dir):
    journal = await state_dir.opened()
    queue = journal.queue("siem")
    queue.put(a_batch("0", forks={7: 1}, body=b"never written"))
    waiting = asyncio.create_task(queue.head())
    with failing_disk():
        assert not await journal.commit()
        batch = await at_once(waiting)
        assert queue.complete(batch, delivered=batch.forks)
        queue.put(a_batch("1", forks={7: 1}))
        assert [batch.id for batch in await drained(queue)] == ["1"]
        queue.put(a_batch("2", forks={7: 1}))
    await committed(journal)
    assert b"never written" not in state_dir.wal.read_bytes()
    journal = await state_dir.next_agent(journal)
    assert journal.account(STREAM, "siem").delivered == {7: 2}
    assert [batch.id for batch in await drained(journal.queue("siem"))] == ["2"]


async def test_while_the_disk_fails_saved_batches_still_come_first(state_dir):
    journal = await state_dir.opened()
    queue = journal.queue("siem")
    queue.put(a_batch("saved", 50_000))
    await journal.commit()
    journal = await state_dir.next_agent(journal)
    queue = journal.queue("siem")
    with failing_disk():
        queue.put(a_batch("young"))
        assert not await journal.commit()
        assert [batch.id for batch in await drained(queue)] == ["saved", "young"]


async def test_a_failed_commit_is_tried_again_after_a_tenth_of_a_second_and_later_once_a_second(state_dir):
    journal = await state_dir.opened()
    journal.put("state", 1, bytes(50_000))
    tries = []
    with failing_disk():
        until = time.monotonic() + 1
        while time.monotonic() < until:
            before = journal._next_try
            assert not await journal.commit()
            if journal._next_try != before:
                tries.append(round(journal._pause, 1))
            await asyncio.sleep(0.01)
    assert tries == [0.1, 0.2, 0.4, 0.8][: len(tries)]
    assert len(tries) >= 3


async def test_batches_in_memory_only_are_bounded_over_all_sinks_and_losses_are_counted(state_dir):
    journal = await state_dir.opened(siem=1 << 30, collector=1 << 30)
    saved = a_batch("saved", 4 << 20, {7: 1})
    journal.queue("siem").put(saved)
    await journal.commit()
    with failing_disk():
        for number in range(12):
            journal.queue("siem").put(a_batch(f"{number}", 2 << 20, {7: 1}))
            journal.queue("collector").put(a_batch(f"{number}", 2 << 20, {7: 1}))
            if number == 9:
                assert not await journal.commit()
                assert (
                    sum(entry.memory_bytes for queue in journal.queues.values() for entry in queue if not entry.saved)
                    <= 32 << 20
                )
        held = [entry.memory_bytes for queue in journal.queues.values() for entry in queue if not entry.saved]
        assert sum(held) <= 32 << 20 < sum(held) + (4 << 20)
        assert len(journal.queue("siem")) + len(journal.queue("collector")) == 1 + len(held)
        assert accounted_for(journal, "siem") == {7: 13}
        assert accounted_for(journal, "collector") == {7: 12}
    lost = journal.account(STREAM, "siem").lost
    assert (set(lost), lost["journal_failed"][7] > 3) == ({"journal_failed"}, True)
    await committed(journal)
    journal = await state_dir.next_agent(journal, siem=1 << 30, collector=1 << 30)
    assert [batch.id for batch in await drained(journal.queue("siem"), 1)] == ["saved"]
    assert accounted_for(journal, "siem") == {7: 13}


async def test_a_long_failure_leaves_nothing_behind_in_memory(state_dir):
    """What is put and removed for hours while nothing can be written must not add up."""
    journal = await state_dir.opened()
    queue = journal.queue("siem")
    journal.put("state", 1000, b"saved")
    await journal.commit()
    with failing_disk():
        for number in range(200):
            queue.put(a_batch(f"{number}", forks={number: 1}))
            journal.put("state", number, b"x")
            journal._next_try = 0.0 if number % 20 == 0 else journal._next_try
            commit = asyncio.create_task(journal.commit())
            if number % 40 == 0:  # during a try
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                journal.put("state", number, None)
                queue.lose(list(queue), "test")
            assert not await commit
            await drained(queue)
            journal.account(STREAM, "siem").forget(number)
            if number % 40:
                journal.put("state", number, None)
    gone, batches = journal._batch_index.take()
    assert (gone, batches, journal._state_tables.take()) == ([], [], {})


async def test_delivered_batches_and_deleted_items_leave_nothing_behind_in_memory(state_dir):
    journal = await state_dir.opened()
    for number in range(3):
        journal.queue("siem").put(a_batch(f"{number}"))
        journal.put("state", number, b"x")
        await journal.commit()
        await drained(journal.queue("siem"))
        journal.put("state", number, None)
        await journal.commit()
    assert journal._state_tables._state_tables == {}
    assert journal._batch_index.take() == ([], [])
    assert not (journal._batch_index._cached or journal._batch_index._cached_bytes or journal._batch_index._unsaved_bytes)


async def test_an_unreadable_batch_is_tried_again_and_lost_once_the_disk_works_otherwise(state_dir, monkeypatch):
    journal = await state_dir.opened()
    queue = journal.queue("siem")
    queue.put(a_batch("bad sector", 50_000, {7: 1}))
    queue.put(a_batch("good", 50_000, {7: 1}))
    await journal.commit()
    journal = await state_dir.next_agent(journal)
    queue, read, bad = journal.queue("siem"), File.read, next(iter(journal.queue("siem"))).id

    def reading(file, number):
        if number == bad:
            raise Unavailable("input/output error (SQLITE_IOERR_READ)")
        return read(file, number)

    monkeypatch.setattr(File, "read", reading)
    monkeypatch.setattr("agent.journal.journal._BACKOFF", Backoff(0.001, 0.01))
    waiting = asyncio.create_task(queue.head())
    with failing_disk():
        for _ in range(10):
            journal.put("state", 1, bytes(50_000))
            assert not await journal.commit()
            await asyncio.sleep(0.01)
        assert len(queue) == 2
    await committed(journal)
    assert (await at_once(waiting)).id == "good"
    assert counts(journal.account(STREAM, "siem")) == {("lost", "journal_corrupt"): {7: 1}}
    assert journal.corruptions == 0


def test_a_wal_that_cannot_be_checkpointed_is_tried_again_and_in_the_end_corrupt(tmp_path, monkeypatch):
    monkeypatch.setattr("agent.journal.file._CHECKPOINT", 1)
    file = File(tmp_path / "journal.sqlite3")
    assert file.write(Changes([], [], [], [], {"state": TableChanges(False, {1: bytes(50_000)})}))
    with failing_disk():
        with pytest.raises(Unavailable, match="input/output error"):
            file.upkeep()
        monkeypatch.setattr("agent.journal.file._LONGEST_LOG", 50_000)
        with pytest.raises(Corrupt, match="can't be brought up to date with its log any more"):
            file.upkeep()
    file.upkeep()
    file.close()


async def unwritable(tmp_path, what):
    if what == "a file in the way":
        (tmp_path / "file").touch()
        return StateDirectory(tmp_path / "file" / "state")
    return StateDirectory(Path("/proc/self/state"))  # not even root can make a directory there


@pytest.mark.parametrize(
    ("obstacle", "message"), [("a file in the way", "Not a directory"), ("/proc", "No such file or directory")]
)
async def test_without_a_writable_directory_it_works_in_memory(tmp_path, obstacle, message):
    journal = await (await unwritable(tmp_path, obstacle)).opened()
    assert journal.trouble == message
    journal.queue("siem").put(a_batch(forks={7: 1}))
    journal.put("state", 1, b"one")
    assert not await journal.commit()
    assert journal.table
    assert len(await drained(journal.queue("siem"))) == 1
    await journal.close()


async def test_a_directory_that_becomes_writable_gets_everything_and_its_old_batches_come_first(tmp_path):
    state_dir = StateDirectory(tmp_path / "state")
    journal = await state_dir.opened()
    for name in ("old", "older"):
        journal.queue("siem").put(a_batch(name, 100, {7: 1}))
    journal.account(STREAM, "siem").deliver({7: 10})
    journal.put("state", 1, b"old")
    await journal.commit()
    await journal.close()
    state_dir.folder.rename(tmp_path / "away")
    state_dir.folder.touch()
    journal = await state_dir.opened()
    queue = journal.queue("siem")
    assert journal.trouble == "File exists"
    queue.put(a_batch("young", 100, {7: 1}))
    queue.put(a_batch("younger", 100, {7: 1}))
    journal.account(STREAM, "siem").deliver({7: 1})
    journal.put("state", 2, b"new")
    in_hand = await at_once(queue.head())
    await journal.commit()
    state_dir.folder.unlink()
    (tmp_path / "away").rename(state_dir.folder)
    await committed(journal)
    assert not queue.complete(in_hand, delivered=in_hand.forks)
    assert (queue.forks, journal.account(STREAM, "siem").delivered) == (4, {7: 11})
    await journal.commit()
    await journal.close()
    journal = await state_dir.opened()
    assert journal.table("state") == {2: b"new"}
    assert [batch.id for batch in await drained(journal.queue("siem"))] == ["old", "older", "young", "younger"]
    await journal.close()


@pytest.fixture
def tiny(tmp_path):
    """A file system of 16 MiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=True)
    yield StateDirectory(folder / "state")
    subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(state_dir, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(state_dir.folder.parent)], check=True)


@pytest.mark.kernel
async def test_on_a_full_disk_it_continues_and_writes_everything_when_there_is_space(tiny):
    journal = await tiny.opened(siem=1 << 30)
    queue = journal.queue("siem")
    for number in range(30):
        queue.put(a_batch(f"{number}", forks={7: 1}, body=os.urandom(500_000)))
        await journal.commit()
    assert journal.trouble.startswith("No space left on device")
    assert accounted_for(journal) == {7: 30}
    # Delivered batches make space: deleting needs none.
    first = await drained(queue, 20)
    await committed(journal)
    assert journal.trouble is None
    await journal.close()
    journal = await tiny.opened(siem=1 << 30)
    assert [batch.id for batch in first + await drained(journal.queue("siem"))] == [f"{number}" for number in range(30)]
    assert accounted_for(journal) == {7: 30}
    await journal.close()


@pytest.mark.kernel
async def test_delivered_batches_can_be_deleted_on_a_disk_that_others_filled_while_the_wal_was_long(tiny):
    journal = await tiny.opened(siem=1 << 30)
    queue = journal.queue("siem")
    queue.put(a_batch("first", forks={7: 1}))
    await journal.commit()
    for number in range(8):
        queue.put(a_batch(f"{number}", forks={7: 1}, body=os.urandom(512_000)))
    await journal.commit()
    with suppress(OSError), (tiny.folder.parent / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    queue.put(a_batch("too much", forks={7: 1}, body=os.urandom(2 << 20)))
    assert not await journal.commit()
    await drained(queue)
    await committed(journal)
    assert (journal.trouble, journal.account(STREAM, "siem").delivered) == (None, {7: 10})
    journal = await tiny.next_agent(journal, siem=1 << 30)
    assert (len(journal.queue("siem")), journal.account(STREAM, "siem").delivered) == (0, {7: 10})
    await journal.close()


@pytest.mark.kernel
async def test_a_disk_that_was_full_before_the_start_is_reported(tiny):
    (tiny.folder.parent / "filler").write_bytes(bytes((16 << 20) - 8192))
    journal = await tiny.opened()
    assert journal.trouble.startswith("No space left on device") or "input/output" in journal.trouble
    journal.queue("siem").put(a_batch(forks={7: 1}))
    assert not await journal.commit()
    (tiny.folder.parent / "filler").unlink()
    await committed(journal)
    assert (journal.trouble, journal.corruptions) == (None, 0)
    await journal.close()


@pytest.mark.kernel
async def test_a_read_only_file_system_is_reported_and_used_once_it_is_writable(tiny):
    journal = await tiny.opened()
    await journal.commit()
    await journal.close()
    remount(tiny, "ro")
    journal = await tiny.opened()
    assert journal.trouble == "Read-only file system"
    queue = journal.queue("siem")
    queue.put(a_batch(forks={7: 1}))
    assert not await nothing_yet(queue)
    remount(tiny, "rw")
    await committed(journal)
    assert journal.trouble is None
    await journal.close()


async def test_without_a_file_nothing_is_saved_and_nothing_fails():
    journal = Journal(None, {"siem": 100})
    await journal.open()
    journal.put("state", 1, b"one")
    journal.clear("state")
    assert journal.table("state") == {}
    assert await journal.commit()
    assert journal.trouble is None
    await journal.close()
