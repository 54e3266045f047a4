"""Cgroups and the state directory: which hierarchy is chosen and why, whether the directory is writable, what is in it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent.attribution.hierarchy import Hierarchy
from agent.doctor.checks.directories import Candidate, Cgroups, StateDirectory, judge_cgroups, judge_state, read_state
from agent.doctor.checks.locks import LockOwner, lock_owner
from agent.journal import Journal

V1, V2 = Hierarchy(8, "pids", Path("/sys/fs/cgroup/pids")), Hierarchy(0, None, Path("/sys/fs/cgroup/unified"))
MIB = 1 << 20
SOUND = StateDirectory(
    Path("/var/lib/forklore"), exists=True, error=None, free=1 << 40, may_grow=1 << 30, size=5 * MIB, batches=3
)


@pytest.mark.parametrize(
    ("cgroups", "text"),
    [
        (Cgroups(V2, None, Candidate(V2, True)), "v2 at /sys/fs/cgroup/unified: there is no other hierarchy"),
        (Cgroups(V1, Candidate(V1, False), None), "v1 pids at /sys/fs/cgroup/pids: there is no other hierarchy"),
        (Cgroups(V2, Candidate(V1, False), Candidate(V2, True)), "it has the pods"),
        (Cgroups(V1, Candidate(V1, True), Candidate(V2, False)), "it has the pods"),
        (Cgroups(V1, Candidate(V1, True), Candidate(V2, True)), "both have the pods; v1 goes first"),
        (Cgroups(V1, Candidate(V1, False), Candidate(V2, False)), "v1 goes first"),
    ],
)
def test_the_result_names_the_hierarchy_and_the_reason(cgroups, text):
    result = judge_cgroups(cgroups)
    assert result.verdict == "ok"
    assert text in result.text


def test_of_a_node_that_is_a_container_the_result_names_what_is_not_seen():
    part = replace(V2, part=4711)
    result = judge_cgroups(Cgroups(part, None, Candidate(part, True)))
    assert (result.verdict, "this node is a container: forks outside it are not seen" in result.text) == ("warn", True)


def test_without_a_hierarchy_the_cure_names_what_to_mount():
    result = judge_cgroups(Cgroups(None, None, None, "no cgroup hierarchy is mounted whole"))
    assert result.verdict == "fail"
    assert "/sys/fs/cgroup" in result.cure


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "text"),
    [
        ({"error": "Read-only file system"}, "state directory", "fail", "Read-only file system"),
        ({"free": 900 * MIB}, "state directory", "warn", "900 MiB free, and journals may grow by 1,024 MiB"),
        ({"exists": False}, "state directory", "ok", "does not exist yet"),
        ({"in_use_by": LockOwner(812)}, "journal", "ok", "in use by process 812"),
        ({"in_use_by": LockOwner(None)}, "journal", "ok", "in use by"),
        ({"damaged": "is corrupt (a row does not match its checksum)", "batches": None}, "journal", "warn", "is corrupt"),
        ({"unreadable": "permission denied", "batches": None}, "journal", "fail", "permission denied"),
        ({"size": None, "batches": None}, "journal", "ok", "none yet"),
        ({}, "journal", "ok", "3 batches queued"),
    ],
)
def test_each_state_has_its_result(results_of, changes, name, verdict, text):
    result = results_of(judge_state(replace(SOUND, **changes)))[name]
    assert result.verdict == verdict
    assert text in result.text


def test_a_folder_that_does_not_exist_can_be_created_or_not(tmp_path):
    assert (read_state(tmp_path / "a/b", [1]).exists, read_state(tmp_path / "a/b", [1]).error) == (False, None)
    file = tmp_path / "file"
    file.touch()
    assert read_state(file / "b", [1]).error


def test_checking_leaves_nothing_behind(tmp_path):
    read_state(tmp_path, [MIB])
    assert not [*tmp_path.iterdir()]
    read_state(tmp_path / "not/there", [MIB])
    assert not [*tmp_path.iterdir()]


@pytest.fixture
def journal(tmp_path):
    """A journal as an agent left it."""

    async def write():
        journal = Journal(tmp_path / "journal.sqlite3", {"siem": MIB})
        await journal.open()
        await journal.commit()
        await journal.close()

    asyncio.run(write())
    return tmp_path / "journal.sqlite3"


def test_a_valid_journal_is_opened_and_left_as_it_was(journal):
    before = {file.name for file in journal.parent.iterdir()}
    state = read_state(journal.parent, [MIB])
    assert (state.batches, state.unreadable, state.damaged) == (0, None, None)
    assert {file.name for file in journal.parent.iterdir()} == before


def test_random_bytes_are_no_journal(journal):
    journal.write_bytes(os.urandom(20_000))
    assert read_state(journal.parent, [MIB]).damaged
    assert journal.stat().st_size == 20_000, "the doctor moves nothing aside"


HOLD_LOCK = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(lock, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_journal_in_use_is_ok_and_the_agent_is_named(journal):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(journal.parent / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as agent:
        assert agent.stdout.readline() == b"locked\n"
        state = read_state(journal.parent, [MIB])
        agent.communicate()
    assert state.in_use_by == LockOwner(agent.pid)
    assert (state.batches, state.unreadable) == (None, None)


def test_a_free_lock_has_no_owner_and_stays_free(tmp_path):
    (tmp_path / "lock").touch()
    assert lock_owner(tmp_path / "lock") is None
    assert lock_owner(tmp_path / "nothing") is None


def test_cgroups_that_the_agent_could_write_are_a_warning_with_the_value_to_set():
    result = judge_cgroups(Cgroups(V1, Candidate(V1, True), None, writable=(Path("/sys/fs/cgroup/pids"),)))
    assert (result.verdict, "can write into /sys/fs/cgroup/pids" in result.text) == ("warn", True)
    assert "agent.cgroups.hostPath" in result.cure
