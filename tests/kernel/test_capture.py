"""Capture that outlives whoever began it: pins, taking over, changing over under load, and the probe alone with nobody
there."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.kernel.capture import Capture, PinsTaken, open_capture
from agent.kernel.pins import CannotPin, Pins
from agent.kernel.programs import OTHER, LoadedPrograms
from agent.kernel.records import FORK, PARENT_CONTEXT, ForkRecord, ParentContextRecord

from .conftest import hierarchy, until

pytestmark = pytest.mark.kernel

MINUTES = 300 * 10**9
Open = Callable[..., Capture]


@pytest.fixture
def open_pinned(pins: Path) -> Iterator[Open]:
    """Opens capture with pins of the test's own; what is left of them at the end goes."""
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


def begin(capture: Capture, *, storm_limit: int = 0, alive_ns: int = MINUTES) -> LoadedPrograms:
    capture.current.start(threads=False, storm_limit=storm_limit, alive_ns=alive_ns)
    return capture.current


def fork(times: int) -> list[int]:
    pids = []
    for _ in range(times):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        pids.append(pid)
    return pids


def children(probe: LoadedPrograms, *parents: int | None) -> list[int]:
    """The pids of these processes' forks (of this one's own) in the ring, in the order of their making; all are taken out."""
    found = []
    while raw := probe.forks.read(4096):
        wanted = parents or (os.getpid(),)
        for record in map(ForkRecord._make, FORK.iter_unpack(raw)):
            parent = ParentContextRecord._make(PARENT_CONTEXT.unpack(record.parent_context))
            if parent.parent_tid in wanted:
                found.append((record.time, record.child_tid))
    probe.forks.publish(probe.forks.cursor)
    return [pid for _, pid in sorted(found)]


def test_what_was_forked_while_nobody_was_there_lies_in_the_ring(open_pinned: Open) -> None:
    first = open_pinned()
    begin(first)
    before = fork(23)
    first.close(keep=True)
    between = fork(700)
    second = open_pinned()
    assert second.taken_over
    assert second.current.stream == first.current.stream
    assert children(second.current) == before + between
    assert sum(row.processes for row in second.current.snapshot().counters.values()) >= 723


def test_taking_over_compiles_nothing(open_pinned: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(open_pinned())
    open_pinned.opened[0].close(keep=True)  # type: ignore[attr-defined]
    monkeypatch.setattr(subprocess, "Popen", None)
    assert open_pinned().taken_over


def test_a_clean_end_leaves_nothing_behind(open_pinned: Open, pins: Path) -> None:
    capture = open_pinned()
    begin(capture)
    assert (pins / "dispatch/link-sched_process_fork").exists()
    capture.close(keep=False)
    assert not pins.exists()


def test_two_agents_do_not_share_pins(open_pinned: Open) -> None:
    open_pinned()
    with pytest.raises(PinsTaken, match="another agent"):
        open_pinned()


def test_a_folder_that_is_in_no_bpf_file_system_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(CannotPin, match="mount -t bpf"):
        Pins(tmp_path / "pins")
    here = hierarchy()
    capture = open_capture(1 << 20, here.number, here.controller, tmp_path / "pins")
    try:
        assert capture.unpinned is not None
        assert "mount -t bpf" in capture.unpinned
        begin(capture)
        assert children(capture.current) == fork(23) or children(capture.current)
    finally:
        capture.close(keep=False)


def forking(out: Path, stop: object) -> None:
    """A process of its own that forks until it is told to stop, and writes down each pid."""
    with out.open("w") as book:
        while not stop.is_set():  # type: ignore[attr-defined]
            for pid in fork(50):
                book.write(f"{pid}\n")
        book.flush()


def test_each_fork_is_seen_once_while_probe_after_probe_is_put_in_charge(
    open_pinned: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = multiprocessing.get_context("spawn")  # a fork of this process would hold the pins' lock, too
    stop = alone.Event()
    workers = [alone.Process(target=forking, args=(tmp_path / str(number), stop)) for number in range(2)]
    first = open_pinned(16 << 20)
    begin(first)
    for worker in workers:
        worker.start()
    seen: Counter[int] = Counter()
    streams = set()
    capture = first
    for turn in range(8):
        time.sleep(0.2)
        capture.close(keep=True)
        monkeypatch.setattr("agent.kernel.capture.compute_fingerprint", lambda _options, turn=turn: f"{turn:016x}")
        capture = open_pinned(16 << 20)
        assert not capture.taken_over
        streams.add(capture.current.stream)
        if turn == 7:
            stop.set()
            for worker in workers:
                worker.join()
        else:
            time.sleep(0.1)
        for former in list(capture.former):
            seen.update(children(former, *(worker.pid for worker in workers)))
            capture.retire(former)
        begin(capture)
    seen.update(children(capture.current, *(worker.pid for worker in workers)))
    assert len(streams) == 8
    for number, worker in enumerate(workers):
        assert worker.exitcode == 0
        made = [int(line) for line in (tmp_path / str(number)).read_text().split()]
        assert len(made) > 100
        assert not Counter(made) - seen, "forks that no probe saw"
    assert sum(seen.values()) == sum(len((tmp_path / str(number)).read_text().split()) for number in range(2))


def test_a_probe_whose_history_nobody_knows_is_put_out_of_charge_and_can_be_read_to_its_end(open_pinned: Open) -> None:
    first = open_pinned()
    begin(first)
    made = fork(23)
    first.close(keep=True)
    second = open_pinned(known=set())
    assert not second.taken_over
    (former,) = second.former
    pending_by_cgroup = former.pending_by_cgroup()
    assert pending_by_cgroup.total() >= 23
    assert children(former)[:23] == made  # the one after these is the loader of its successor
    assert former.meta.stopped is not None
    more = fork(5)
    assert children(former) == []
    assert children(second.current) == more


def test_what_another_version_left_is_counted_by_its_positions(open_pinned: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_pinned()
    begin(first)
    fork(41)
    first.current.update_meta(layout=99)
    left = first.current.forks.backlog
    stream = first.current.stream
    first.close(keep=True)
    second = open_pinned()
    (unreadable,) = second.unreadable
    assert unreadable.stream == stream
    assert unreadable.forks >= left >= 41
    assert not second.former


def test_half_a_start_is_cleared_away(open_pinned: Open, pins: Path) -> None:
    first = open_pinned()
    begin(first)
    first.close(keep=True)
    (pins / "dispatch/link-task_newtask").unlink()
    (pins / "0123456789abcdef").mkdir()
    second = open_pinned()
    assert not second.taken_over
    begin(second)
    made = fork(23)
    assert children(second.current) == made
    assert "0123456789abcdef" not in {pin.name for pin in pins.iterdir()}


def test_an_orphan_only_counts_and_goes_on_when_somebody_comes(open_pinned: Open) -> None:
    probe = begin(open_pinned(), alive_ns=0)
    before = probe.snapshot()
    fork(97)
    alone = probe.snapshot()
    assert alone.orphaned - before.orphaned >= 97
    assert alone.counters == before.counters
    assert not children(probe)
    begin_again = probe.snapshot().orphaned
    probe.start(threads=False, storm_limit=0, alive_ns=MINUTES)
    made = fork(23)
    assert children(probe) == made
    probe.stop()
    after = probe.snapshot()
    assert after.orphaned - begin_again <= 2  # others may have forked between the two lines above
    counted = sum(row.processes + row.threads for row in after.counters.values())
    assert after.tasks_made >= counted + after.orphaned


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A directory of the chosen hierarchy, and whatever is made below it."""
    folder = hierarchy().root / f"forklore-test-{os.getpid()}"
    folder.mkdir()
    yield folder

    def gone() -> bool:
        for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
            inner.rmdir()
        folder.rmdir()
        return True

    def emptied() -> bool:
        return not any(path.read_text() for path in folder.rglob("cgroup.procs"))

    until(emptied, "the test's cgroups are empty")
    gone()


def fork_inside(folder: Path, times: int) -> None:
    """From a process that has moved there: it forks in the cgroup, not into it."""
    pid = os.fork()
    if pid == 0:
        (folder / "cgroup.procs").write_text(str(os.getpid()))
        fork(times)
        os._exit(0)
    os.waitpid(pid, 0)


def test_what_a_container_makes_below_itself_counts_for_the_container(open_pinned: Open, cgroup: Path) -> None:
    probe = begin(open_pinned())
    pod = cgroup.stat().st_ino
    assert probe.track(pod, pod, pod, is_pod=True)
    container = cgroup / "container"
    deeper = container / "made/by/itself"
    deeper.mkdir(parents=True)
    fork_inside(deeper, 23)
    rows = probe.snapshot().counters
    assert rows[container.stat().st_ino].processes == 23
    assert deeper.stat().st_ino not in rows
    raw = b"".join(iter(lambda: probe.forks.read(4096), b""))
    records = map(ForkRecord._make, FORK.iter_unpack(raw))
    inside = [record for record in records if record.counted_in == container.stat().st_ino]
    assert {record.cgroup for record in inside} == {deeper.stat().st_ino}  # the event has the cgroup that it was in
    assert len(inside) == 23


def test_above_its_limit_a_pod_is_only_counted_and_others_lose_nothing(open_pinned: Open, cgroup: Path) -> None:
    probe = begin(open_pinned(16 << 20), storm_limit=5)
    pods = []
    for name in ("stormy", "calm"):
        pod = cgroup / name
        (pod / "one").mkdir(parents=True)
        (pod / "two").mkdir()
        number = pod.stat().st_ino
        probe.track(number, number, number, is_pod=True)
        for container in ("one", "two"):
            probe.track((pod / container).stat().st_ino, (pod / container).stat().st_ino, number, is_pod=False)
        pods.append(pod)
    stormy, calm = pods
    for container in ("one", "two", "one"):  # the limit is the pod's, not a container's
        fork_inside(stormy / container, 40)
    fork_inside(calm / "one", 4)
    rows = probe.snapshot().counters
    made = [rows[(stormy / name).stat().st_ino] for name in ("one", "two")]
    assert sum(row.processes for row in made) == 120
    assert [row.processes for row in made] == [row.emitted + row.suppressed + row.lost for row in made]
    assert 5 <= sum(row.emitted for row in made) <= 10  # a second may turn before the limit is reached
    assert rows[(calm / "one").stat().st_ino].emitted == 4
    storms = probe.storms()
    assert stormy.stat().st_ino in storms
    assert calm.stat().st_ino not in storms


def test_a_full_tally_counts_the_rest_for_nobody_and_loses_no_count(
    open_pinned: Open, cgroup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("agent.kernel.programs", "agent.kernel.capture"):
        monkeypatch.setattr(f"{module}.MAX_CGROUPS", 16)
    probe = begin(open_pinned())
    before = probe.snapshot()
    for number in range(40):
        (cgroup / str(number)).mkdir()
        fork_inside(cgroup / str(number), 3)
    after = probe.snapshot()
    counted = [sum(row.processes + row.threads for row in seen.counters.values()) for seen in (before, after)]
    assert after.counters[OTHER].processes >= 3 * (40 - 16)
    assert counted[1] - counted[0] >= 40 * 4
    assert counted[1] <= after.tasks_made
