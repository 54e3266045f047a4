"""Cgroups and the state directory: which would be taken and why, whether it can be written, what lies there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent.attribution.cgroups import Hierarchy
from agent.doctor.checks.directories import Cgroups, State, judge_cgroups, judge_state, read_state
from agent.doctor.checks.locks import Holder, holder
from agent.journal import Journal

V1, V2 = Hierarchy(8, "pids", Path("/sys/fs/cgroup/pids")), Hierarchy(0, None, Path("/sys/fs/cgroup/unified"))
MIB = 1 << 20
SOUND = State(Path("/var/lib/forklore"), made=True, trouble=None, free=1 << 40, wanted=1 << 30, size=5 * MIB, batches=3)


@pytest.mark.parametrize(
    ("cgroups", "words"),
    [
        (Cgroups(V2, None, (V2, True)), "v2 at /sys/fs/cgroup/unified: there is no other"),
        (Cgroups(V1, (V1, False), None), "v1 pids at /sys/fs/cgroup/pids: there is no other"),
        (Cgroups(V2, (V1, False), (V2, True)), "the pods are here"),
        (Cgroups(V1, (V1, True), (V2, False)), "the pods are here"),
        (Cgroups(V1, (V1, True), (V2, True)), "in both; v1 goes first"),
        (Cgroups(V1, (V1, False), (V2, False)), "v1 goes first"),
    ],
)
def test_it_says_which_hierarchy_would_be_taken_and_why(cgroups, words):
    finding = judge_cgroups(cgroups)
    assert finding.verdict == "ok"
    assert words in finding.text


def test_without_a_hierarchy_it_says_what_to_mount():
    finding = judge_cgroups(Cgroups(None, None, None, "no cgroup hierarchy is mounted whole"))
    assert finding.verdict == "fail"
    assert "/sys/fs/cgroup" in finding.cure


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "words"),
    [
        ({"trouble": "Read-only file system"}, "state directory", "fail", "Read-only file system"),
        ({"free": 900 * MIB}, "state directory", "warn", "900 MiB free, and journals may grow by 1,024 MiB"),
        ({"made": False}, "state directory", "ok", "not there yet"),
        ({"taken": Holder(812)}, "journal", "ok", "in use by process 812"),
        ({"taken": Holder(None)}, "journal", "ok", "in use by"),
        ({"damaged": "is corrupt (a row does not match its checksum)", "batches": None}, "journal", "warn", "is corrupt"),
        ({"away": "permission denied", "batches": None}, "journal", "fail", "permission denied"),
        ({"size": None, "batches": None}, "journal", "ok", "none yet"),
        ({}, "journal", "ok", "3 batches wait"),
    ],
)
def test_what_is_so_is_said(said, changes, name, verdict, words):
    finding = said(judge_state(replace(SOUND, **changes)))[name]
    assert finding.verdict == verdict
    assert words in finding.text


def test_a_folder_that_is_not_there_can_be_made_or_not(tmp_path):
    assert (read_state(tmp_path / "a/b", [1]).made, read_state(tmp_path / "a/b", [1]).trouble) == (False, None)
    file = tmp_path / "file"
    file.touch()
    assert read_state(file / "b", [1]).trouble


def test_looking_leaves_nothing_behind(tmp_path):
    read_state(tmp_path, [MIB])
    assert not [*tmp_path.iterdir()]
    read_state(tmp_path / "not/there", [MIB])
    assert not [*tmp_path.iterdir()]


@pytest.fixture
def journal(tmp_path):
    """A journal as an agent left it."""

    async def made():
        journal = Journal(tmp_path / "journal.sqlite3", {"siem": MIB})
        await journal.open()
        await journal.commit()
        await journal.close()

    asyncio.run(made())
    return tmp_path / "journal.sqlite3"


def test_a_sound_journal_is_opened_and_left_as_it_was(journal):
    before = {file.name for file in journal.parent.iterdir()}
    state = read_state(journal.parent, [MIB])
    assert (state.batches, state.away, state.damaged) == (0, None, None)
    assert {file.name for file in journal.parent.iterdir()} == before


def test_noise_is_told_from_a_journal(journal):
    journal.write_bytes(os.urandom(20_000))
    assert read_state(journal.parent, [MIB]).damaged
    assert journal.stat().st_size == 20_000, "the doctor moves nothing aside"


HOLDS = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(lock, fcntl.LOCK_EX)
print("has it", flush=True)
sys.stdin.read()
"""


def test_a_journal_that_an_agent_has_is_fine_and_the_agent_is_named(journal):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(journal.parent / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as agent:
        assert agent.stdout.readline() == b"has it\n"
        state = read_state(journal.parent, [MIB])
        agent.communicate()
    assert state.taken == Holder(agent.pid)
    assert (state.batches, state.away) == (None, None)


def test_a_lock_that_nobody_holds_is_left_free(tmp_path):
    (tmp_path / "lock").touch()
    assert holder(tmp_path / "lock") is None
    assert holder(tmp_path / "nothing") is None
