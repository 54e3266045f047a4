"""Where the agent reads and writes: the cgroup hierarchy it would choose, its state directory, its journal.

Must not live here: the BPF file system (leftovers).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.attribution.cgroups import Hierarchy, NoHierarchy, choose_hierarchy, has_pods
from agent.doctor.check_result import Finding, fail, ok, skipped, warn
from agent.doctor.checks.locks import Holder, holder
from agent.journal.file import File
from agent.journal.folder import Away, Damaged

__all__ = ["Cgroups", "State", "judge_cgroups", "judge_state", "read_cgroups", "read_state"]

_SPARE: Final = 64 << 20  # bytes that should be free beside what journals may grow to: the WAL, the ledger, a copy
JOURNAL: Final = "journal.sqlite3"


@dataclass(frozen=True)
class Cgroups:
    """`chosen`: what the agent would take. `v1`, `v2`: the best of each kind, and whether it has the pods. `trouble`: why there
    is none."""

    chosen: Hierarchy | None
    v1: tuple[Hierarchy, bool] | None
    v2: tuple[Hierarchy, bool] | None
    trouble: str = ""


def read_cgroups() -> Cgroups:
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    own = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape")
    lines = mountinfo.splitlines()
    try:
        chosen = choose_hierarchy(mountinfo, own)
    except NoHierarchy as error:
        return Cgroups(None, None, None, str(error))
    return Cgroups(chosen, _best(lines, "cgroup", own), _best(lines, "cgroup2", own))


def _best(mounts: Sequence[str], kind: str, own: str) -> tuple[Hierarchy, bool] | None:
    of_kind = [line for line in mounts if line.partition(" - ")[2].split(" ")[0] == kind]
    try:
        found = choose_hierarchy("\n".join(of_kind), own)
    except NoHierarchy:
        return None
    return found, has_pods(found.root)


def judge_cgroups(cgroups: Cgroups) -> Finding:
    chosen, v1, v2 = cgroups.chosen, cgroups.v1, cgroups.v2
    if chosen is None:
        cure = "mount the node's /sys/fs/cgroup at /sys/fs/cgroup, read-only (a hostPath), whole and not a container's part"
        return fail("cgroups", cgroups.trouble, cure)
    name = f"v1 {chosen.controller}" if chosen.controller else "v2"
    if not (v1 and v2):
        why = "there is no other"
    elif (v1[1], v2[1]) == (False, False):
        why = "no pods are in v2, nor here; v1 goes first"
    elif v1[1] == v2[1]:
        why = "the pods are in both; v1 goes first"
    else:
        why = "the pods are here"
    return ok("cgroups", f"{name} at {chosen.root}: {why}")


@dataclass(frozen=True)
class State:
    """`made`: the folder is there. `trouble`: why nothing can be written. `wanted`: bytes that journals may grow by. `taken`:
    the agent that has the journal. `journal`: batches in it; None: none is there, or it can't be told; `away`, `damaged`: why
    it can't be opened."""

    folder: Path
    made: bool
    trouble: str | None
    free: int
    wanted: int
    taken: Holder | None = None
    size: int | None = None
    batches: int | None = None
    away: str | None = None
    damaged: str | None = None


def read_state(folder: Path, limits: Sequence[int]) -> State:
    """`limits`: bytes that each sink's journal may have."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    trouble = _trouble(there)
    disk = os.statvfs(there)
    free, wanted = disk.f_bavail * disk.f_frsize, sum(limits)
    if there != folder or not there.is_dir():
        return State(folder, False, trouble, free, wanted)
    journal = folder / JOURNAL
    try:
        size = journal.stat().st_size
        taken = holder(folder / "lock")
    except FileNotFoundError:
        return State(folder, True, trouble, free, wanted)
    except OSError as error:
        return State(folder, True, trouble, free, wanted, away=error.strerror)
    wanted = max(0, wanted - size)
    if taken or trouble:
        return State(folder, True, trouble, free, wanted, taken, size)
    batches, away, damaged = _opened(journal)
    return State(folder, True, trouble, free, wanted, taken, size, batches, away, damaged)


def _trouble(folder: Path) -> str | None:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".forklore-doctor-") as tried:
            tried.write(bytes(4096))
            tried.flush()
            os.fsync(tried.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return None


def _opened(journal: Path) -> tuple[int | None, str | None, str | None]:
    """As the next agent will."""
    file = None
    try:
        file = File(journal)
        return len(file.load().batches), None, None
    except Damaged as error:
        return None, None, str(error)
    except Away as error:
        return None, str(error), None
    finally:
        if file is not None:
            file.close()


def judge_state(state: State) -> Iterator[Finding]:
    if state.trouble:
        cure = "make it writable for the agent's user (a hostPath or a volume that is not read-only), or set state_dir"
        yield fail("state directory", f"{state.folder}: {state.trouble}", cure)
    elif state.free < state.wanted + _SPARE:
        text = f"{state.folder}: {_mib(state.free)} free, and journals may grow by {_mib(state.wanted)}"
        yield warn("state directory", text, "make room on that disk, or lower sinks[].journal_bytes")
    else:
        there = "" if state.made else "is not there yet, can be made; "
        yield ok("state directory", f"{state.folder}: {there}{_mib(state.free)} free")
    yield _journal(state)


def _journal(state: State) -> Finding:
    if state.taken:
        return ok("journal", f"{_mib(state.size or 0)}, in use by {state.taken}")
    if state.damaged:
        text = f"the journal {state.damaged}"
        return warn(
            "journal", text, "none is needed: the agent moves it aside, begins anew, and tells what went with it as gaps"
        )
    if state.away:
        return fail("journal", state.away, f"let the agent's user read and write {state.folder / JOURNAL}")
    if state.size is None:
        return ok("journal", "none yet")
    if state.batches is None:
        return skipped("journal", "can't be opened: see state directory")
    return ok("journal", f"{_mib(state.size)}, {state.batches} batches wait")


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB" if size >= 10 << 20 else f"{size / (1 << 20):.1f} MiB"
