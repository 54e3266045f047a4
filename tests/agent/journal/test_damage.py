"""A file that is not what was written: found, moved aside, counted; and the agent goes on with what can still be had."""

import asyncio
import logging
import os
import random
import shutil
import sqlite3
from collections import Counter
from types import SimpleNamespace

import pytest

from agent.journal import Journal, JournalTaken
from tests.agent.journal.batches import STREAM, a_batch, at_once, counts, drained, told

NOON = 1700000000.0
NOON_NAME = "journal.sqlite3.corrupt-20231114T221320Z"


async def filled(place, batches=20, size=20_000, **limits):
    """A journal with a backlog that no cache holds, all of it in the file itself."""
    journal = await place.opened(**limits)
    for number in range(batches):
        journal.queue("siem").put(a_batch(f"{number}", forks={7: 2, 8: 1}, body=os.urandom(size), since=number))
    journal.put("shelf", 1, b"one")
    journal.account(STREAM, "siem").deliver({9: 5})
    await journal.commit()
    return await place.again(journal, **limits)


def overwrite(path, start=0, length=None, seed=0):
    length = path.stat().st_size - start if length is None else length
    with path.open("r+b") as file:
        file.seek(start)
        file.write(random.Random(seed).randbytes(length))  # noqa: S311  noise, not a secret


async def test_noise_at_rest_is_moved_aside_said_and_counted(place, caplog):
    journal = await filled(place)
    await journal.close()
    overwrite(place.file)
    journal = await place.opened(now=lambda: NOON)
    assert (journal.corruptions, len(journal.queue("siem")), journal.table("shelf")) == (1, 0, {})
    assert journal.trouble == f"it is corrupt (file is not a database) and was moved aside to {NOON_NAME}"
    assert [record.getMessage() for record in caplog.records] == [f"the journal: {journal.trouble}"]
    assert place.aside() == [NOON_NAME]
    journal.queue("siem").put(a_batch("new"))
    assert await journal.commit()
    assert journal.trouble is None
    journal = await place.again(journal)
    assert (journal.corruptions, len(journal.queue("siem"))) == (0, 1)


async def test_only_the_newest_of_what_was_moved_aside_is_kept(place):
    for minute in range(3):
        journal = await filled(place)
        await journal.close()
        overwrite(place.file)
        await (await place.opened(now=lambda minute=minute: NOON + 60 * minute)).close()
    assert place.aside() == ["journal.sqlite3.corrupt-20231114T221520Z"]


@pytest.mark.parametrize("value", ["1", "CAST(x'ff' AS TEXT)", "NULL", "1.5"])
@pytest.mark.parametrize(
    "column", ["batches.since", "batches.sink", "accounts.forks", "accounts.sum", "shelves.value", "shelves.sum"]
)
async def test_a_row_that_somebody_altered_is_not_taken_for_what_was_written(place, column, value):
    journal = await filled(place)
    await journal.close()
    table, _, name = column.partition(".")
    place.sql(f"UPDATE {table} SET {name} = {value}")  # noqa: S608
    journal = await place.opened()
    assert (journal.corruptions, len(journal.queue("siem"))) == (1, 0)
    assert "does not match its checksum" in journal.trouble


async def test_rows_that_are_not_told_of_any_more_are_missed(place):
    """A page that says it has one row fewer is well readable, and each row that is left is sound."""
    journal = await filled(place)
    await journal.close()
    connection = sqlite3.connect(place.file)
    ((root,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'batches'")
    connection.close()
    with place.file.open("r+b") as file:
        file.seek((root - 1) * 4096 + 3)  # the number of a leaf's cells
        assert file.read(2) == b"\0\x14"
        file.seek(-2, os.SEEK_CUR)
        file.write(b"\0\x13")
    journal = await place.opened()
    assert journal.trouble.startswith("it is corrupt (batches: ")


async def test_another_programs_database_is_moved_aside_whole(place):
    place.folder.mkdir()
    place.sql("CREATE TABLE batches (id INTEGER PRIMARY KEY)", "INSERT INTO batches VALUES (1)")
    before = place.file.read_bytes()
    journal = await place.opened()
    assert "is another program's SQLite file and was moved aside to" in journal.trouble
    assert (place.folder / place.aside()[0]).read_bytes() == before
    assert await journal.commit()


async def test_what_a_newer_agent_left_is_moved_aside(place):
    journal = await filled(place)
    await journal.close()
    place.sql("PRAGMA user_version = 2")
    journal = await place.opened()
    assert "is of version 2, which this agent can't read and was moved aside to" in journal.trouble
    assert len(place.aside()) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER theft AFTER INSERT ON bodies BEGIN DELETE FROM bodies; END",
        "DROP TABLE bodies",
        "CREATE VIEW v AS SELECT 1",
    ],
)
async def test_a_file_with_other_tables_is_no_journal(place, statement):
    journal = await filled(place)
    await journal.close()
    place.sql(statement)
    journal = await place.opened()
    assert "lacks the tables of a journal" in journal.trouble
    journal.queue("siem").put(a_batch())
    assert await journal.commit()


async def test_an_empty_file_and_one_that_was_only_begun_are_new_ones(place):
    place.folder.mkdir()
    place.file.touch()
    journal = await place.opened()
    assert (journal.trouble, journal.corruptions) == (None, 0)
    await journal.close()
    place.file.unlink()
    place.sql("PRAGMA journal_mode = WAL")
    journal = await place.opened()
    assert (journal.trouble, journal.corruptions) == (None, 0)
    assert await journal.commit()


async def test_a_log_that_a_power_cut_left_as_zeros_is_an_empty_one(place):
    journal = await filled(place)
    await journal.commit()
    await journal.close()
    place.wal.write_bytes(bytes(1 << 20))
    journal = await place.opened()
    journal.queue("siem").put(a_batch("new"))
    assert await journal.commit()
    assert (journal.corruptions, journal.trouble, len(journal.queue("siem"))) == (0, None, 21)


async def test_a_folder_where_the_file_should_be_is_moved_aside(place):
    (place.file / "something").mkdir(parents=True)
    journal = await place.opened()
    assert "is not a file" in journal.trouble
    assert await journal.commit()


async def test_a_write_ahead_log_that_is_left_alone_is_not_played_into_a_new_file(place):
    journal = await filled(place)
    journal.put("shelf", 2, b"two")
    await journal.commit()
    shutil.copytree(place.folder, place.folder.with_name("copy"))
    await journal.close()
    shutil.rmtree(place.folder)
    place.folder.with_name("copy").rename(place.folder)
    place.file.unlink()
    journal = await place.opened()
    assert "has lost its first part" in journal.trouble
    assert (journal.corruptions, journal.table("shelf")) == (1, {})


def hit(place, how):
    if how == "noise":
        overwrite(place.file)
    elif how == "noise in the log":
        overwrite(place.wal)
    elif how == "truncated":
        os.truncate(place.file, 4096)
    elif how == "emptied log":
        os.truncate(place.wal, 0)
    elif how == "deleted":
        place.file.unlink()
    elif how == "log deleted":
        place.wal.unlink()
    elif how == "replaced":
        shutil.copy(place.file, place.folder / "other")
        (place.folder / "other").rename(place.file)
    else:
        shutil.rmtree(place.folder)


HITS = ["noise", "noise in the log", "truncated", "emptied log", "deleted", "log deleted", "replaced", "folder deleted"]


@pytest.mark.parametrize("how", HITS)
async def test_whatever_happens_to_the_file_while_it_is_used_the_next_commit_begins_it_anew_and_all_is_counted(place, how):
    journal = await filled(place)
    queue = journal.queue("siem")
    journal.rewrite = lambda: journal.put("shelf", 1, b"once more")
    in_hand = await at_once(queue.head())
    queue.put(a_batch("young", forks={7: 2, 8: 1}, since=99.0))
    journal.put("shelf", 2, b"two")
    await journal.commit()
    journal._storage._upkeep.result()
    hit(place, how)
    queue.put(a_batch("new", forks={7: 2, 8: 1}, since=100.0))
    assert await journal.commit()
    assert (journal.corruptions, journal.trouble) == (1, None)
    with pytest.raises(JournalTaken, match="by another agent"):
        await place.opened()
    assert told(journal) == {7: 44, 8: 22, 9: 5}
    # What was in memory, or in somebody's hands, is there; and what a descriptor still leads to.
    assert queue.complete(in_hand, delivered=in_hand.forks)
    left = list(queue)
    lost = journal.account(STREAM, "siem").lost.get("journal_corrupt", Counter()).total()
    assert len(left) * 3 + lost == 21 * 3
    assert lost == 0 or how in ("noise", "noise in the log", "truncated", "emptied log")
    await journal.commit()
    journal = await place.again(journal)
    assert (journal.corruptions, journal.table("shelf")) == (0, {1: b"once more"})
    names = [batch.id for batch in await drained(journal.queue("siem"))]
    assert names[-2:] == ["young", "new"]
    assert len(names) == len(left)
    assert told(journal) == {7: 44, 8: 22, 9: 5}


async def test_what_is_in_a_senders_hands_is_not_lost_with_the_file(place):
    """Its body is larger than all that SQLite keeps in memory."""
    journal = await filled(place, batches=2, size=6 << 20, siem=1 << 30)
    queue = journal.queue("siem")
    in_hand = await at_once(queue.head())
    overwrite(place.file)
    journal.put("shelf", 2, b"two")
    assert await journal.commit()
    assert counts(journal.account(STREAM, "siem")) == {("delivered", ""): {9: 5}, ("lost", "journal_corrupt"): {7: 2, 8: 1}}
    assert queue.complete(in_hand, delivered=in_hand.forks)
    assert told(journal) == {7: 4, 8: 2, 9: 5}


async def test_a_body_that_is_noise_is_found_when_it_is_read_and_only_what_is_noise_is_lost(place):
    journal = await filled(place)
    body = journal.queue("siem")
    bodies = [(await place_of_body(place, number)) for number in range(20)]
    overwrite(place.file, bodies[3] + 8000, 100)
    overwrite(place.file, bodies[7] + 8000, 100)
    delivered = await drained(body, 3)
    assert [batch.id for batch in delivered] == ["0", "1", "2"]
    waiting = asyncio.create_task(body.head())
    while journal.corruptions == 0:
        await asyncio.sleep(0.01)
        await journal.commit()
    assert (await at_once(waiting)).id == "4"
    assert [batch.id for batch in await drained(body)] == [f"{number}" for number in range(4, 20) if number != 7]
    assert counts(journal.account(STREAM, "siem")) == {
        ("delivered", ""): {7: 36, 8: 18, 9: 5},
        ("lost", "journal_corrupt"): {7: 4, 8: 2},
    }


async def place_of_body(place, number):
    """Where in the file a batch's body begins, about."""
    copy = place.folder.with_name("copy.sqlite3")
    shutil.copy(place.file, copy)
    connection = sqlite3.connect(copy)
    ((body,),) = connection.execute("SELECT body FROM bodies JOIN batches USING (id) WHERE name = ?", (f"{number}".encode(),))
    connection.close()
    # It lies in pieces of a page; the second one is whole.
    return copy.read_bytes().index(body[5000:5100]) - 5000


async def test_a_body_whose_row_is_gone_is_lost_and_counted(place):
    journal = await filled(place)
    await journal.close()
    place.sql("DELETE FROM bodies WHERE id = (SELECT id FROM batches WHERE name = CAST('0' AS BLOB))")
    journal = await place.opened()
    waiting = asyncio.create_task(journal.queue("siem").head())
    while journal.corruptions == 0:
        await asyncio.sleep(0.01)
        await journal.commit()
    assert (await at_once(waiting)).id == "1"
    assert journal.account(STREAM, "siem").lost == {"journal_corrupt": {7: 2, 8: 1}}


async def test_what_can_still_be_read_is_salvaged_for_as_long_as_there_is_time_and_the_oldest_are_left(place, monkeypatch):
    journal = await filled(place)
    place.file.unlink()
    clock = iter(range(100))
    monkeypatch.setattr("agent.journal.rebuild.time", SimpleNamespace(monotonic=lambda: next(clock) * 0.2))
    assert await journal.commit()
    monkeypatch.undo()
    left = [int(batch.id) for batch in await drained(journal.queue("siem"))]
    assert left == list(range(20 - len(left), 20))
    assert len(left) == 10
    assert journal.account(STREAM, "siem").lost["journal_corrupt"].total() == 3 * (20 - len(left))


async def test_a_whole_backlog_survives_the_loss_of_its_file_and_no_memory_holds_it(place):
    journal = await filled(place, batches=12, size=1 << 20, siem=1 << 30)
    place.file.unlink()
    assert await journal.commit()
    assert not any(entry.batch for entry in journal.queue("siem"))
    journal = await place.again(journal, siem=1 << 30)
    assert [batch.id for batch in await drained(journal.queue("siem"))] == [f"{number}" for number in range(12)]
    assert told(journal) == {7: 24, 8: 12, 9: 5}


async def test_what_is_salvaged_and_goes_meanwhile_does_not_come_back(place):
    journal = await filled(place, siem=400_000)
    place.file.unlink()
    commit = asyncio.create_task(journal.commit())
    while not place.folder.joinpath("journal.sqlite3.new").exists():  # noqa: ASYNC110  a file sets no event
        await asyncio.sleep(0)
    for number in range(20, 25):
        journal.queue("siem").put(a_batch(f"{number}", forks={7: 2, 8: 1}, body=os.urandom(20_000), since=number))
    assert await commit
    await journal.commit()
    journal = await place.again(journal, siem=400_000)
    assert counts(journal.account(STREAM, "siem")) == {("delivered", ""): {9: 5}, ("lost", "journal_full"): {7: 10, 8: 5}}
    assert [batch.id for batch in await drained(journal.queue("siem"))] == [f"{number}" for number in range(5, 25)]


@pytest.mark.parametrize("moved", [False, True])
async def test_a_kill_while_salvaging_leaves_the_old_journal_or_the_new_one(place, moved):
    journal = await filled(place)
    await journal.close()
    draft = place.folder / "journal.sqlite3.new"
    if moved:
        place.file.rename(draft)
    else:
        draft.write_bytes(b"half of it")
    journal = await place.opened()
    assert (journal.trouble, len(journal.queue("siem")), draft.exists()) == (None, 20, False)


async def all_delivered(journal, bodies):
    """Takes out what there is, byte for byte, while the pipeline goes on committing."""
    queue = journal.queue("siem")
    while len(queue):
        head = asyncio.ensure_future(queue.head())
        while len(queue) and not head.done():
            await asyncio.sleep(0)
            await journal.commit()
        if head.done():
            assert head.result().body == bodies[head.result().id]
            queue.complete(head.result(), delivered=head.result().forks)
        head.cancel()


@pytest.mark.parametrize("seed", range(30))
async def test_noise_anywhere_while_it_is_used_stops_nothing_and_all_is_counted(quick, seed):
    noise, folder, bodies = random.Random(seed), quick(), {}  # noqa: S311  noise, not a secret
    file, wal = folder / "journal.sqlite3", folder / "journal.sqlite3-wal"
    journal = Journal(file, {"siem": 1 << 30})
    await journal.open()
    put = Counter()
    for number in range(40):
        name = f"{number}"
        bodies[name] = noise.randbytes(noise.choice([50, 3000, 30_000]))
        journal.queue("siem").put(a_batch(name, forks={number % 3: 3}, body=bodies[name]))
        put[number % 3] += 3
        journal.put("shelf", number, bytes(100))
        await journal.commit()
        if number == 19:  # what is in the file, and not in memory
            await journal.close()
            journal = Journal(file, {"siem": 1 << 30})
            await journal.open()
        if number in (24, 29, 34):
            target = noise.choice([file, file, wal])
            size = min(target.stat().st_size, noise.choice([50_000, 1 << 30]))
            length = min(size, noise.choice([1, 100, 4096, 50_000]))
            overwrite(target, noise.randrange(size - length + 1), length, seed)
        assert told(journal) == put
    await all_delivered(journal, bodies)
    assert told(journal) == put
    await journal.commit()
    await journal.close()
    journal = Journal(file, {"siem": 1 << 30})
    await journal.open()
    assert len(journal.queue("siem")) == 0 or journal.corruptions == 0
    await journal.close()


@pytest.mark.parametrize("seed", range(45))
async def test_noise_anywhere_at_rest_is_found_or_does_no_harm(quick, seed):
    """What is loaded is what some commit saved, whole; a body is what was put in, or lost and counted."""
    noise, folder, bodies = random.Random(seed), quick(), {}  # noqa: S311  noise, not a secret
    file, wal = folder / "journal.sqlite3", folder / "journal.sqlite3-wal"
    journal = Journal(file, {"siem": 1 << 30})
    await journal.open()
    saved = []
    for number in range(6):
        for part in range(5):
            name = f"{number}.{part}"
            bodies[name] = noise.randbytes(noise.choice([50, 3000, 30_000]))
            journal.queue("siem").put(a_batch(name, forks={part: 3}, body=bodies[name]))
        journal.account(STREAM, "siem").deliver({number: 1})
        journal.put("model", "number", b"%d" % number)
        await journal.commit()
        saved.append([batch.counts() for batch in journal.queue("siem")])
    killed, copy = seed % 3 == 0, quick()
    if not killed:
        await journal.close()  # all of the log is in the file, and it is gone
    for one in (file, wal) if killed else (file,):
        shutil.copy(one, copy)
    await journal.close()
    target = copy / (wal if killed else file).name
    size = min(target.stat().st_size, noise.choice([50_000, 1 << 30]))  # what is no body lies at the beginning
    length = min(size, noise.choice([1, 8, 100, 4096, 50_000]))
    overwrite(target, noise.randrange(size - length + 1), length, seed)
    journal = Journal(copy / file.name, {"siem": 1 << 30})
    await journal.open()
    queue = journal.queue("siem")
    if journal.trouble:
        assert (len(queue), journal.corruptions) == (0, 1)
    elif target.name == file.name or "number" in journal.table("model"):
        last = int(journal.table("model")["number"])
        assert [batch.counts() for batch in queue] == saved[last]
        account = journal.account(STREAM, "siem")
        assert account.delivered == dict.fromkeys(range(last + 1), 1)
        put = told(journal)
        await all_delivered(journal, bodies)
        assert told(journal) == put
    else:
        assert len(queue) == 0  # all of the log is noise: no commit was ever made
    assert await journal.commit()
    await journal.close()


logging.getLogger("agent.journal").setLevel(logging.ERROR)
