"""A file that is not what was written is found, moved aside and counted; what can still be read is kept."""

import asyncio
import os
import random
import shutil
import sqlite3
from collections import Counter
from types import SimpleNamespace

import pytest

from agent import state_records
from agent.journal import Journal, JournalTaken
from tests.agent.journal.batches import STREAM, a_batch, accounted_for, at_once, counts, drained

NOON = 1700000000.0
NOON_NAME = "journal.sqlite3.corrupt-20231114T221320Z"


async def filled(state_dir, batches=20, size=20_000, **limits):
    """A journal with a backlog that is in the file only: in no cache, and not in the WAL."""
    journal = await state_dir.opened(**limits)
    for number in range(batches):
        journal.queue("siem").put(a_batch(f"{number}", forks={7: 2, 8: 1}, body=os.urandom(size), since=number))
    journal.put("state", 1, b"one")
    journal.account(STREAM, "siem").deliver({9: 5})
    await journal.commit()
    return await state_dir.next_agent(journal, **limits)


def overwrite(path, start=0, length=None, seed=0):
    length = path.stat().st_size - start if length is None else length
    with path.open("r+b") as file:
        file.seek(start)
        file.write(random.Random(seed).randbytes(length))  # noqa: S311  noise, not a secret


async def test_a_file_of_noise_is_moved_aside_logged_and_counted(state_dir, caplog):
    journal = await filled(state_dir)
    await journal.close()
    overwrite(state_dir.file)
    journal = await state_dir.opened(now=lambda: NOON)
    assert (journal.corruptions, len(journal.queue("siem")), journal.table("state")) == (1, 0, {})
    assert journal.trouble == f"it is corrupt (file is not a database) and was moved aside to {NOON_NAME}"
    assert [record.getMessage() for record in caplog.records] == [f"the journal: {journal.trouble}"]
    assert state_dir.aside() == [NOON_NAME]
    journal.queue("siem").put(a_batch("new"))
    assert await journal.commit()
    assert journal.trouble is None
    journal = await state_dir.next_agent(journal)
    assert (journal.corruptions, len(journal.queue("siem"))) == (0, 1)


async def test_only_the_newest_corrupt_file_is_kept(state_dir):
    for minute in range(3):
        journal = await filled(state_dir)
        await journal.close()
        overwrite(state_dir.file)
        await (await state_dir.opened(now=lambda minute=minute: NOON + 60 * minute)).close()
    assert state_dir.aside() == ["journal.sqlite3.corrupt-20231114T221520Z"]


@pytest.mark.parametrize("value", ["1", "CAST(x'ff' AS TEXT)", "NULL", "1.5"])
@pytest.mark.parametrize(
    "column", ["batches.since", "batches.sink", "accounts.forks", "accounts.sum", "shelves.value", "shelves.sum"]
)
async def test_an_altered_row_is_found_by_its_checksum(state_dir, column, value):
    journal = await filled(state_dir)
    await journal.close()
    table, _, name = column.partition(".")
    state_dir.sql(f"UPDATE {table} SET {name} = {value}")  # noqa: S608
    journal = await state_dir.opened()
    assert (journal.corruptions, len(journal.queue("siem"))) == (1, 0)
    assert "does not match its checksum" in journal.trouble


KINDS = [
    state_records.POSITIONS, state_records.REPORTED, state_records.CGROUPS, state_records.KUBELET_ROOT, state_records.PODS,
    state_records.CLOCK, state_records.OPEN_BATCHES, state_records.GAPS, state_records.waiting_table(STREAM),
]  # fmt: skip


@pytest.mark.parametrize("value", [b"", b"{}", b'{"version":99}', b"\xff" * 100], ids=["empty", "object", "later", "noise"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_journal_with_a_record_that_no_decoder_takes_is_moved_aside_and_the_agent_goes_on(
    state_dir, kind, value, caplog
):
    journal = await filled(state_dir, batches=1)
    journal.put(kind, 1, value)
    await journal.commit()
    await journal.close()
    for starts in (1, 0):  # the next start finds nothing wrong
        journal = await state_dir.opened(now=lambda: NOON, unreadable=state_records.unreadable_record)
        assert (journal.corruptions, len(journal.queue("siem")), journal.table(kind)) == (starts, 0, {})
        assert await journal.commit()
        await journal.close()
    assert state_dir.aside() == [NOON_NAME]
    assert f"has a record that this agent can't read ({kind}, 1: " in caplog.text


async def test_records_that_decoders_take_and_tables_of_a_later_version_keep_the_journal(state_dir):
    journal = await filled(state_dir, batches=1)
    journal.put(state_records.POSITIONS, STREAM, state_records.PositionRecord(1, 2, 3).encode())
    journal.put("a later version's", 1, b"anything")
    await journal.commit()
    await journal.close()
    journal = await state_dir.opened(unreadable=state_records.unreadable_record)
    assert (journal.corruptions, len(journal.queue("siem"))) == (0, 1)


async def test_missing_rows_are_found(state_dir):
    """A page with one row fewer is readable, and each of its other rows is sound."""
    journal = await filled(state_dir)
    await journal.close()
    connection = sqlite3.connect(state_dir.file)
    ((root,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'batches'")
    connection.close()
    with state_dir.file.open("r+b") as file:
        file.seek((root - 1) * 4096 + 3)  # the number of a leaf's cells
        assert file.read(2) == b"\0\x14"
        file.seek(-2, os.SEEK_CUR)
        file.write(b"\0\x13")
    journal = await state_dir.opened()
    assert journal.trouble.startswith("it is corrupt (batches: ")


async def test_another_programs_database_is_moved_aside_unchanged(state_dir):
    state_dir.folder.mkdir()
    state_dir.sql("CREATE TABLE batches (id INTEGER PRIMARY KEY)", "INSERT INTO batches VALUES (1)")
    before = state_dir.file.read_bytes()
    journal = await state_dir.opened()
    assert "is another program's SQLite file and was moved aside to" in journal.trouble
    assert (state_dir.folder / state_dir.aside()[0]).read_bytes() == before
    assert await journal.commit()


async def test_the_file_of_a_newer_agent_is_moved_aside(state_dir):
    journal = await filled(state_dir)
    await journal.close()
    state_dir.sql("PRAGMA user_version = 2")
    journal = await state_dir.opened()
    assert "is of version 2, which this agent can't read and was moved aside to" in journal.trouble
    assert len(state_dir.aside()) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER theft AFTER INSERT ON bodies BEGIN DELETE FROM bodies; END",
        "DROP TABLE bodies",
        "CREATE VIEW v AS SELECT 1",
    ],
)
async def test_a_file_with_other_tables_is_not_a_journal(state_dir, statement):
    journal = await filled(state_dir)
    await journal.close()
    state_dir.sql(statement)
    journal = await state_dir.opened()
    assert "lacks the tables of a journal" in journal.trouble
    journal.queue("siem").put(a_batch())
    assert await journal.commit()


async def test_an_empty_file_and_one_without_tables_are_new_journals(state_dir):
    state_dir.folder.mkdir()
    state_dir.file.touch()
    journal = await state_dir.opened()
    assert (journal.trouble, journal.corruptions) == (None, 0)
    await journal.close()
    state_dir.file.unlink()
    state_dir.sql("PRAGMA journal_mode = WAL")
    journal = await state_dir.opened()
    assert (journal.trouble, journal.corruptions) == (None, 0)
    assert await journal.commit()


async def test_a_wal_of_zeros_counts_as_empty(state_dir):
    journal = await filled(state_dir)
    await journal.commit()
    await journal.close()
    state_dir.wal.write_bytes(bytes(1 << 20))
    journal = await state_dir.opened()
    journal.queue("siem").put(a_batch("new"))
    assert await journal.commit()
    assert (journal.corruptions, journal.trouble, len(journal.queue("siem"))) == (0, None, 21)


async def test_a_directory_in_place_of_the_file_is_moved_aside(state_dir):
    (state_dir.file / "something").mkdir(parents=True)
    journal = await state_dir.opened()
    assert "is not a file" in journal.trouble
    assert await journal.commit()


async def test_a_wal_without_its_file_is_not_played_into_a_new_file(state_dir):
    journal = await filled(state_dir)
    journal.put("state", 2, b"two")
    await journal.commit()
    shutil.copytree(state_dir.folder, state_dir.folder.with_name("copy"))
    await journal.close()
    shutil.rmtree(state_dir.folder)
    state_dir.folder.with_name("copy").rename(state_dir.folder)
    state_dir.file.unlink()
    journal = await state_dir.opened()
    assert "has lost its first part" in journal.trouble
    assert (journal.corruptions, journal.table("state")) == (1, {})


def hit(state_dir, how):
    if how == "noise":
        overwrite(state_dir.file)
    elif how == "noise in the log":
        overwrite(state_dir.wal)
    elif how == "truncated":
        os.truncate(state_dir.file, 4096)
    elif how == "emptied log":
        os.truncate(state_dir.wal, 0)
    elif how == "deleted":
        state_dir.file.unlink()
    elif how == "log deleted":
        state_dir.wal.unlink()
    elif how == "replaced":
        shutil.copy(state_dir.file, state_dir.folder / "other")
        (state_dir.folder / "other").rename(state_dir.file)
    else:
        shutil.rmtree(state_dir.folder)


HITS = ["noise", "noise in the log", "truncated", "emptied log", "deleted", "log deleted", "replaced", "folder deleted"]


@pytest.mark.parametrize("how", HITS)
async def test_after_any_damage_to_the_open_file_the_next_commit_replaces_it_and_counts_the_losses(state_dir, how):
    journal = await filled(state_dir)
    queue = journal.queue("siem")
    journal.rewrite = lambda: journal.put("state", 1, b"once more")
    in_hand = await at_once(queue.head())
    queue.put(a_batch("young", forks={7: 2, 8: 1}, since=99.0))
    journal.put("state", 2, b"two")
    await journal.commit()
    journal._storage._upkeep.result()
    hit(state_dir, how)
    queue.put(a_batch("new", forks={7: 2, 8: 1}, since=100.0))
    assert await journal.commit()
    assert (journal.corruptions, journal.trouble) == (1, None)
    with pytest.raises(JournalTaken, match="by another agent"):
        await state_dir.opened()
    assert accounted_for(journal) == {7: 44, 8: 22, 9: 5}
    # What was in memory, or at the sender, is there; and what can still be read through an open descriptor.
    assert queue.complete(in_hand, delivered=in_hand.forks)
    left = list(queue)
    lost = journal.account(STREAM, "siem").lost.get("journal_corrupt", Counter()).total()
    assert len(left) * 3 + lost == 21 * 3
    assert lost == 0 or how in ("noise", "noise in the log", "truncated", "emptied log")
    await journal.commit()
    journal = await state_dir.next_agent(journal)
    assert (journal.corruptions, journal.table("state")) == (0, {1: b"once more"})
    names = [batch.id for batch in await drained(journal.queue("siem"))]
    assert names[-2:] == ["young", "new"]
    assert len(names) == len(left)
    assert accounted_for(journal) == {7: 44, 8: 22, 9: 5}


async def test_the_batch_that_a_sender_has_is_not_lost_with_the_file(state_dir):
    """Its body is larger than SQLite's cache."""
    journal = await filled(state_dir, batches=2, size=6 << 20, siem=1 << 30)
    queue = journal.queue("siem")
    in_hand = await at_once(queue.head())
    overwrite(state_dir.file)
    journal.put("state", 2, b"two")
    assert await journal.commit()
    assert counts(journal.account(STREAM, "siem")) == {("delivered", ""): {9: 5}, ("lost", "journal_corrupt"): {7: 2, 8: 1}}
    assert queue.complete(in_hand, delivered=in_hand.forks)
    assert accounted_for(journal) == {7: 4, 8: 2, 9: 5}


async def test_a_corrupt_body_is_found_when_it_is_read_and_only_it_is_lost(state_dir):
    journal = await filled(state_dir)
    body = journal.queue("siem")
    bodies = [(await place_of_body(state_dir, number)) for number in range(20)]
    overwrite(state_dir.file, bodies[3] + 8000, 100)
    overwrite(state_dir.file, bodies[7] + 8000, 100)
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


async def place_of_body(state_dir, number):
    """Roughly where in the file a batch's body begins."""
    copy = state_dir.folder.with_name("copy.sqlite3")
    shutil.copy(state_dir.file, copy)
    connection = sqlite3.connect(copy)
    ((body,),) = connection.execute("SELECT body FROM bodies JOIN batches USING (id) WHERE name = ?", (f"{number}".encode(),))
    connection.close()
    # It is split into pieces of a page; the second one is whole.
    return copy.read_bytes().index(body[5000:5100]) - 5000


async def test_a_batch_without_a_body_is_lost_and_counted(state_dir):
    journal = await filled(state_dir)
    await journal.close()
    state_dir.sql("DELETE FROM bodies WHERE id = (SELECT id FROM batches WHERE name = CAST('0' AS BLOB))")
    journal = await state_dir.opened()
    waiting = asyncio.create_task(journal.queue("siem").head())
    while journal.corruptions == 0:
        await asyncio.sleep(0.01)
        await journal.commit()
    assert (await at_once(waiting)).id == "1"
    assert journal.account(STREAM, "siem").lost == {"journal_corrupt": {7: 2, 8: 1}}


async def test_readable_batches_are_copied_while_there_is_time_the_newest_first(state_dir, monkeypatch):
    journal = await filled(state_dir)
    state_dir.file.unlink()
    clock = iter(range(100))
    monkeypatch.setattr("agent.journal.rebuild.time", SimpleNamespace(monotonic=lambda: next(clock) * 0.2))
    assert await journal.commit()
    monkeypatch.undo()
    left = [int(batch.id) for batch in await drained(journal.queue("siem"))]
    assert left == list(range(20 - len(left), 20))
    assert len(left) == 10
    assert journal.account(STREAM, "siem").lost["journal_corrupt"].total() == 3 * (20 - len(left))


async def test_a_whole_backlog_survives_the_deletion_of_its_file_without_being_in_memory(state_dir):
    journal = await filled(state_dir, batches=12, size=1 << 20, siem=1 << 30)
    state_dir.file.unlink()
    assert await journal.commit()
    assert not any(entry.batch for entry in journal.queue("siem"))
    journal = await state_dir.next_agent(journal, siem=1 << 30)
    assert [batch.id for batch in await drained(journal.queue("siem"))] == [f"{number}" for number in range(12)]
    assert accounted_for(journal) == {7: 24, 8: 12, 9: 5}


async def test_a_batch_that_is_delivered_while_it_is_copied_does_not_come_back(state_dir):
    journal = await filled(state_dir, siem=400_000)
    state_dir.file.unlink()
    commit = asyncio.create_task(journal.commit())
    while not state_dir.folder.joinpath("journal.sqlite3.new").exists():  # noqa: ASYNC110  a file sets no event
        await asyncio.sleep(0)
    for number in range(20, 25):
        journal.queue("siem").put(a_batch(f"{number}", forks={7: 2, 8: 1}, body=os.urandom(20_000), since=number))
    assert await commit
    await journal.commit()
    journal = await state_dir.next_agent(journal, siem=400_000)
    assert counts(journal.account(STREAM, "siem")) == {("delivered", ""): {9: 5}, ("lost", "journal_full"): {7: 10, 8: 5}}
    assert [batch.id for batch in await drained(journal.queue("siem"))] == [f"{number}" for number in range(5, 25)]


@pytest.mark.parametrize("moved", [False, True])
async def test_a_kill_while_copying_leaves_the_old_journal_or_the_new_one(state_dir, moved):
    journal = await filled(state_dir)
    await journal.close()
    draft = state_dir.folder / "journal.sqlite3.new"
    if moved:
        state_dir.file.rename(draft)
    else:
        draft.write_bytes(b"half of it")
    journal = await state_dir.opened()
    assert (journal.trouble, len(journal.queue("siem")), draft.exists()) == (None, 20, False)


async def all_delivered(journal, bodies):
    """Completes all batches, byte for byte the same, with commits in between."""
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
async def test_noise_anywhere_in_the_open_file_stops_nothing_and_losses_are_counted(in_memory, seed):
    noise, folder, bodies = random.Random(seed), in_memory(), {}  # noqa: S311  noise, not a secret
    file, wal = folder / "journal.sqlite3", folder / "journal.sqlite3-wal"
    journal = Journal(file, {"siem": 1 << 30})
    await journal.open()
    put = Counter()
    for number in range(40):
        name = f"{number}"
        bodies[name] = noise.randbytes(noise.choice([50, 3000, 30_000]))
        journal.queue("siem").put(a_batch(name, forks={number % 3: 3}, body=bodies[name]))
        put[number % 3] += 3
        journal.put("state", number, bytes(100))
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
        assert accounted_for(journal) == put
    await all_delivered(journal, bodies)
    assert accounted_for(journal) == put
    await journal.commit()
    await journal.close()
    journal = Journal(file, {"siem": 1 << 30})
    await journal.open()
    assert len(journal.queue("siem")) == 0 or journal.corruptions == 0
    await journal.close()


@pytest.mark.parametrize("seed", range(45))
async def test_noise_anywhere_in_the_closed_file_is_found_or_harmless(in_memory, seed):
    """The loaded content is exactly that of some commit; a body is the one that was put, or lost and counted."""
    noise, folder, bodies = random.Random(seed), in_memory(), {}  # noqa: S311  noise, not a secret
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
    killed, copy = seed % 3 == 0, in_memory()
    if not killed:
        await journal.close()  # the whole WAL is in the file, and deleted
    for one in (file, wal) if killed else (file,):
        shutil.copy(one, copy)
    await journal.close()
    target = copy / (wal if killed else file).name
    size = min(target.stat().st_size, noise.choice([50_000, 1 << 30]))  # what is not a body is at the beginning
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
        put = accounted_for(journal)
        await all_delivered(journal, bodies)
        assert accounted_for(journal) == put
    else:
        assert len(queue) == 0  # the whole WAL is noise: as if no commit was made
    assert await journal.commit()
    await journal.close()
