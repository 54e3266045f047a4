"""Where capture outlives the agent: maps, programs and links pinned in a BPF file system, by name.

    <folder>/dispatch/     what is attached: slots, base, hook-<tracepoint>, link-<tracepoint>
    <folder>/<epoch>/      a probe: map-*, program-*, meta

Whatever is unlinked here is detached or freed as soon as nobody holds its descriptor either. Must not live here: what the maps
mean, and when something is pinned.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.kernel.libbpf import load_libbpf

__all__ = ["DISPATCH", "MAP_PINS", "STANDARD", "CannotPin", "Pins", "PinsTaken", "instance_ids", "opened"]

DISPATCH: Final = "dispatch"
# The maps of fork.c, and the names of their pins. Never change a pin's name: an upgraded agent opens what the version before
# it has pinned.
MAP_PINS: Final = {
    "config": "map-config",
    "forks": "map-forks",
    "cgroup_events": "map-changes",
    "cgroup_counters": "map-tally",
    "cpu_counters": "map-cpus",
    "cgroup_attributions": "map-subjects",
    "storms": "map-storms",
}
STANDARD: Final = Path("/sys/fs/bpf")  # where every distribution with systemd has it mounted
_EPOCH: Final = re.compile(r"[0-9a-f]{16}")
_MOUNT_FLAGS: Final = 2 | 4 | 8  # MS_NOSUID | MS_NODEV | MS_NOEXEC, as systemd mounts it


class CannotPin(Exception):
    """Nothing can be pinned there; capture goes on without. The text is one line: why."""


class PinsTaken(Exception):
    """Another agent is at work with these pins."""


class Pins:
    """`folder`: in a BPF file system, made if it is not there; held by a lock for life. Raises CannotPin, PinsTaken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            if not _is_bpffs(folder) and STANDARD in folder.parents and not STANDARD.is_mount():
                _mount()
            if not _is_bpffs(folder):
                raise CannotPin(f"{folder} is not in a BPF file system: mount one there (mount -t bpf bpf {STANDARD})")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CannotPin(f"{folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise PinsTaken(f"another agent captures with the pins in {folder}: one agent a node") from None

    def close(self) -> None:
        """Lets go of the lock. What is pinned stays."""
        os.close(self._lock)

    def instance_ids(self) -> list[str]:
        """The epochs that have pins here, whole or not."""
        return instance_ids(self.folder)

    def put(self, group: str, descriptors: Mapping[str, int]) -> None:
        """Raises OSError. A group that is half there after a crash is completed or removed by the next agent."""
        folder = self.folder / group
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, descriptor in descriptors.items():
            if load_libbpf().bpf_obj_pin(descriptor, os.fsencode(folder / name)) < 0:
                raise _error(f"cannot pin {folder / name}")

    def get(self, group: str) -> dict[str, int]:
        """Descriptors by name, new ones; empty when there is no such group. Raises OSError."""
        return opened(self.folder / group)

    def remove(self, group: str) -> None:
        """Links first: nothing may run into maps that are on their way out."""
        folder = self.folder / group
        if folder.is_dir():
            for pin in sorted(folder.iterdir(), key=lambda pin: (not pin.name.startswith("link-"), pin)):
                pin.unlink(missing_ok=True)
            folder.rmdir()

    def remove_all(self) -> list[str]:
        """Detaches whatever is pinned here, and takes the folder away. Returns the groups that were there."""
        groups = [DISPATCH, *self.instance_ids()]
        found = [group for group in groups if (self.folder / group).is_dir()]
        for group in groups:
            self.remove(group)
        with contextlib.suppress(OSError):  # a pod has it mounted, or somebody put something of their own there
            self.folder.rmdir()
        return found


def instance_ids(folder: Path) -> list[str]:
    """The epochs that have pins in it, whole or not. Raises OSError."""
    return sorted(entry.name for entry in folder.iterdir() if _EPOCH.fullmatch(entry.name))


def opened(folder: Path) -> dict[str, int]:
    """New descriptors of what is pinned in it, by name; empty when there is no such folder. Raises OSError."""
    found: dict[str, int] = {}
    try:
        for pin in sorted(folder.iterdir()) if folder.is_dir() else ():
            descriptor = load_libbpf().bpf_obj_get(os.fsencode(pin))
            if descriptor < 0:
                raise _error(f"cannot open {pin}")
            found[pin.name] = descriptor
    except OSError:
        for descriptor in found.values():
            os.close(descriptor)
        raise
    return found


def _is_bpffs(folder: Path) -> bool:
    """By the mount that the folder, or the part of it that exists, lies in."""
    lies_in, kind = Path("/"), ""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(" ")
        where = Path(fields[4].replace("\\040", " "))
        # The last one that is mounted over a place is the one that is seen.
        if (where == folder or where in folder.parents) and len(where.parts) >= len(lies_in.parts):
            lies_in, kind = where, fields[fields.index("-") + 1]
    return kind == "bpf"


def _mount() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(STANDARD), b"bpf", _MOUNT_FLAGS, b"mode=700") != 0:
        number = ctypes.get_errno()
        raise CannotPin(f"no BPF file system is mounted at {STANDARD}, and it can't be mounted: {os.strerror(number)}")


def _error(text: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{text}: {os.strerror(number)}")
