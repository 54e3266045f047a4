"""The BPF file system, and what is pinned in `capture.pin`: an agent's at work, or left behind; its removal.

By pin path, for to list BPF objects wants CAP_SYS_ADMIN. Must not live here: what pins mean (kernel).
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

from agent.doctor.check_result import Finding, ok, skipped, warn
from agent.doctor.checks.locks import Holder, holder
from agent.kernel.capture import left_in
from agent.kernel.clock import separation
from agent.kernel.pins import DISPATCH, STANDARD, Pins, instance_ids, opened
from agent.kernel.programs import LoadedPrograms

__all__ = ["Left", "Pinned", "clean", "in_words", "judge_pinned", "read_pinned"]

_MAGIC: Final = 0xCAFE4A11  # BPF_FS_MAGIC
_TRIED: Final = "forklore-doctor"
CLEAN: Final = "forklore doctor --clean"


@dataclass(frozen=True)
class Left:
    """A pinned probe. `made`: wall time, seconds. `same`: as this version and these settings make it; None: not known.

    `telling`: it sends events, until nobody was alive for some minutes, and then it only counts. `lying`: forks in its ring;
    `orphaned`: counted while nobody was there, all in all. `trouble`: why it can't be read.
    """

    epoch: str
    made: float = 0.0
    same: bool | None = None
    telling: bool = False
    pending: int | None = None
    orphaned: int = 0
    trouble: str | None = None


@dataclass(frozen=True)
class Pinned:
    """`standard`: something is mounted at the usual place; `can_mount`: the agent may. `trouble`: why nothing can be pinned.
    `dispatcher`: hooks are attached."""

    folder: Path
    is_bpffs: bool
    standard: bool
    can_mount: bool
    trouble: str | None
    holder: Holder | None = None
    dispatcher: bool = False
    probes: tuple[Left, ...] = ()


def read_pinned(folder: Path, fingerprint: str | None, *, can_mount: bool) -> Pinned:
    """`fingerprint`: of the probe that this version would make, None: not known."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not _is_bpffs(there):
        return Pinned(folder, False, STANDARD.is_mount(), can_mount, None)
    trouble = _trouble(there)
    if there != folder:
        return Pinned(folder, True, True, can_mount, trouble)
    try:
        return Pinned(
            folder, True, True, can_mount, trouble, holder(folder), (folder / DISPATCH).is_dir(),
            tuple(_left(folder / epoch, fingerprint) for epoch in instance_ids(folder)),
        )  # fmt: skip
    except OSError as error:
        return Pinned(folder, True, True, can_mount, error.strerror or str(error))


def _is_bpffs(folder: Path) -> bool:
    """statfs(2): the type is the first word on every 64-bit machine."""
    answer = (ctypes.c_long * 32)()
    return ctypes.CDLL(None).statfs(os.fsencode(folder), answer) == 0 and answer[0] & 0xFFFFFFFF == _MAGIC


def _trouble(folder: Path) -> str | None:
    """By trying: an LSM may forbid what modes allow."""
    tried = folder / f"{_TRIED}-{os.getpid()}"
    try:
        tried.mkdir()
        tried.rmdir()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _left(folder: Path, fingerprint: str | None) -> Left:
    try:
        descriptors = opened(folder)
    except OSError as error:
        return Left(folder.name, trouble=error.strerror)
    try:
        probe = LoadedPrograms(descriptors, None, lambda: 0)
    except ValueError as error:
        unreadable = left_in(descriptors)
        for descriptor in descriptors.values():
            os.close(descriptor)
        return Left(folder.name, pending=unreadable.forks if unreadable else None, trouble=str(error))
    try:
        now, meta = time.clock_gettime_ns(time.CLOCK_BOOTTIME), probe.meta
        return Left(
            folder.name,
            (meta.made + separation()) / 1e9,
            None if fingerprint is None else meta.fingerprint == fingerprint,
            meta.stopped is None and now < probe.alive_until,
            probe.forks.backlog,
            sum(cpu.orphaned for cpu in probe.cpus()),
        )
    finally:
        probe.close()


def judge_pinned(pinned: Pinned) -> Iterator[Finding]:
    yield _file_system(pinned)
    if not pinned.is_bpffs:
        yield skipped("pins", "there can be none")
    elif pinned.holder:
        what = "; ".join(map(in_words, pinned.probes)) or "nothing is pinned yet"
        yield ok("pins", f"in use by an agent, {pinned.holder}: {what}")
    elif pinned.probes or pinned.dispatcher:
        what = "; ".join(map(in_words, pinned.probes)) or "hooks without a probe"
        cure = f"start an agent, which takes them over and tells what they hold; or remove them: {CLEAN}"
        yield warn("pins", f"left behind in {pinned.folder}, no agent has them: {what}", cure)
    else:
        yield ok("pins", f"none in {pinned.folder}")


def _file_system(pinned: Pinned) -> Finding:
    misses = "capture would end with the agent, and a restart miss forks"
    if not pinned.is_bpffs:
        if not pinned.standard and pinned.can_mount and STANDARD in pinned.folder.parents:
            return ok("BPF file system", f"not mounted at {STANDARD}; the agent mounts it at its start")
        cure = (
            f"mount -t bpf bpf {STANDARD} on the node, and mount the folder into the pod; capture.pin: null if it is so wanted"
        )
        return warn("BPF file system", f"{pinned.folder} is in none: {misses}", cure)
    if pinned.trouble:
        cure = "let the agent's user write there; in a pod mount it elsewhere: AppArmor lets no container write below /sys"
        return warn("BPF file system", f"{pinned.folder}: {pinned.trouble}: {misses}", cure)
    return ok("BPF file system", f"{pinned.folder} can be written")


def in_words(left: Left) -> str:
    if left.trouble:
        pending = "" if left.pending is None else f"; {left.pending:,} forks lie in its ring"
        return f"the probe {left.epoch}, which can't be read ({left.trouble}){pending}"
    since = datetime.fromtimestamp(left.made, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    version = {True: " of this version", False: " of another version or other settings", None: ""}[left.same]
    telling = "tells" if left.telling else "only counts"
    orphaned = f", {left.orphaned:,} were counted while nobody was there" if left.orphaned else ""
    return f"a probe{version} since {since}, {telling}; {left.pending:,} forks lie in its ring{orphaned}"


def clean(folder: Path) -> list[str]:
    """Takes it all away; the groups that went. Raises PinsTaken, CannotPin, OSError."""
    pins = Pins(folder)
    try:
        return pins.remove_all()
    finally:
        pins.close()
