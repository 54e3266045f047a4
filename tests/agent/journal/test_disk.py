"""A disk that can't be written is said and counted, and stops nothing; when it works again, all that was staged is written."""

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
from tests.agent.journal.batches import STREAM, a_batch, at_once, counts, drained, nothing_yet, told
from tests.agent.journal.conftest import Place
from wire.backoff import Backoff


@contextmanager
def failing_disk(room=0):
    """Takes nothing beyond so many bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def unsaved(journal):
    """What each batch takes that is in memory only, bytes."""
    return [entry.memory_bytes for queue in journal.queues.values() for entry in queue if not entry.saved]


async def committed(journal):
    """When the pause between tries is over."""
    async with asyncio.timeout(5):
        while not await journal.commit():  # noqa: ASYNC110  a disk sets no event
            await asyncio.sleep(0.02)


async def test_what_could_not_be_written_is_said_stays_staged_and_is_written_when_it_can(place):
    journal = await place.opened()
    journal.put("shelf", 0, b"goes")
    journal.put("other", 0, b"goes")
    journal.account("old", "siem").deliver({7: 1})
    await journal.commit()
    journal.queue("siem").put(a_batch("first", 50_000, {7: 1}))
    journal.clear("other")
    journal.put("shelf", 0, None)
    journal.put("shelf", 1, b"one")
    journal.account(STREAM, "siem").leave_out("select", {7: 9})
    assert journal.forget_stream("old")
    with failing_disk():
        assert not await journal.commit()
        assert journal.trouble == "File too large"
        journal.queue("siem").put(a_batch("second", 50_000, {7: 1}))
    await committed(journal)
    assert (journal.trouble, journal.corruptions) == (None, 0)
    journal = await place.again(journal)
    assert (journal.table("shelf"), journal.table("other"), journal.streams()) == ({1: b"one"}, {}, {STREAM})
    assert counts(journal.account(STREAM, "siem")) == {("filtered", "select"): {7: 9}}
    assert [batch.id for batch in await drained(journal.queue("siem"))] == ["first", "second"]


async def test_what_is_cleared_while_a_commit_fails_stays_cleared(place):
    journal = await place.opened()
    journal.put("shelf", 1, b"saved")
    await journal.commit()
    journal.put("shelf", 2, bytes(50_000))
    with failing_disk():
        commit = asyncio.create_task(journal.commit())
        while journal._state_tables._state_tables["shelf"].items:  # noqa: ASYNC110  it sets no event
            await asyncio.sleep(0)
        journal.clear("shelf")
        journal.put("shelf", 3, b"new")
        assert not await commit
    await committed(journal)
    journal = await place.again(journal)
    assert journal.table("shelf") == {3: b"new"}


async def test_it_works_again_only_when_something_could_be_written(place):
    journal = await place.opened()
    with failing_disk():
        journal.put("shelf", 1, bytes(50_000))
        assert not await journal.commit()
        journal.put("shelf", 1, None)
        await asyncio.sleep(0.11)
        assert not await journal.commit()
        assert journal.trouble
    await committed(journal)
    assert journal.trouble is None


async def test_while_it_fails_senders_get_what_is_in_memory_and_what_they_delivered_is_never_written(place):
    journal = await place.opened()
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
    assert b"never written" not in place.wal.read_bytes()
    journal = await place.again(journal)
    assert journal.account(STREAM, "siem").delivered == {7: 2}
    assert [batch.id for batch in await drained(journal.queue("siem"))] == ["2"]


async def test_order_is_kept_while_it_fails_what_is_saved_comes_first(place):
    journal = await place.opened()
    queue = journal.queue("siem")
    queue.put(a_batch("saved", 50_000))
    await journal.commit()
    journal = await place.again(journal)
    queue = journal.queue("siem")
    with failing_disk():
        queue.put(a_batch("young"))
        assert not await journal.commit()
        assert [batch.id for batch in await drained(queue)] == ["saved", "young"]


async def test_it_is_tried_again_after_a_tenth_of_a_second_and_then_once_a_second(place):
    journal = await place.opened()
    journal.put("shelf", 1, bytes(50_000))
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


async def test_what_is_in_memory_only_is_bounded_over_all_sinks_and_what_goes_is_counted(place):
    journal = await place.opened(siem=1 << 30, collector=1 << 30)
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
        assert told(journal, "siem") == {7: 13}
        assert told(journal, "collector") == {7: 12}
    lost = journal.account(STREAM, "siem").lost
    assert (set(lost), lost["journal_failed"][7] > 3) == ({"journal_failed"}, True)
    await committed(journal)
    journal = await place.again(journal, siem=1 << 30, collector=1 << 30)
    assert [batch.id for batch in await drained(journal.queue("siem"), 1)] == ["saved"]
    assert told(journal, "siem") == {7: 13}


async def test_a_long_failure_leaves_nothing_behind_in_memory(place):
    """What comes and goes for hours while nothing can be written must not add up."""
    journal = await place.opened()
    queue = journal.queue("siem")
    journal.put("shelf", 1000, b"saved")
    await journal.commit()
    with failing_disk():
        for number in range(200):
            queue.put(a_batch(f"{number}", forks={number: 1}))
            journal.put("shelf", number, b"x")
            journal._next_try = 0.0 if number % 20 == 0 else journal._next_try
            commit = asyncio.create_task(journal.commit())
            if number % 40 == 0:  # while it is tried
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                journal.put("shelf", number, None)
                queue.lose(list(queue), "test")
            assert not await commit
            await drained(queue)
            journal.account(STREAM, "siem").forget(number)
            if number % 40:
                journal.put("shelf", number, None)
    gone, batches = journal._batch_index.take()
    assert (gone, batches, journal._state_tables.take()) == ([], [], {})


async def test_what_came_and_went_leaves_nothing_behind_in_memory(place):
    journal = await place.opened()
    for number in range(3):
        journal.queue("siem").put(a_batch(f"{number}"))
        journal.put("shelf", number, b"x")
        await journal.commit()
        await drained(journal.queue("siem"))
        journal.put("shelf", number, None)
        await journal.commit()
    assert journal._state_tables._state_tables == {}
    assert journal._batch_index.take() == ([], [])
    assert not (journal._batch_index._cached or journal._batch_index._cached_bytes or journal._batch_index._unsaved_bytes)


async def test_a_batch_that_can_not_be_read_is_waited_for_while_the_disk_is_away_and_lost_when_it_is_that_batch(
    place, monkeypatch
):
    journal = await place.opened()
    queue = journal.queue("siem")
    queue.put(a_batch("bad sector", 50_000, {7: 1}))
    queue.put(a_batch("good", 50_000, {7: 1}))
    await journal.commit()
    journal = await place.again(journal)
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
            journal.put("shelf", 1, bytes(50_000))
            assert not await journal.commit()
            await asyncio.sleep(0.01)
        assert len(queue) == 2
    await committed(journal)
    assert (await at_once(waiting)).id == "good"
    assert counts(journal.account(STREAM, "siem")) == {("lost", "journal_corrupt"): {7: 1}}
    assert journal.corruptions == 0


def test_a_log_that_can_not_be_played_into_the_file_is_waited_for_and_at_last_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("agent.journal.file._CHECKPOINT", 1)
    file = File(tmp_path / "journal.sqlite3")
    assert file.write(Changes([], [], [], [], {"shelf": TableChanges(False, {1: bytes(50_000)})}))
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
        return Place(tmp_path / "file" / "state")
    return Place(Path("/proc/self/state"))  # not even root can make a folder there


@pytest.mark.parametrize(("what", "says"), [("a file in the way", "Not a directory"), ("/proc", "No such file or directory")])
async def test_a_place_that_can_not_be_written_is_said_and_it_goes_on_in_memory(tmp_path, what, says):
    journal = await (await unwritable(tmp_path, what)).opened()
    assert journal.trouble == says
    journal.queue("siem").put(a_batch(forks={7: 1}))
    journal.put("shelf", 1, b"one")
    assert not await journal.commit()
    assert journal.table
    assert len(await drained(journal.queue("siem"))) == 1
    await journal.close()


async def test_a_place_that_can_be_written_later_gets_all_of_it_and_what_lay_there_comes_first(tmp_path):
    place = Place(tmp_path / "state")
    journal = await place.opened()
    for name in ("old", "older"):
        journal.queue("siem").put(a_batch(name, 100, {7: 1}))
    journal.account(STREAM, "siem").deliver({7: 10})
    journal.put("shelf", 1, b"old")
    await journal.commit()
    await journal.close()
    place.folder.rename(tmp_path / "away")
    place.folder.touch()
    journal = await place.opened()
    queue = journal.queue("siem")
    assert journal.trouble == "File exists"
    queue.put(a_batch("young", 100, {7: 1}))
    queue.put(a_batch("younger", 100, {7: 1}))
    journal.account(STREAM, "siem").deliver({7: 1})
    journal.put("shelf", 2, b"new")
    in_hand = await at_once(queue.head())
    await journal.commit()
    place.folder.unlink()
    (tmp_path / "away").rename(place.folder)
    await committed(journal)
    assert not queue.complete(in_hand, delivered=in_hand.forks)
    assert (queue.forks, journal.account(STREAM, "siem").delivered) == (4, {7: 11})
    await journal.commit()
    await journal.close()
    journal = await place.opened()
    assert journal.table("shelf") == {2: b"new"}
    assert [batch.id for batch in await drained(journal.queue("siem"))] == ["old", "older", "young", "younger"]
    await journal.close()


@pytest.fixture
def tiny(tmp_path):
    """A file system of 16 MiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=True)
    yield Place(folder / "state")
    subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(place, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(place.folder.parent)], check=True)


@pytest.mark.kernel
async def test_on_a_full_disk_it_says_so_goes_on_and_writes_all_when_there_is_room(tiny):
    journal = await tiny.opened(siem=1 << 30)
    queue = journal.queue("siem")
    for number in range(30):
        queue.put(a_batch(f"{number}", forks={7: 1}, body=os.urandom(500_000)))
        await journal.commit()
    assert journal.trouble.startswith("No space left on device")
    assert told(journal) == {7: 30}
    # Room comes from what is delivered: deleting needs none.
    first = await drained(queue, 20)
    await committed(journal)
    assert journal.trouble is None
    await journal.close()
    journal = await tiny.opened(siem=1 << 30)
    assert [batch.id for batch in first + await drained(journal.queue("siem"))] == [f"{number}" for number in range(30)]
    assert told(journal) == {7: 30}
    await journal.close()


@pytest.mark.kernel
async def test_what_is_delivered_can_be_deleted_also_when_others_filled_the_disk_while_the_log_was_long(tiny):
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
    journal = await tiny.again(journal, siem=1 << 30)
    assert (len(journal.queue("siem")), journal.account(STREAM, "siem").delivered) == (0, {7: 10})
    await journal.close()


@pytest.mark.kernel
async def test_a_disk_that_was_full_before_the_journal_came_is_said(tiny):
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
async def test_a_file_system_that_becomes_read_only_is_said_and_it_goes_on_when_that_is_over(tiny):
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


async def test_without_a_file_nothing_is_kept_and_nothing_fails():
    journal = Journal(None, {"siem": 100})
    await journal.open()
    journal.put("shelf", 1, b"one")
    journal.clear("shelf")
    assert journal.table("shelf") == {}
    assert await journal.commit()
    assert journal.trouble is None
    await journal.close()
