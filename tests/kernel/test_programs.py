"""The BPF programs on this machine's kernel: their counts and their records, compared with /proc."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.attribution.fork_decoder import clone_names
from agent.kernel.clock import WallClock, separation
from agent.kernel.programs import LoadedPrograms
from agent.model import ATTACHED, CREATED, REMOVED, Attribution, Fork
from tests.agent.fakes import FakeAttributions, an_enricher

from .conftest import hierarchy, remove_cgroups
from .forks import fork_one, make_forks

pytestmark = pytest.mark.kernel

Load = Callable[..., LoadedPrograms]
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE, IO_URING_SETUP = 56, 425  # x86-64 and, for io_uring, everywhere


def read_forks(programs: LoadedPrograms) -> list[Fork]:
    """All forks in the ring, decoded."""

    def attribution(cgroup: int) -> Attribution:
        return Attribution(cgroup, None, "host", None)

    enricher = an_enricher(FakeAttributions(attribution), clock=WallClock(separation()), wait_ns=0)
    forks: list[Fork] = []
    while raw := programs.forks.read(4096):
        forks += enricher.enrich(raw, 0)
    programs.forks.publish(programs.forks.cursor)
    return forks


def own_forks(programs: LoadedPrograms) -> list[Fork]:
    return [fork for fork in read_forks(programs) if fork.parent_context.parent.pid == os.getpid()]


def test_every_task_that_proc_stat_counts_is_counted(load_programs: Load) -> None:
    programs = load_programs()
    make_forks(997)
    for _ in range(101):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    programs.stop()
    seen = programs.snapshot()
    assert programs.meta.stopped is not None
    least, most = programs.meta.stopped[0] - programs.meta.attached[1], programs.meta.stopped[1] - programs.meta.attached[0]
    counted = sum(one.processes + one.threads for one in seen.counters.values())
    assert least <= seen.tasks_made <= most
    assert counted <= seen.tasks_made
    assert counted >= 997 + 101


def test_a_worker_of_io_uring_is_not_counted_as_a_fork(load_programs: Load) -> None:
    programs = load_programs()
    parameters = (ctypes.c_uint32 * 30)()
    parameters[2] = 2  # IORING_SETUP_SQPOLL: the kernel starts a thread of its own at once
    ring = LIBC.syscall(IO_URING_SETUP, 4, parameters)
    if ring < 0:
        pytest.skip(f"no io_uring here: {os.strerror(ctypes.get_errno())}")
    os.close(ring)
    programs.stop()
    seen = programs.snapshot()
    counted = sum(one.processes + one.threads for one in seen.counters.values())
    assert seen.tasks_made - counted >= 1
    assert programs.meta.stopped is not None
    least, most = programs.meta.stopped[0] - programs.meta.attached[1], programs.meta.stopped[1] - programs.meta.attached[0]
    assert least <= seen.tasks_made <= most


def test_a_fork_has_the_values_of_proc_for_both_tasks(load_programs: Load) -> None:
    programs = load_programs()
    before = time.time_ns()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(read, 1)
        os._exit(0)
    after = time.time_ns()
    ticks = {pid: int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]) for pid in (child, os.getpid())}
    os.write(write, b"x")
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)

    fork = next(fork for fork in own_forks(programs) if fork.child.pid == child)
    assert fork.child[:4] == (child, child, child, child)
    assert fork.parent_context.parent[:4] == (os.getpid(),) * 4
    assert fork.parent_context.parent_process[:4] == (os.getpid(),) * 4
    assert fork.parent_context.leader is None
    assert (fork.parent_context.uid, fork.parent_context.gid) == (os.geteuid(), os.getegid())
    assert fork.parent_context.comm == fork.parent_context.parent_comm == Path("/proc/self/comm").read_text().rstrip("\n")
    names = ("pid", "mnt", "net", "user", "uts", "ipc", "cgroup")
    assert fork.parent_context.namespaces == tuple(Path(f"/proc/self/ns/{name}").stat().st_ino for name in names)
    assert fork.chain == (child,)
    # The fork's time is between two readings of the clock; starts are those of /proc, in ticks of 10 ms.
    assert before <= fork.time <= after
    assert fork.child.start is not None and before <= fork.child.start <= fork.time
    offset = separation()
    for task, pid in ((fork.child, child), (fork.parent_context.parent_process, os.getpid())):
        assert task.start is not None and (task.start - offset) // 10**7 == ticks[pid]


def test_a_thread_names_its_leader_and_its_process(load_programs: Load) -> None:
    programs = load_programs(threads=True)
    ids: list[int] = []
    thread = threading.Thread(target=lambda: ids.append(threading.get_native_id()))
    thread.start()
    thread.join()
    fork = next(fork for fork in own_forks(programs) if fork.child.tid == ids[0])
    assert fork.thread
    assert fork.child.pid == os.getpid()
    assert fork.parent_context.leader is not None
    assert fork.parent_context.leader[:4] == (os.getpid(),) * 4
    assert fork.parent_context.parent_process.pid == os.getppid()
    assert fork.parent_context.clone is not None and {"THREAD", "VM", "SIGHAND"} <= set(fork.parent_context.clone)
    assert fork.child.entity == fork.parent_context.leader.entity


def test_threads_are_counted_and_are_sent_only_when_asked_for(load_programs: Load) -> None:
    programs = load_programs()
    for _ in range(23):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    assert not [fork for fork in own_forks(programs) if fork.thread]
    counters = programs.snapshot().counters.values()
    assert sum(one.threads for one in counters) >= 23
    assert sum(one.filtered for one in counters) == sum(one.threads for one in counters)


def test_clone_flags_arrive_by_name(load_programs: Load) -> None:
    programs = load_programs()
    flags = 0x04000000 | 0x20000000 | 0x08000000  # NEWUTS, NEWPID, NEWIPC
    child = LIBC.syscall(CLONE, flags | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        LIBC._exit(0)
    os.waitpid(child, 0)
    vforked = subprocess.Popen(["/bin/true"], close_fds=True)  # CPython uses vfork for this
    vforked.wait()
    by_child = {fork.child.pid: fork for fork in own_forks(programs)}
    assert by_child[child].parent_context.clone == ("NEWUTS", "NEWIPC", "NEWPID")
    assert by_child[child].child.ns_pid == 1
    assert by_child[child].chain == (child, 1)
    # glibc adds the third from 2.38 on.
    assert {"VM", "VFORK"} <= set(by_child[vforked.pid].parent_context.clone or ()) <= {"VM", "VFORK", "CLEAR_SIGHAND"}
    assert clone_names(0xFFFFFFFFFFFFFFFF) is None


def test_credentials_are_the_effective_ones(load_programs: Load) -> None:
    programs = load_programs()
    parent = os.fork()
    if parent == 0:
        os.setegid(54321)
        os.seteuid(12345)
        fork_one()
        os._exit(0)
    os.waitpid(parent, 0)
    fork = next(fork for fork in read_forks(programs) if fork.parent_context.parent.pid == parent)
    assert (fork.parent_context.uid, fork.parent_context.gid) == (12345, 54321)


def test_a_comm_has_no_rest_of_a_longer_one_before_it(load_programs: Load) -> None:
    programs = load_programs()
    before = Path("/proc/self/comm").read_bytes()
    try:
        for name in (b"a-long-name-123", b"ab"):
            Path("/proc/self/comm").write_bytes(name)
        child = fork_one()
    finally:
        Path("/proc/self/comm").write_bytes(before.rstrip(b"\n"))
    assert next(fork for fork in own_forks(programs) if fork.child.pid == child).parent_context.comm == "ab"


def test_forks_that_a_full_ring_lost_are_counted_exactly(load_programs: Load) -> None:
    programs = load_programs(64 << 10)  # 256 records
    make_forks(700)
    programs.stop()
    snapshot = programs.snapshot()
    emitted = sum(one.emitted for one in snapshot.counters.values())
    lost = sum(one.lost for one in snapshot.counters.values())
    numbers: dict[int, set[int]] = {}
    forks = read_forks(programs)
    for fork in forks:
        numbers.setdefault(fork.cpu, set()).add(fork.sequence)
    assert emitted == len(forks) == 255  # the kernel keeps a ring from filling to the last byte
    assert lost >= 700 - 255
    # The missing numbers, including those at the end, are the lost forks.
    assert sum(cpu.sequence for cpu in snapshot.cpus) - sum(map(len, numbers.values())) == lost


def test_every_fork_is_read_once_while_the_ring_wraps_many_times(load_programs: Load) -> None:
    programs = load_programs(64 << 10)
    pids, seen = [], []
    for _ in range(24):
        pids += make_forks(53)  # well below 255: others fork, too
        seen += [fork.child.pid for fork in own_forks(programs)]
    assert seen == pids


def test_nothing_is_counted_after_the_stop(load_programs: Load) -> None:
    programs = load_programs()
    programs.stop()
    before = programs.snapshot().counters
    make_forks(23)
    assert programs.snapshot().counters == before
    assert not read_forks(programs)


def test_a_cgroup_emits_events_of_its_creation_its_attached_tasks_and_its_removal(load_programs: Load) -> None:
    programs = load_programs()
    folder = hierarchy().root / f"forklore-test-{os.getpid()}"
    folder.mkdir()
    try:
        number = folder.stat().st_ino
        sleeper = subprocess.Popen(["/bin/sleep", "60"])
        (folder / "cgroup.procs").write_text(str(sleeper.pid))
        assert programs.snapshot().counters[number].entered == 1
        sleeper.kill()
        sleeper.wait()
    finally:
        remove_cgroups(folder)
    events = [event for event in programs.cgroup_events() if event.cgroup == number]
    assert [event.kind for event in events] == [CREATED, ATTACHED, REMOVED]
    assert {event.path.decode() for event in events} == {f"/{folder.name}"}
    assert events[1].tid == sleeper.pid


def test_the_counters_of_a_cgroup_can_be_removed(load_programs: Load) -> None:
    programs = load_programs()
    fork_one()
    cgroup = next(key for key, counters in programs.snapshot().counters.items() if counters.processes)
    programs.delete_counters(cgroup)
    assert cgroup not in programs.snapshot().counters


def test_the_compiler_is_gone_when_the_programs_are_loaded(load_programs: Load) -> None:
    # Where the ring's query were no query, the verifier would refuse it: bpf_ringbuf_output takes no NULL.
    assert load_programs().meta.shares_ring
    assert "LLVM" not in Path("/proc/self/maps").read_text()
    children: list[Any] = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    for child in children:
        assert "loader" not in Path(f"/proc/{child}/cmdline").read_text()


# Stands before the real one: a BCC that has no method `ringbuf_output`, or rewrites it in another way.
OTHER_BCC = """
import importlib, sys
sys.path.remove({here!r})
del sys.modules["bcc"]
real = importlib.import_module("bcc")
class BPF(real.BPF):
    def __init__(self, *, text, cflags):
        super().__init__(text=text.replace(b"ringbuf_output(none", b"ringbuf_unknown(none"), cflags=cflags)
real.BPF = BPF
"""


def test_a_bcc_that_cannot_compile_the_rings_query_captures_without_sharing_the_ring(
    load_programs: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bcc.py").write_text(OTHER_BCC.format(here=str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    programs = load_programs(storm_limit=1_000_000)
    assert not programs.meta.shares_ring
    assert "this BCC can't ask how full the ring is" in caplog.text
    pids = make_forks(23)
    assert [fork.child.pid for fork in own_forks(programs)] == pids
