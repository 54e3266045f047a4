"""Maps, programs and links pinned in a BPF file system, by name, so that capture outlives the agent.

    <folder>/dispatch/          what is attached: slots, base, hook-<tracepoint>, link-<tracepoint>
    <folder>/<instance id>/     a program instance: map-*, meta

An object that is unlinked here is detached or freed when its last descriptor is closed.
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

__all__ = [
    "ATTRIBUTIONS_PIN_1",
    "BPF_FS",
    "COUNTERS_PIN_1",
    "DISPATCH",
    "MAP_PINS",
    "CannotPin",
    "Pins",
    "PinsTaken",
    "instance_ids",
    "open_pins",
]

DISPATCH: Final = "dispatch"
# The maps of fork.c, and the names of their pins. Never change a pin's name: an upgraded agent opens what the version before
# it has pinned.
MAP_PINS: Final = {
    "config": "map-config",
    "forks": "map-forks",
    "cgroup_events": "map-changes",
    "cpu_counters": "map-cpus",
    "storms": "map-storms",
    "over_budget": "map-budgets",
    "tracked": "map-tracked",
    "pod_counters": "map-pod-counters",
    "host_counters": "map-host-counters",
    "attach_windows": "map-attach-windows",
}
# Layout 1 had one map of counters for all cgroups, and one of attributions, with an entry for each cgroup inside a pod.
COUNTERS_PIN_1: Final = "map-tally"
ATTRIBUTIONS_PIN_1: Final = "map-subjects"
BPF_FS: Final = Path("/sys/fs/bpf")  # where systemd mounts it
_INSTANCE_ID: Final = re.compile(r"[0-9a-f]{16}")
_MOUNT_FLAGS: Final = 2 | 4 | 8  # MS_NOSUID | MS_NODEV | MS_NOEXEC, as systemd mounts it


class CannotPin(Exception):
    """Nothing can be pinned in this folder; capture works without pins. The text is one line: why."""


class PinsTaken(Exception):
    """Another agent uses these pins."""


class Pins:
    """`folder`: in a BPF file system; created if needed, and locked until `close`. Raises CannotPin, PinsTaken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            if not _is_bpffs(folder) and BPF_FS in folder.parents and not BPF_FS.is_mount():
                _mount()
            if not _is_bpffs(folder):
                raise CannotPin(f"{folder} is not in a BPF file system: mount one there (mount -t bpf bpf {BPF_FS})")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CannotPin(f"{folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise PinsTaken(f"another agent captures with the pins in {folder}: one agent per node") from None

    def close(self) -> None:
        """Releases the lock. What is pinned stays."""
        os.close(self._lock)

    def instance_ids(self) -> list[str]:
        """The instances that have pins here, complete or not."""
        return instance_ids(self.folder)

    def put(self, group: str, descriptors: Mapping[str, int]) -> None:
        """`group`: DISPATCH or an instance's id. After a crash the next agent removes an incomplete group. Raises OSError."""
        folder = self.folder / group
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, descriptor in descriptors.items():
            if load_libbpf().bpf_obj_pin(descriptor, os.fsencode(folder / name)) < 0:
                raise _error(f"cannot pin {folder / name}")

    def get(self, group: str) -> dict[str, int]:
        """New descriptors, by name; empty when there is no such group. Raises OSError."""
        return open_pins(self.folder / group)

    def remove(self, group: str) -> None:
        """Unlinks links first: no program may run while its maps are being removed."""
        folder = self.folder / group
        if folder.is_dir():
            for pin in sorted(folder.iterdir(), key=lambda pin: (not pin.name.startswith("link-"), pin)):
                pin.unlink(missing_ok=True)
            folder.rmdir()

    def remove_all(self) -> list[str]:
        """Detaches everything that is pinned here, and removes the folder. Returns the groups that were there."""
        groups = [DISPATCH, *self.instance_ids()]
        found = [group for group in groups if (self.folder / group).is_dir()]
        for group in groups:
            self.remove(group)
        with contextlib.suppress(OSError):  # a pod has it mounted, or it has other files
            self.folder.rmdir()
        return found


def instance_ids(folder: Path) -> list[str]:
    """The instances that have pins in the folder, complete or not. Raises OSError."""
    return sorted(entry.name for entry in folder.iterdir() if _INSTANCE_ID.fullmatch(entry.name))


def open_pins(folder: Path) -> dict[str, int]:
    """New descriptors of what is pinned in the folder, by name; empty when there is no such folder. Raises OSError."""
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
    """By the mount point that the folder, or the part of it that exists, is in."""
    mount_point, kind = Path("/"), ""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(" ")
        where = Path(fields[4].replace("\\040", " "))
        # Of several mounts on one folder the last one is visible.
        if (where == folder or where in folder.parents) and len(where.parts) >= len(mount_point.parts):
            mount_point, kind = where, fields[fields.index("-") + 1]
    return kind == "bpf"


def _mount() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(BPF_FS), b"bpf", _MOUNT_FLAGS, b"mode=700") != 0:
        number = ctypes.get_errno()
        raise CannotPin(f"no BPF file system is mounted at {BPF_FS}, and it cannot be mounted: {os.strerror(number)}")


def _error(text: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{text}: {os.strerror(number)}")
