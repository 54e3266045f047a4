"""A walk by descriptors: paths of any length, what can't be read is not removed, and what is inside a container is bounded."""

import os
from contextlib import contextmanager

import pytest

from agent.attribution import hierarchy as walking
from agent.attribution.cgroups import MOST_INSIDE, Cgroups

UID, ID = "a87d9c0e-19ae-4043-83a2-abda8b90c98e", "7b" * 32
CONTAINER = f"/kubepods/burstable/pod{UID}/{ID}"


@pytest.fixture
def cgroups():
    known = Cgroups()
    known.kubelet_root = "/kubepods"
    return known


@pytest.fixture
def tree(tmp_path):
    (tmp_path / CONTAINER[1:]).mkdir(parents=True)
    return tmp_path


def nest(folder, name, times):
    """Directories inside each other, deeper than a path may be long. Returns the id of the last one."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(times):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    number = os.fstat(here).st_ino
    os.close(here)
    return number


@contextmanager
def unreadable(monkeypatch, name):
    """A directory of this name can't be opened."""
    really = os.open

    def refuse(path, *args, **more):
        if path == name:
            raise PermissionError
        return really(path, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(walking.os, "open", refuse)
        yield


def test_directories_deeper_than_path_max_are_walked(cgroups, tree):
    deepest = nest(tree / CONTAINER[1:], "x" * 200, 24)
    cgroups.walk(tree, 100)
    assert len(cgroups.get(deepest).path) > 4096
    assert cgroups.get(deepest).identity.container == ID


def test_a_living_directory_that_a_walk_could_not_read_is_not_removed(cgroups, tree, monkeypatch):
    cgroups.walk(tree, 100)
    numbers = [(tree / path).stat().st_ino for path in (CONTAINER[1:], f"kubepods/burstable/pod{UID}")]
    with unreadable(monkeypatch, b"burstable"):
        cgroups.walk(tree, 200)
    assert [cgroups.get(number).removed for number in numbers] == [None, None]


def test_what_was_below_a_removed_directory_is_removed_with_it(cgroups, tree):
    (tree / f"{CONTAINER[1:]}/inner").mkdir()
    cgroups.walk(tree, 100)
    numbers = [(tree / path).stat().st_ino for path in (CONTAINER[1:], f"{CONTAINER[1:]}/inner")]
    (tree / f"kubepods/burstable/pod{UID}").rename(tree.parent / f"{tree.name}-elsewhere")
    cgroups.walk(tree, 200)
    assert [cgroups.get(number).removed for number in numbers] == [200, 200]


def test_of_the_directories_inside_a_container_only_the_first_are_kept_and_the_rest_is_counted(cgroups, tree):
    for number in range(300):
        (tree / f"{CONTAINER[1:]}/{number}/deeper").mkdir(parents=True)
    before = len(cgroups.walk(tree, 100))
    assert before == 5 + MOST_INSIDE, "the root, its three descendants, the container, and so many inside it"
    assert cgroups.unread >= 300 - MOST_INSIDE
    assert cgroups.walk(tree, 200) == []
    assert not cgroups.removed_before(300), "one that a walk left out is not removed"


def test_a_container_in_which_others_are_made_and_removed_takes_no_more_memory(cgroups):
    cgroups.add(1, CONTAINER.encode(), 1)
    for number in range(10, 10_000):
        cgroups.add(number, f"{CONTAINER}/x{number}".encode(), number, 1)
    assert len(cgroups) == 1 + MOST_INSIDE
    cgroups.mark_removed(10, 20_000)
    assert cgroups.add(20_000, f"{CONTAINER}/next".encode(), 20_000, 1), "one more fits again"


def test_a_service_outside_pods_has_the_same_bound_as_a_container(cgroups):
    for number in range(10, 1000):
        cgroups.add(number, f"/system.slice/docker.service/x{number}".encode(), number, 1)
    assert len(cgroups) == MOST_INSIDE
    assert cgroups.add(2000, b"/system.slice/cron.service", 2000)


def test_when_a_container_is_removed_so_is_what_was_inside_it(cgroups):
    cgroups.add(1, CONTAINER.encode(), 1)
    cgroups.add(2, f"{CONTAINER}/inner".encode(), 2, 1)
    cgroups.mark_removed(1, 3)
    assert cgroups.get(2).removed == 3
