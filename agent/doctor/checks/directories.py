"""Checks the cgroup hierarchy that the agent would choose, its state directory, and its journal."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from agent.attribution.hierarchy import Hierarchy, NoHierarchy, choose_hierarchy, has_pods, writable_mounts
from agent.doctor.check_result import CheckResult, fail, ok, skipped, warn
from agent.doctor.checks.locks import LockOwner, lock_owner
from agent.journal.errors import Corrupt, Unavailable
from agent.journal.file import File

__all__ = ["Candidate", "Cgroups", "StateDirectory", "judge_cgroups", "judge_state", "read_cgroups", "read_state"]

_SPARE: Final = 64 << 20  # bytes that should stay free beside the journals: the WAL, the ledger, a copy
_WHOLE: Final = "nothing for kind, k3d or minikube; to see the whole machine, run the agent on it"
JOURNAL: Final = "journal.sqlite3"


class Candidate(NamedTuple):
    """The hierarchy that the agent would choose if there were only this cgroup version."""

    hierarchy: Hierarchy
    has_pods: bool


@dataclass(frozen=True)
class Cgroups:
    """`chosen`: the hierarchy that the agent would take. `error`: why there is none. `writable`: mounts that the runtime left
    so below a read-only one."""

    chosen: Hierarchy | None
    v1: Candidate | None
    v2: Candidate | None
    error: str = ""
    writable: tuple[Path, ...] = ()


def read_cgroups(*, can_mount: bool) -> Cgroups:
    """`can_mount`: then a read-only mount holds nothing off."""
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    own = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape")
    lines = mountinfo.splitlines()
    try:
        chosen = choose_hierarchy(mountinfo, own)
    except NoHierarchy as error:
        return Cgroups(None, None, None, str(error))
    writable = () if can_mount else tuple(writable_mounts(mountinfo))
    return Cgroups(chosen, _choose(lines, "cgroup", own), _choose(lines, "cgroup2", own), writable=writable)


def _choose(mounts: Sequence[str], kind: str, own: str) -> Candidate | None:
    of_kind = [line for line in mounts if line.partition(" - ")[2].split(" ")[0] == kind]
    try:
        found = choose_hierarchy("\n".join(of_kind), own)
    except NoHierarchy:
        return None
    return Candidate(found, has_pods(found.root))


def judge_cgroups(cgroups: Cgroups) -> CheckResult:
    chosen, v1, v2 = cgroups.chosen, cgroups.v1, cgroups.v2
    if chosen is None:
        cure = "mount the node's /sys/fs/cgroup at /sys/fs/cgroup, read-only (a hostPath), whole and not a container's part"
        return fail("cgroups", cgroups.error, cure)
    name = f"v1 {chosen.controller}" if chosen.controller else "v2"
    if chosen.part:
        return warn("cgroups", f"{name} at {chosen.root}: this node is a container: forks outside it are not seen", _WHOLE)
    if not (v1 and v2):
        why = "there is no other hierarchy"
    elif not (v1.has_pods or v2.has_pods):
        why = "neither v1 nor v2 has pods; v1 goes first"
    elif v1.has_pods and v2.has_pods:
        why = "v1 and v2 both have the pods; v1 goes first"
    else:
        why = "it has the pods"
    if cgroups.writable:
        cure = "mount one hierarchy: agent.cgroups.hostPath of the chart: /sys/fs/cgroup/pids"
        return warn("cgroups", f"{name} at {chosen.root}: {why}; the agent can write into {cgroups.writable[0]}", cure)
    return ok("cgroups", f"{name} at {chosen.root}: {why}")


@dataclass(frozen=True)
class StateDirectory:
    """Sizes in bytes. `error`: why nothing can be written there. `may_grow`: how much larger the journals may get. `in_use_by`:
    the agent that has the journal open. `size`: None when there is no journal. `batches`: None when it was not read.
    `unreadable`, `damaged`: why it can't be opened."""

    folder: Path
    exists: bool
    error: str | None
    free: int
    may_grow: int
    in_use_by: LockOwner | None = None
    size: int | None = None
    batches: int | None = None
    unreadable: str | None = None
    damaged: str | None = None


def read_state(folder: Path, limits: Sequence[int]) -> StateDirectory:
    """`limits`: bytes that each sink's journal may have."""
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    write_error = _write_error(nearest)
    disk = os.statvfs(nearest)
    free, may_grow = disk.f_bavail * disk.f_frsize, sum(limits)
    if nearest != folder or not nearest.is_dir():
        return StateDirectory(folder, False, write_error, free, may_grow)
    journal = folder / JOURNAL
    try:
        size = journal.stat().st_size
        in_use_by = lock_owner(folder / "lock")
    except FileNotFoundError:
        return StateDirectory(folder, True, write_error, free, may_grow)
    except OSError as error:
        return StateDirectory(folder, True, write_error, free, may_grow, unreadable=error.strerror)
    may_grow = max(0, may_grow - size)
    if in_use_by or write_error:
        return StateDirectory(folder, True, write_error, free, may_grow, in_use_by, size)
    batches, unreadable, damaged = _read_journal(journal)
    return StateDirectory(folder, True, write_error, free, may_grow, in_use_by, size, batches, unreadable, damaged)


def _write_error(folder: Path) -> str | None:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".forklore-doctor-") as tried:
            tried.write(bytes(4096))
            tried.flush()
            os.fsync(tried.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return None


def _read_journal(journal: Path) -> tuple[int | None, str | None, str | None]:
    """Opens it as the next agent will: batches, why it is unreadable, why it is damaged."""
    file = None
    try:
        file = File(journal)
        return len(file.load().batches), None, None
    except Corrupt as error:
        return None, None, str(error)
    except Unavailable as error:
        return None, str(error), None
    finally:
        if file is not None:
            file.close()


def judge_state(state: StateDirectory) -> Iterator[CheckResult]:
    if state.error:
        cure = "make it writable for the agent's user (a hostPath or a volume that is not read-only), or set state_dir"
        yield fail("state directory", f"{state.folder}: {state.error}", cure)
    elif state.free < state.may_grow + _SPARE:
        text = f"{state.folder}: {_mebibytes(state.free)} free, and journals may grow by {_mebibytes(state.may_grow)}"
        yield warn("state directory", text, "free space on that disk, or lower sinks[].journal_bytes")
    else:
        note = "" if state.exists else "does not exist yet, can be created; "
        yield ok("state directory", f"{state.folder}: {note}{_mebibytes(state.free)} free")
    yield _journal(state)


def _journal(state: StateDirectory) -> CheckResult:
    if state.in_use_by:
        return ok("journal", f"{_mebibytes(state.size or 0)}, in use by {state.in_use_by}")
    if state.damaged:
        text = f"the journal {state.damaged}"
        return warn(
            "journal",
            text,
            "no action is needed: the agent moves it aside, starts a new one, and reports what was in it as gaps",
        )
    if state.unreadable:
        return fail("journal", state.unreadable, f"let the agent's user read and write {state.folder / JOURNAL}")
    if state.size is None:
        return ok("journal", "none yet")
    if state.batches is None:
        return skipped("journal", "can't be opened: see state directory")
    return ok("journal", f"{_mebibytes(state.size)}, {state.batches} batches queued")


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB" if size >= 10 << 20 else f"{size / (1 << 20):.1f} MiB"
