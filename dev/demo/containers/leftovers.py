"""The cgroup directories that our containers bring about, and their removal: in every hierarchy, parents included.

runc removes a container's own directories, not the parents that it made on the way (/kubepods, its QoS level, the pod's).
A real kubelet's must never be touched, so only what was not there before is recorded, in one file for the whole machine, and
only what is recorded is removed. Nothing here starts a container or speaks to runc.
"""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

RECORD = Path("/run/forklore-demo.cgroups")  # /run is empty after a boot, and so are the hierarchies
PATIENCE = 5.0  # seconds for the kernel to bury killed processes, before their directory can go


def hierarchies() -> tuple[Path, ...]:
    """Where cgroup hierarchies are mounted, v1 and v2, in the order of /proc/self/mountinfo."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] in {"cgroup", "cgroup2"}:
            found.append(Path(before.split()[4]))
    return tuple(found)


def directories(cgroups_path: str) -> tuple[Path, ...]:
    """The directories that exist for this path, one for each hierarchy that has it."""
    places = (mount / cgroups_path.lstrip("/") for mount in hierarchies())
    return tuple(place for place in places if place.is_dir())


@contextlib.contextmanager
def about_to_make(cgroups_path: str, record: Path = RECORD) -> Iterator[None]:
    """Records what of this path and its parents is not there yet; while inside, no sweep removes any of it."""
    with _locked(record, fcntl.LOCK_SH) as file:
        parts = Path(cgroups_path).parts[1:]
        missing = [
            str(place)
            for mount in hierarchies()
            for depth in range(1, len(parts) + 1)
            if not (place := mount.joinpath(*parts[:depth])).exists()
        ]
        if missing:  # one append for all: starts go on side by side, and a short append is whole
            os.write(file, "".join(f"{place}\n" for place in missing).encode())
        yield


def remove_below(pod_path: str, record: Path = RECORD) -> None:
    """Removes one pod's directories, as far as they are recorded and empty; its parents stay for the others."""
    with _locked(record, fcntl.LOCK_EX) as file:
        ours = _recorded(file)
        pods = [mount / pod_path.lstrip("/") for mount in hierarchies()]
        _rewrite(file, record, ours - _removed(place for place in ours if any(place.is_relative_to(pod) for pod in pods)))


def remove_recorded(record: Path = RECORD) -> tuple[Path, ...]:
    """Removes every recorded directory that is empty, deepest first; returns those that others still use."""
    with _locked(record, fcntl.LOCK_EX) as file:
        ours = _recorded(file)
        rest = ours - _removed(ours)
        _rewrite(file, record, rest)
        return tuple(sorted(rest))


def processes(place: Path) -> Iterator[int]:
    """The pids in this cgroup directory and below it."""
    for procs in [place / "cgroup.procs", *place.rglob("cgroup.procs")]:
        with contextlib.suppress(OSError):  # it went away meanwhile, or is a threaded cgroup
            yield from map(int, procs.read_text().split())


def kill_inside(cgroups_path: str) -> None:
    """SIGKILL to every process in this path and below, in every hierarchy, until none is left or PATIENCE is over."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        pids = {pid for place in directories(cgroups_path) for pid in processes(place)}
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _removed(places: Iterable[Path]) -> set[Path]:
    """Those of them that are gone now. A cgroup directory with a process or a child in it refuses."""
    gone = set()
    for place in sorted(places, reverse=True):  # children sort after their parents
        try:
            place.rmdir()
        except FileNotFoundError:
            gone.add(place)
        except OSError:
            continue
        else:
            gone.add(place)
    return gone


def _recorded(file: int) -> set[Path]:
    return {Path(line) for line in os.pread(file, os.fstat(file).st_size, 0).decode().splitlines()}


def _rewrite(file: int, record: Path, places: set[Path]) -> None:
    if places:
        text = "".join(f"{place}\n" for place in sorted(places)).encode()
        os.ftruncate(file, 0)
        os.write(file, text)
    else:
        record.unlink()


@contextlib.contextmanager
def _locked(record: Path, mode: int) -> Iterator[int]:
    """The record, open and locked. Whoever held it before may have removed it: then it is opened anew."""
    while True:
        file = os.open(record, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, mode)
            if record.exists() and os.path.samestat(os.fstat(file), record.stat()):
                yield file
                return
        finally:
            os.close(file)
