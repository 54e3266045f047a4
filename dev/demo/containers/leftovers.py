"""Removes the cgroup directories that our containers create: in every hierarchy, parents included.

runc removes a container's own directories, but not the parents that it created (/kubepods, the QoS level, the pod's). A real
kubelet's directories must never be removed, so the directories that did not exist before are recorded, in one file for the
whole machine, and only what is recorded is removed.

Other processes create and remove cgroups at any moment, so every directory here may vanish between two system calls.
"""

import contextlib
import errno
import fcntl
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

RECORD = Path("/run/forklore-demo.cgroups")  # /run is empty after a boot, and so are the hierarchies
KILL_TIMEOUT = 5.0  # seconds for the kernel to end killed processes, before their directory can be removed


def hierarchies() -> tuple[Path, ...]:
    """Where cgroup hierarchies are mounted, v1 and v2, in the order of /proc/self/mountinfo."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] in {"cgroup", "cgroup2"}:
            found.append(Path(before.split()[4]))
    return tuple(found)


def directories(cgroups_path: str) -> tuple[Path, ...]:
    """The directories that exist for this path, at most one for each hierarchy."""
    candidates = (mount / cgroups_path.lstrip("/") for mount in hierarchies())
    return tuple(directory for directory in candidates if directory.is_dir())


def walk(directory: Path) -> Iterator[Path]:
    """This directory and those below it, parents first. A directory that vanishes meanwhile is left out.

    Path.rglob() raises FileNotFoundError then; os.walk() ignores errors.
    """
    for path, _, _ in os.walk(directory):
        yield Path(path)


def processes(directory: Path) -> Iterator[int]:
    """The pids in this cgroup directory and below it."""
    for cgroup in walk(directory):
        with contextlib.suppress(OSError):  # it vanished meanwhile, or is a threaded cgroup
            yield from map(int, (cgroup / "cgroup.procs").read_text().split())


@contextlib.contextmanager
def recording_new_directories(cgroups_path: str, record: Path = RECORD) -> Iterator[None]:
    """Records which directories of this path do not exist yet. Inside the block no other process removes any of them."""
    with _locked(record, fcntl.LOCK_SH) as file:
        parts = Path(cgroups_path).parts[1:]
        missing = [
            str(directory)
            for mount in hierarchies()
            for depth in range(1, len(parts) + 1)
            if not (directory := mount.joinpath(*parts[:depth])).exists()
        ]
        if missing:  # in one append, because several containers start at once, and a short append is atomic
            os.write(file, "".join(f"{directory}\n" for directory in missing).encode())
        yield


def remove_below(pod_path: str, record: Path = RECORD) -> None:
    """Removes one pod's directories, as far as they are recorded and empty. Its parents stay, for other pods."""
    with _locked(record, fcntl.LOCK_EX) as file:
        recorded = _recorded(file)
        pods = [mount / pod_path.lstrip("/") for mount in hierarchies()]
        below = [directory for directory in recorded if any(directory.is_relative_to(pod) for pod in pods)]
        _rewrite(file, record, recorded - _remove_all(below))


def remove_recorded(record: Path = RECORD) -> tuple[Path, ...]:
    """Removes every recorded directory that is empty, deepest first; returns those that are still in use."""
    with _locked(record, fcntl.LOCK_EX) as file:
        recorded = _recorded(file)
        in_use = recorded - _remove_all(recorded)
        _rewrite(file, record, in_use)
        return tuple(sorted(in_use))


def kill_processes(cgroups_path: str) -> None:
    """Sends SIGKILL to every process in this path and below, in every hierarchy, until none is left or KILL_TIMEOUT is over."""
    deadline = time.monotonic() + KILL_TIMEOUT
    while time.monotonic() < deadline:
        pids = {pid for directory in directories(cgroups_path) for pid in processes(directory)}
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _remove_all(candidates: Iterable[Path]) -> set[Path]:
    """Removes empty directories; returns those that do not exist any more."""
    deadline = time.monotonic() + KILL_TIMEOUT
    return {directory for directory in sorted(candidates, reverse=True) if _remove(directory, deadline)}  # children first


def _remove(directory: Path, deadline: float) -> bool:
    """False when it is in use: the kernel refuses to remove a cgroup with a process or a child."""
    while True:
        try:
            directory.rmdir()
        except FileNotFoundError:
            return True
        except OSError as error:
            # A killed process leaves cgroup.procs some moments before its cgroup can be removed.
            if error.errno != errno.EBUSY or _is_in_use(directory) or time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def _is_in_use(directory: Path) -> bool:
    _, children, _ = next(os.walk(directory), (directory, [], []))
    return bool(children) or next(processes(directory), None) is not None


def _recorded(file: int) -> set[Path]:
    return {Path(line) for line in os.pread(file, os.fstat(file).st_size, 0).decode().splitlines()}


def _rewrite(file: int, record: Path, directories: set[Path]) -> None:
    if directories:
        text = "".join(f"{directory}\n" for directory in sorted(directories)).encode()
        os.ftruncate(file, 0)
        os.write(file, text)
    else:
        record.unlink()


@contextlib.contextmanager
def _locked(record: Path, mode: int) -> Iterator[int]:
    """The record, open and locked. If its previous holder removed it meanwhile, it is created again."""
    while True:
        file = os.open(record, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, mode)
            if _is_file_at(file, record):
                yield file
                return
        finally:
            os.close(file)


def _is_file_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
