"""Checks the BPF file system and the program instances that are pinned in `capture.pin`; removes them.

Objects are found by their pin path, because listing BPF objects needs CAP_SYS_ADMIN.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from agent.doctor.check_result import CheckResult, ok, skipped, warn
from agent.doctor.checks.locks import LockOwner, lock_owner
from agent.kernel.capture import read_unreadable
from agent.kernel.clock import separation
from agent.kernel.pins import BPF_FS, DISPATCH, Pins, instance_ids, open_pins
from agent.kernel.programs import LoadedPrograms

__all__ = ["Pinned", "PinnedInstance", "describe", "judge_pinned", "read_pinned", "remove_pinned"]

_MAGIC: Final = 0xCAFE4A11  # BPF_FS_MAGIC
_TRIAL: Final = "forklore-doctor"  # a folder's name; it is removed at once
CLEAN: Final = "forklore doctor --clean"


@dataclass(frozen=True)
class PinnedInstance:
    """A pinned instance of the BPF programs. `loaded_at`: wall time, seconds. `current`: this version with these settings would
    load the same programs; None: not known.

    `sends_events`: False when no agent has been alive for some minutes; then it only counts. `pending`: forks in its ring.
    `orphaned`: forks that it has only counted so far. `error`: why it can't be read.
    """

    instance_id: str
    loaded_at: float = 0.0
    current: bool | None = None
    sends_events: bool = False
    pending: int | None = None
    orphaned: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Pinned:
    """`default_mounted`: something is mounted at /sys/fs/bpf. `can_mount`: the agent may mount there. `error`: why nothing can
    be pinned. `dispatcher`: the tracepoints' dispatch programs are pinned."""

    folder: Path
    is_bpffs: bool
    default_mounted: bool
    can_mount: bool
    error: str | None
    lock_owner: LockOwner | None = None
    dispatcher: bool = False
    instances: tuple[PinnedInstance, ...] = ()


def read_pinned(folder: Path, fingerprint: str | None, *, can_mount: bool) -> Pinned:
    """`fingerprint`: of the programs that this version would load; None: not known."""
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    if not _is_bpffs(nearest):
        return Pinned(folder, False, BPF_FS.is_mount(), can_mount, None)
    write_error = _write_error(nearest)
    if nearest != folder:
        return Pinned(folder, True, True, can_mount, write_error)
    try:
        return Pinned(
            folder, True, True, can_mount, write_error, lock_owner(folder), (folder / DISPATCH).is_dir(),
            tuple(_read_instance(folder / instance_id, fingerprint) for instance_id in instance_ids(folder)),
        )  # fmt: skip
    except OSError as error:
        return Pinned(folder, True, True, can_mount, error.strerror or str(error))


def _is_bpffs(folder: Path) -> bool:
    """statfs(2): the type is the first word on every 64-bit machine."""
    answer = (ctypes.c_long * 32)()
    return ctypes.CDLL(None).statfs(os.fsencode(folder), answer) == 0 and answer[0] & 0xFFFFFFFF == _MAGIC


def _write_error(folder: Path) -> str | None:
    """Found by trying: an LSM may forbid what the mode allows."""
    trial = folder / f"{_TRIAL}-{os.getpid()}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _read_instance(folder: Path, fingerprint: str | None) -> PinnedInstance:
    try:
        descriptors = open_pins(folder)
    except OSError as error:
        return PinnedInstance(folder.name, error=error.strerror)
    try:
        programs = LoadedPrograms(descriptors, None, lambda: 0)
    except ValueError as error:
        unreadable = read_unreadable(descriptors)
        for descriptor in descriptors.values():
            os.close(descriptor)
        return PinnedInstance(folder.name, pending=unreadable.forks if unreadable else None, error=str(error))
    try:
        now, meta = time.clock_gettime_ns(time.CLOCK_BOOTTIME), programs.meta
        return PinnedInstance(
            folder.name,
            (meta.loaded_ns + separation()) / 1e9,
            None if fingerprint is None else meta.fingerprint == fingerprint,
            meta.stopped is None and now < programs.alive_until,
            programs.forks.backlog,
            sum(cpu.orphaned for cpu in programs.cpu_counters()),
        )
    finally:
        programs.close()


def judge_pinned(pinned: Pinned) -> Iterator[CheckResult]:
    yield _file_system(pinned)
    if not pinned.is_bpffs:
        yield skipped("pins", "nothing can be pinned")
    elif pinned.lock_owner:
        what = "; ".join(map(describe, pinned.instances)) or "nothing is pinned yet"
        yield ok("pins", f"in use by an agent, {pinned.lock_owner}: {what}")
    elif pinned.instances or pinned.dispatcher:
        what = "; ".join(map(describe, pinned.instances)) or "dispatch programs without an instance"
        cure = f"start an agent, which takes them over and sends what they hold; or remove them: {CLEAN}"
        yield warn("pins", f"no agent uses what is pinned in {pinned.folder}: {what}", cure)
    else:
        yield ok("pins", f"none in {pinned.folder}")


def _file_system(pinned: Pinned) -> CheckResult:
    consequence = "capture will end with the agent, and a restart will miss forks"
    if not pinned.is_bpffs:
        if not pinned.default_mounted and pinned.can_mount and BPF_FS in pinned.folder.parents:
            return ok("BPF file system", f"not mounted at {BPF_FS}; the agent mounts it at its start")
        cure = (
            f"mount -t bpf bpf {BPF_FS} on the node, and mount the folder into the pod; capture.pin: null if that is intended"
        )
        return warn("BPF file system", f"{pinned.folder} is not in a BPF file system: {consequence}", cure)
    if pinned.error:
        cure = "let the agent's user write there; in a pod mount it elsewhere: AppArmor forbids containers to write below /sys"
        return warn("BPF file system", f"{pinned.folder}: {pinned.error}: {consequence}", cure)
    return ok("BPF file system", f"{pinned.folder} can be written")


def describe(instance: PinnedInstance) -> str:
    if instance.error:
        pending = "" if instance.pending is None else f"; {instance.pending:,} forks in its ring"
        return f"program instance {instance.instance_id}, which can't be read ({instance.error}){pending}"
    since = datetime.fromtimestamp(instance.loaded_at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    version = {True: " of this version", False: " of another version or other settings", None: ""}[instance.current]
    mode = "sends events" if instance.sends_events else "only counts"
    orphaned = f", {instance.orphaned:,} counted without an agent" if instance.orphaned else ""
    return f"program instance{version}, loaded {since}, {mode}; {instance.pending:,} forks in its ring{orphaned}"


def remove_pinned(folder: Path) -> list[str]:
    """Removes everything that is pinned there, and returns the groups' names. Raises PinsTaken, CannotPin, OSError."""
    pins = Pins(folder)
    try:
        return pins.remove_all()
    finally:
        pins.close()
