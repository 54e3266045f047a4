"""A container makes cgroups by the thousand: no table of the kernel fills, other pods keep their counts and their limits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.attribution.metadata_cache import MetadataCache
from agent.kernel.programs import LoadedPrograms
from agent.kernel.records import FORK, ForkRecord
from agent.model import ATTACHED, CREATED, KUBELET_ROOT, REMOVED

from .conftest import hierarchy, remove_cgroups
from .forks import make_forks

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(240)]

FLOOD = 34_000  # cgroups in one container: they filled the tables of version 0.1
FOUND = 100_000  # cgroups in one container that an agent finds at its start
RECORDS = 64  # of cgroups inside one container: MAX_RECORDS in bpf/records.h
TURNS = 500  # of a process that moves itself; the ring of cgroup events holds 1,024
Load = Callable[..., LoadedPrograms]


def fork_inside(folder: Path, times: int) -> None:
    """By a process that has moved there first."""
    pid = os.fork()
    if pid == 0:
        (folder / "cgroup.procs").write_text(str(os.getpid()))
        make_forks(times)
        os._exit(0)
    os.waitpid(pid, 0)


def number_of(folder: Path) -> int:
    return folder.stat().st_ino


@pytest.fixture
def kubelet() -> Iterator[Path]:
    """A directory in the chosen hierarchy that stands for the kubelet's root; removed with everything below at the end."""
    folder = hierarchy().root / f"forklore-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    for path, _, _ in os.walk(folder, topdown=False):
        Path(path).rmdir()


def tracking(load_programs: Load, kubelet: Path, **settings: int) -> LoadedPrograms:
    """Programs that know the kubelet's root, and nothing below it."""
    programs = load_programs(**settings)
    programs.track(number_of(kubelet), number_of(kubelet), KUBELET_ROOT)
    programs.set_pod_level(3)
    return programs


def container_in(folder: Path) -> Path:
    """A pod with one container."""
    container = folder / "container"
    container.mkdir(parents=True)
    return container


@pytest.mark.parametrize(
    "pod",
    [
        "burstable/pod1",
        "pod2",
        "kubepods-burstable.slice/kubepods-burstable-pod3.slice",
        "kubepods-besteffort.slice/x-pod4.slice",
    ],
)
def test_a_new_pod_is_tracked_by_the_kernel_itself_and_counts_what_is_inside_it(
    load_programs: Load, kubelet: Path, pod: str
) -> None:
    programs = tracking(load_programs, kubelet)
    container = container_in(kubelet / pod)
    inner = container / "made/by/itself"
    inner.mkdir(parents=True)
    fork_inside(inner, 23)
    fork_inside(container, 5)
    counters = programs.snapshot().counters
    assert counters[number_of(container)].processes == 28
    assert number_of(inner) not in counters
    tracked = programs.tracked()
    assert tracked[number_of(container)].pod == number_of(kubelet / pod)
    assert number_of(container / "made") not in tracked
    raw = b"".join(iter(lambda: programs.forks.read(4096), b""))
    inside = [one for one in map(ForkRecord._make, FORK.iter_unpack(raw)) if one.counted_in == number_of(container)]
    assert [one.cgroup for one in inside].count(number_of(inner)) == 23, "an event has the cgroup that it was in"


def test_thousands_of_cgroups_in_a_container_take_no_entry_and_64_records(load_programs: Load, kubelet: Path) -> None:
    programs = tracking(load_programs, kubelet, ring_bytes=16 << 20, storm_limit=10)
    hostile, victim = container_in(kubelet / "burstable/pod1"), container_in(kubelet / "burstable/pod2")
    list(programs.cgroup_events())
    before = {name: fill.entries for name, fill in programs.table_fills().items()}
    made = [hostile / f"x{number}" for number in range(FLOOD)]
    for folder in made:
        folder.mkdir()
    for folder in made[:: FLOOD // 50]:
        fork_inside(folder, 1)
    after = {name: fill.entries for name, fill in programs.table_fills().items()}
    events = [event for event in programs.cgroup_events() if event.parent == number_of(hostile) and event.kind == CREATED]
    tracked = programs.tracked()[number_of(hostile)]
    assert (len(events), tracked.records, tracked.folded) == (RECORDS, RECORDS, FLOOD - RECORDS)
    assert after["tracked"] == before["tracked"]
    assert after["pod_counters"] <= before["pod_counters"] + 1
    assert sum(cpu.cgroup_events_lost for cpu in programs.cpu_counters()) == 0

    late = container_in(kubelet / "burstable/pod3")  # an unprivileged pod that comes after the flood
    fork_inside(late, 200)
    fork_inside(victim, 7)
    counters = programs.snapshot().counters
    assert counters[number_of(late)].processes == 200
    assert counters[number_of(late)].suppressed > 100, "it has its limit"
    assert counters[number_of(victim)].processes == counters[number_of(victim)].emitted == 7
    for folder in made:
        folder.rmdir()
    removed = [event for event in programs.cgroup_events() if event.kind == REMOVED]
    assert removed == [], "what was inside a container is removed with it"


def test_cgroups_outside_pods_count_for_their_ancestor_at_level_2_and_take_no_pods_place(
    load_programs: Load, kubelet: Path
) -> None:
    programs = tracking(load_programs, kubelet)
    outside = hierarchy().root / f"forklore-test-host-{os.getpid()}"
    deep = outside / "unit/a/b"
    deep.mkdir(parents=True)
    try:
        before = programs.table_fills()
        fork_inside(deep, 11)
        fork_inside(outside / "unit", 3)
        counters = programs.snapshot().counters
        assert counters[number_of(outside / "unit")].processes == 14
        assert number_of(deep) not in counters
        assert programs.table_fills()["pod_counters"] == before["pod_counters"]
    finally:
        for path, _, _ in os.walk(outside, topdown=False):
            Path(path).rmdir()


def attach_by_turns(folders: list[Path], times: int) -> None:
    """By a process that moves itself, so often, from one of the cgroups to the next, and leaves them."""
    pid = os.fork()
    if pid == 0:
        for number in range(times):
            (folders[number % len(folders)] / "cgroup.procs").write_text("0")
        os._exit(0)
    os.waitpid(pid, 0)


@pytest.fixture(params=["in a container", "outside pods"])
def owner(request: pytest.FixtureRequest, kubelet: Path) -> Iterator[Path]:
    """A directory whose counters count what is inside it; not made yet."""
    if request.param == "in a container":
        yield kubelet / "burstable/pod1/container"
        return
    top = kubelet.with_name(f"{kubelet.name}-host")
    top.mkdir()
    yield top / "unit"
    remove_cgroups(top)


def test_of_the_tasks_attached_to_a_container_64_in_a_second_have_a_record_and_all_are_counted(
    load_programs: Load, kubelet: Path, owner: Path
) -> None:
    programs = tracking(load_programs, kubelet)
    inner = [owner / "a", owner / "b"]
    for folder in inner:
        folder.mkdir(parents=True)
    list(programs.cgroup_events())
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 10**9
    attach_by_turns(inner, TURNS)
    seconds = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 10**9 - before + 1
    records = [event for event in programs.cgroup_events() if event.kind == ATTACHED]
    counted_in = number_of(owner)
    assert {event.cgroup for event in records} == {number_of(folder) for folder in inner}
    assert programs.snapshot().counters[counted_in].entered == TURNS
    assert RECORDS <= len(records) <= RECORDS * seconds
    assert programs.folded_tasks() == TURNS - len(records)
    assert sum(cpu.cgroup_events_lost for cpu in programs.cpu_counters()) == 0
    remove_cgroups(owner)
    assert programs.folded_tasks() == 0, "a window goes with its cgroup"


def test_when_the_kubelets_root_is_made_again_its_pods_count_for_themselves_at_once(load_programs: Load, kubelet: Path) -> None:
    programs = tracking(load_programs, kubelet)
    pod = kubelet / "burstable/pod1"
    pod.mkdir(parents=True)
    for folder in (pod, pod.parent, kubelet):
        folder.rmdir()
    container = container_in(kubelet / "burstable/pod2")  # the programs do not know this root
    fork_inside(container, 9)
    fork_inside(container / "..", 4)
    counters = programs.snapshot().counters
    assert counters[number_of(container)].processes == 9
    assert counters[number_of(container.parent)].processes == 4
    assert number_of(kubelet / "burstable") not in counters, "which has the level of a systemd unit"


def test_while_the_kubelets_root_is_not_known_each_cgroup_counts_for_itself(load_programs: Load, kubelet: Path) -> None:
    programs = load_programs()
    container = container_in(kubelet / "burstable/pod1")
    fork_inside(container, 13)
    number = number_of(container)
    assert programs.snapshot().counters[number].processes == 13
    programs.track(number, number_of(container.parent), 4)
    fork_inside(container, 4)
    assert programs.snapshot().counters[number].processes == 17, "both maps have it, and the sum is exact"
    programs.delete_counters(number)
    assert number not in programs.snapshot().counters


def test_an_agent_that_starts_among_100_000_cgroups_of_a_container_keeps_64_and_counts_the_rest(
    load_programs: Load, kubelet: Path
) -> None:
    programs = load_programs()
    root = kubelet / "kubepods"
    container = root / "burstable/pod1" / ("7b" * 32)
    container.mkdir(parents=True)
    for number in range(FOUND):
        (container / f"x{number}").mkdir()
    path = f"/{root.relative_to(hierarchy().root)}"
    cache = MetadataCache(hierarchy().root, api=False, kubelet_root=path)
    cache.walk(programs, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    inside = [
        one for number in cache.cgroups.ids() if (one := cache.cgroups.get(number)) and f"{path}/burstable/pod1/" in one.path
    ]
    assert len(inside) == 1 + RECORDS
    assert cache.cgroups.unread == FOUND - RECORDS
    assert programs.tracked().keys() == {number_of(folder) for folder in (root, *list(container.parents)[:2], container)}
    fork_inside(container / "x99999", 7)
    assert programs.snapshot().counters[number_of(container)].processes == 7
