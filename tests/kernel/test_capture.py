"""Capture that outlives its agent: pins, taking over, replacing an instance under load, and an instance without an agent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.kernel.capture import Capture, PinsTaken, open_capture
from agent.kernel.layouts.cgroup_maps import OTHER
from agent.kernel.pins import CannotPin, Pins
from agent.kernel.programs import LoadedPrograms, forks_since_boot
from agent.kernel.records import FORK, PARENT_CONTEXT, ForkRecord, ParentContextRecord
from agent.model import CONTAINER, POD

from .conftest import hierarchy, remove_cgroups
from .forks import make_forks

pytestmark = pytest.mark.kernel

MINUTES = 300 * 10**9
REPLACEMENTS = int(os.environ.get("REPLACEMENTS", "4"))  # of one instance by another, under load
Open = Callable[..., Capture]


@pytest.fixture
def open_pinned(pins: Path) -> Iterator[Open]:
    """Opens capture with pins of this test alone, and removes them at the end."""
    opened: list[Capture] = []

    def pinned(ring_bytes: int = 16 << 20, known: set[str] | None = None) -> Capture:
        here = hierarchy()
        capture = open_capture(ring_bytes, here.number, here.controller, pins, known)
        opened.append(capture)
        return capture

    pinned.opened = opened  # type: ignore[attr-defined]
    yield pinned
    for capture in opened:
        if capture.current.descriptors:
            capture.close(keep=False)


def start(capture: Capture, *, storm_limit: int = 0, alive_ns: int = MINUTES) -> LoadedPrograms:
    capture.current.start(threads=False, storm_limit=storm_limit, alive_ns=alive_ns)
    return capture.current


def children(programs: LoadedPrograms, *parents: int | None) -> list[int]:
    """The pids of the forks of `parents` (default: this process) in the ring, by time. Reads the whole ring."""
    found = []
    while raw := programs.forks.read(4096):
        wanted = parents or (os.getpid(),)
        for record in map(ForkRecord._make, FORK.iter_unpack(raw)):
            parent = ParentContextRecord._make(PARENT_CONTEXT.unpack(record.parent_context))
            if parent.parent_tid in wanted:
                found.append((record.time, record.child_tid))
    programs.forks.publish(programs.forks.cursor)
    return [pid for _, pid in sorted(found)]


def test_forks_made_without_an_agent_are_in_the_ring_for_the_next_one(open_pinned: Open) -> None:
    first = open_pinned()
    start(first)
    before = make_forks(23)
    first.close(keep=True)
    between = make_forks(700)
    second = open_pinned()
    assert second.taken_over
    assert second.current.stream == first.current.stream
    assert children(second.current) == before + between
    assert sum(one.processes for one in second.current.snapshot().counters.values()) >= 723


def test_taking_over_compiles_nothing(open_pinned: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    start(open_pinned())
    open_pinned.opened[0].close(keep=True)  # type: ignore[attr-defined]
    monkeypatch.setattr(subprocess, "Popen", None)
    assert open_pinned().taken_over


def test_a_clean_exit_leaves_no_pins(open_pinned: Open, pins: Path) -> None:
    capture = open_pinned()
    start(capture)
    assert (pins / "dispatch/link-sched_process_fork").exists()
    capture.close(keep=False)
    assert not pins.exists()


def test_pins_have_the_names_that_other_versions_open(open_pinned: Open, pins: Path) -> None:
    capture = open_pinned()
    tracepoints = ("cgroup_mkdir", "cgroup_rmdir", "task_newtask", "sched_process_fork", "cgroup_attach_task")
    dispatcher = {"slots", "base", *(f"{kind}-{tracepoint}" for kind in ("hook", "link") for tracepoint in tracepoints)}
    maps = {"map-config", "map-forks", "map-changes", "map-cpus", "map-storms", "map-budgets", "meta"}
    maps |= {"map-tracked", "map-pod-counters", "map-host-counters", "map-attach-windows"}
    assert {pin.name for pin in pins.iterdir()} == {"dispatch", capture.current.meta.instance_id}
    assert {pin.name for pin in (pins / "dispatch").iterdir()} == dispatcher
    assert {pin.name for pin in (pins / capture.current.meta.instance_id).iterdir()} == maps


def test_two_agents_do_not_share_pins(open_pinned: Open) -> None:
    open_pinned()
    with pytest.raises(PinsTaken, match="another agent"):
        open_pinned()


def test_a_folder_in_no_bpf_file_system_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CannotPin, match="mount -t bpf"):
        Pins(tmp_path / "pins")
    here = hierarchy()
    capture = open_capture(1 << 20, here.number, here.controller, tmp_path / "pins")
    try:
        assert capture.unpinned is not None
        assert "mount -t bpf" in capture.unpinned
        start(capture)
        assert children(capture.current) == make_forks(23) or children(capture.current)
    finally:
        capture.close(keep=False)


def forking(out: Path, stop: object) -> None:
    """In a process of its own: forks until `stop` is set, and writes each pid to `out`. It leaves a CPU to the compiler."""
    os.nice(10)
    with out.open("w") as file:
        while not stop.is_set():  # type: ignore[attr-defined]
            for pid in make_forks(50):
                file.write(f"{pid}\n")
        file.flush()


def test_each_fork_is_captured_once_while_one_instance_replaces_another(
    open_pinned: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = multiprocessing.get_context("spawn")  # a fork of this process would keep the pins locked
    stop = alone.Event()
    workers = [alone.Process(target=forking, args=(tmp_path / str(number), stop)) for number in range(2)]
    first = open_pinned(16 << 20)
    start(first)
    for worker in workers:
        worker.start()
    seen: Counter[int] = Counter()
    streams = set()
    capture = first
    for turn in range(REPLACEMENTS):
        time.sleep(0.2)
        capture.close(keep=True)
        monkeypatch.setattr("agent.kernel.capture.compute_fingerprint", lambda _options, turn=turn: f"{turn:016x}")
        capture = open_pinned(16 << 20)
        assert not capture.taken_over
        streams.add(capture.current.stream)
        if turn == REPLACEMENTS - 1:
            stop.set()
            for worker in workers:
                worker.join()
        else:
            time.sleep(0.1)
        for former in list(capture.former):
            seen.update(children(former, *(worker.pid for worker in workers)))
            capture.remove_instance(former)
        start(capture)
    seen.update(children(capture.current, *(worker.pid for worker in workers)))
    assert len(streams) == REPLACEMENTS
    for number, worker in enumerate(workers):
        assert worker.exitcode == 0
        made = [int(line) for line in (tmp_path / str(number)).read_text().split()]
        assert len(made) > 100
        assert not Counter(made) - seen, "forks that no instance captured"
    assert sum(seen.values()) == sum(len((tmp_path / str(number)).read_text().split()) for number in range(2))


def test_an_instance_that_the_journal_does_not_know_is_replaced_and_can_be_read_to_its_end(open_pinned: Open) -> None:
    first = open_pinned()
    start(first)
    made = make_forks(23)
    first.close(keep=True)
    second = open_pinned(known=set())
    assert not second.taken_over
    (former,) = second.former
    assert former.pending_by_cgroup().total() >= 23
    assert children(former)[:23] == made  # after these comes the fork of the next instance's loader
    assert former.meta.stopped is not None
    more = make_forks(5)
    assert children(former) == []
    assert children(second.current) == more


def test_forks_left_by_another_version_are_counted_by_the_positions_of_the_ring(
    open_pinned: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_pinned()
    start(first)
    make_forks(41)
    first.current.update_meta(layout=99)
    left = first.current.forks.backlog
    stream = first.current.stream
    first.close(keep=True)
    second = open_pinned()
    (unreadable,) = second.unreadable
    assert unreadable.stream == stream
    assert unreadable.forks >= left >= 41
    assert not second.former


def test_an_incomplete_start_is_removed(open_pinned: Open, pins: Path) -> None:
    first = open_pinned()
    start(first)
    first.close(keep=True)
    (pins / "dispatch/link-task_newtask").unlink()
    (pins / "0123456789abcdef").mkdir()
    second = open_pinned()
    assert not second.taken_over
    start(second)
    made = make_forks(23)
    assert children(second.current) == made
    assert "0123456789abcdef" not in {pin.name for pin in pins.iterdir()}


def test_an_instance_without_an_agent_only_counts_and_resumes_with_the_next_agent(open_pinned: Open) -> None:
    programs = start(open_pinned(), alive_ns=0)
    before = programs.snapshot()
    make_forks(97)
    alone = programs.snapshot()
    assert alone.orphaned - before.orphaned >= 97
    assert alone.counters == before.counters
    assert not children(programs)
    forks_before, before_resume = forks_since_boot(), programs.snapshot().orphaned
    programs.start(threads=False, storm_limit=0, alive_ns=MINUTES)
    meanwhile = forks_since_boot() - forks_before  # by other processes
    made = make_forks(23)
    assert children(programs) == made
    programs.stop()
    after = programs.snapshot()
    assert after.orphaned - before_resume <= meanwhile
    counted = sum(one.processes + one.threads for one in after.counters.values())
    assert after.tasks_made >= counted + after.orphaned


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A directory in the chosen hierarchy; removed with everything below it at the end."""
    folder = hierarchy().root / f"forklore-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    remove_cgroups(folder)


# $0 the cgroup, $1 how often. A fork for each /bin/true, and none before.
INSIDE = 'echo $$ >"$0/cgroup.procs" || exit; i=0; while [ $i -lt "$1" ]; do /bin/true; i=$((i + 1)); done'


def fork_inside(folder: Path, times: int) -> None:
    """By a process that has moved there first: it forks in the cgroup, not into it."""
    subprocess.run(["/bin/sh", "-c", INSIDE, folder, str(times)], check=True)


def test_cgroups_created_by_a_container_are_counted_in_the_container(open_pinned: Open, cgroup: Path) -> None:
    programs = start(open_pinned())
    pod = cgroup.stat().st_ino
    assert programs.track(pod, pod, POD)
    container = cgroup / "container"
    programs.set_pod_level(1)  # of the test's directory
    deeper = container / "made/by/itself"
    deeper.mkdir(parents=True)
    fork_inside(deeper, 23)
    counters = programs.snapshot().counters
    assert counters[container.stat().st_ino].processes == 23
    assert deeper.stat().st_ino not in counters
    raw = b"".join(iter(lambda: programs.forks.read(4096), b""))
    records = map(ForkRecord._make, FORK.iter_unpack(raw))
    inside = [record for record in records if record.counted_in == container.stat().st_ino]
    assert {record.cgroup for record in inside} == {deeper.stat().st_ino}  # the event has the cgroup that it was in
    assert len(inside) == 23


def test_a_pod_above_its_limit_is_only_counted_and_other_pods_lose_nothing(open_pinned: Open, cgroup: Path) -> None:
    programs = start(open_pinned(16 << 20), storm_limit=5)
    pods = []
    for name in ("stormy", "calm"):
        pod = cgroup / name
        (pod / "one").mkdir(parents=True)
        (pod / "two").mkdir()
        number = pod.stat().st_ino
        programs.track(number, number, POD)
        for container in ("one", "two"):
            programs.track((pod / container).stat().st_ino, number, CONTAINER)
        pods.append(pod)
    stormy, calm = pods
    for container in ("one", "two", "one"):  # the limit is for the pod, not for a container
        fork_inside(stormy / container, 40)
    fork_inside(calm / "one", 4)
    counters = programs.snapshot().counters
    made = [counters[(stormy / name).stat().st_ino] for name in ("one", "two")]
    assert sum(one.processes for one in made) == 120
    assert [one.processes for one in made] == [one.emitted + one.suppressed + one.lost for one in made]
    assert 5 <= sum(one.emitted for one in made) <= 10  # a new second may begin before the limit is reached
    assert counters[(calm / "one").stat().st_ino].emitted == 4
    storms = programs.storms()
    assert stormy.stat().st_ino in storms
    assert calm.stat().st_ino not in storms


def test_a_container_that_was_above_its_budget_within_ten_seconds_is_only_counted(open_pinned: Open, cgroup: Path) -> None:
    programs = start(open_pinned())
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    forks = {}
    for name, over in (("over", now + MINUTES), ("over 11 s ago", now - 11 * 10**9), ("never over", None)):
        (cgroup / name).mkdir()
        number = (cgroup / name).stat().st_ino
        if over is not None:
            programs.suppress(number, over)
        fork_inside(cgroup / name, 7)
        forks[name] = programs.snapshot().counters[number]
    assert [(one.processes, one.emitted, one.suppressed) for one in forks.values()] == [(7, 0, 7), (7, 7, 0), (7, 7, 0)]


def test_a_cgroup_outside_pods_has_a_limit_too_and_what_is_below_it_counts_for_it(open_pinned: Open, cgroup: Path) -> None:
    programs = start(open_pinned(16 << 20), storm_limit=5)
    loop, calm = cgroup / "loop", cgroup / "calm"
    for folder in (loop, calm):
        folder.mkdir()
    fork_inside(loop, 60)
    fork_inside(calm, 4)
    counters = programs.snapshot().counters
    made = counters[loop.stat().st_ino]
    assert made.processes == 60 == made.emitted + made.suppressed + made.lost
    assert 5 <= made.emitted <= 10  # a new second may begin before the limit is reached
    assert counters[calm.stat().st_ino].emitted == 4
    assert programs.storms()[loop.stat().st_ino].reason == "limit"
    assert calm.stat().st_ino not in programs.storms()


def spawn_inside(folder: Path, times: int) -> None:
    """As fork_inside, and ten times as fast: to spawn a file that does not exist is one clone."""
    pid = os.fork()
    if pid == 0:
        (folder / "cgroup.procs").write_text(str(os.getpid()))
        for _ in range(times):
            with contextlib.suppress(FileNotFoundError):
                os.posix_spawn("/nothing", ["x"], {})
        os._exit(0)
    os.waitpid(pid, 0)


def test_a_ring_that_is_over_half_full_has_space_for_who_forks_little(open_pinned: Open, cgroup: Path) -> None:
    """Nothing is read. A ring of 16,384 forks: above half of it, each may send 512 in a second and no more."""
    programs = start(open_pinned(4 << 20), storm_limit=1_000_000)
    assert programs.meta.shares_ring
    loop, calm = cgroup / "loop", cgroup / "calm"
    for folder in (loop, calm):
        folder.mkdir()
    spawn_inside(loop, 14_000)
    spawn_inside(calm, 100)
    counters = programs.snapshot().counters
    made, other = counters[loop.stat().st_ino], counters[calm.stat().st_ino]
    assert made.processes == 14_000 == made.emitted + made.suppressed + made.lost
    assert made.suppressed > 0
    assert (other.emitted, other.lost) == (100, 0)
    assert programs.storms()[loop.stat().st_ino].reason == "ring"
    assert calm.stat().st_ino not in programs.storms()


def test_when_the_map_is_full_other_cgroups_are_counted_together_and_no_count_is_lost(
    open_pinned: Open, cgroup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("agent.kernel.layouts.cgroup_maps", "agent.kernel.capture"):
        monkeypatch.setattr(f"{module}.MAX_HOST_CGROUPS", 16)
    programs = start(open_pinned())
    before = programs.snapshot()
    for number in range(40):
        (cgroup / str(number)).mkdir()
        fork_inside(cgroup / str(number), 3)
    after = programs.snapshot()
    counted = [sum(one.processes + one.threads for one in seen.counters.values()) for seen in (before, after)]
    assert after.counters[OTHER].processes >= 3 * (40 - 16)
    assert counted[1] - counted[0] >= 40 * 4
    assert counted[1] <= after.tasks_made
