"""Cgroup directories that vanish while they are read or removed, as other processes remove theirs at any moment."""

import errno
import os
from pathlib import Path

import pytest

from dev.demo.containers import leftovers


@pytest.fixture
def hierarchy(tmp_path, monkeypatch):
    """A folder in place of a cgroup hierarchy, with /kubepods/pod1/c1 and /kubepods/pod1/c2; each has one process."""
    pod = tmp_path / "hierarchy/kubepods/pod1"
    for pid, directory in enumerate([pod, pod / "c1", pod / "c2"], 101):
        directory.mkdir(parents=True)
        (directory / "cgroup.procs").write_text(f"{pid}\n")
    monkeypatch.setattr(leftovers, "hierarchies", lambda: (tmp_path / "hierarchy",))
    return tmp_path / "hierarchy"


def remove(directory):
    (directory / "cgroup.procs").unlink()
    directory.rmdir()


@pytest.fixture
def vanishing(hierarchy, monkeypatch):
    """c1 and c2 vanish when the pod's directory has been listed, and before they are listed themselves."""
    scandir = os.scandir

    def listing(path):
        entries = list(scandir(path))
        if Path(path).name == "pod1":
            for name in ("c1", "c2"):
                remove(Path(path, name))
        return Entries(entries)

    monkeypatch.setattr(os, "scandir", listing)
    return hierarchy / "kubepods/pod1"


class Entries:
    """What os.scandir() returns: an iterator and a context manager."""

    def __init__(self, entries):
        self._entries = iter(entries)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._entries)

    def close(self):
        pass


def test_a_walk_leaves_out_directories_that_vanish(vanishing):
    seen = list(leftovers.walk(vanishing.parent))
    assert seen[:2] == [vanishing.parent, vanishing]
    assert not (vanishing / "c1").exists()


def test_the_processes_of_directories_that_vanish_are_left_out(vanishing):
    assert list(leftovers.processes(vanishing)) == [101]


def test_a_directory_that_vanishes_between_two_processes_is_left_out(hierarchy):
    pids = leftovers.processes(hierarchy / "kubepods")
    assert next(pids) == 101
    for name in ("c1", "c2"):
        remove(hierarchy / "kubepods/pod1" / name)
    assert list(pids) == []


def test_a_walk_of_a_directory_that_is_gone_is_empty(tmp_path):
    assert list(leftovers.walk(tmp_path / "gone")) == []
    assert list(leftovers.processes(tmp_path / "gone")) == []


def test_killing_the_processes_of_a_path_that_vanishes_ends(vanishing, monkeypatch):
    killed = []

    def kill(pid, _signal):
        killed.append(pid)
        (vanishing / "cgroup.procs").unlink()
        vanishing.rmdir()

    monkeypatch.setattr(os, "kill", kill)
    leftovers.kill_processes("/kubepods/pod1")
    assert killed == [101]


def test_a_recorded_directory_that_vanishes_during_its_removal_counts_as_removed(hierarchy, tmp_path, monkeypatch):
    record = tmp_path / "record"
    with leftovers.recording_new_directories("/kubepods/pod2/c1", record):
        (hierarchy / "kubepods/pod2/c1").mkdir(parents=True)
    rmdir = os.rmdir

    def raced(path, **options):
        rmdir(path, **options)
        if Path(path).name == "c1":  # another process was faster
            raise FileNotFoundError(errno.ENOENT, "gone", str(path))

    monkeypatch.setattr(os, "rmdir", raced)
    assert leftovers.remove_recorded(record) == ()
    assert not (hierarchy / "kubepods/pod2").exists()
    assert not record.exists()


def test_a_busy_directory_without_a_process_is_tried_again(hierarchy, tmp_path, monkeypatch):
    """A killed process leaves cgroup.procs before its cgroup can be removed."""
    record = tmp_path / "record"
    with leftovers.recording_new_directories("/kubepods/pod2", record):
        (hierarchy / "kubepods/pod2").mkdir()
    rmdir, refusals = os.rmdir, [errno.EBUSY] * 3

    def busy(path, **options):
        if refusals:
            raise OSError(refusals.pop(), "busy", str(path))
        rmdir(path, **options)

    monkeypatch.setattr(os, "rmdir", busy)
    assert leftovers.remove_recorded(record) == ()
    assert (refusals, (hierarchy / "kubepods/pod2").exists()) == ([], False)


def test_a_directory_in_use_is_not_waited_for_and_stays_recorded(hierarchy, tmp_path, monkeypatch):
    record = tmp_path / "record"
    with leftovers.recording_new_directories("/kubepods/pod2", record):
        (hierarchy / "kubepods/pod2").mkdir()
    (hierarchy / "kubepods/pod2/cgroup.procs").write_text("7\n")
    tries = []

    def busy(path, **_options):
        tries.append(path)
        raise OSError(errno.EBUSY, "busy", str(path))

    monkeypatch.setattr(os, "rmdir", busy)
    assert leftovers.remove_recorded(record) == (hierarchy / "kubepods/pod2",)
    assert len(tries) == 1
    assert record.exists()


def test_a_record_that_another_process_removes_meanwhile_is_created_again(hierarchy, tmp_path, monkeypatch):
    record = tmp_path / "record"
    record.touch()
    flock, removed = leftovers.fcntl.flock, []

    def late(file, mode):
        if not removed:  # the process that had the lock removes it first
            record.unlink()
            removed.append(file)
        flock(file, mode)

    monkeypatch.setattr(leftovers.fcntl, "flock", late)
    with leftovers.recording_new_directories("/kubepods/pod2", record):
        assert record.read_text() == f"{hierarchy}/kubepods/pod2\n"
