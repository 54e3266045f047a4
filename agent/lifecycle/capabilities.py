"""Linux capabilities: reads them, finds out which are needed, and drops the others for good.

They belong to threads, not to a process: each running thread drops its own, and a new thread inherits those of the thread that
creates it. Man pages: capabilities(7); PR_CAPBSET_DROP and PR_SET_NO_NEW_PRIVS in prctl(2).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Attempt", "Privileges", "drop_except", "needed", "of_process", "privileges"]

# include/uapi/linux/capability.h, in the order of their numbers.
NAMES: Final = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
    "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
    "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip

_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_VERSION_3: Final = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two 32-bit words per set
_SETS: Final = {
    "effective": "CapEff",
    "permitted": "CapPrm",
    "inheritable": "CapInh",
    "bounding": "CapBnd",
    "ambient": "CapAmb",
}

Attempt = Callable[[], object]


class Privileges(NamedTuple):
    """Capabilities by name, without `CAP_`. `bounding`: what an executed program can gain at most; with `no_new_privs` it gains
    nothing."""

    effective: frozenset[str]
    permitted: frozenset[str]
    inheritable: frozenset[str]
    bounding: frozenset[str]
    ambient: frozenset[str]
    no_new_privs: bool

    def in_words(self) -> dict[str, list[str] | bool]:
        """For the ledger."""
        return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in self._asdict().items()}


def privileges(status: str) -> Privileges:
    """`status`: the text of /proc/<pid>/status, or of /proc/<pid>/task/<tid>/status."""
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    sets = {name: _names(int(lines.get(key, "0"), 16)) for name, key in _SETS.items()}
    return Privileges(**sets, no_new_privs=lines.get("NoNewPrivs") == "1")


def of_process() -> Privileges:
    """The union over all threads of this process."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            found.append(privileges((task / "status").read_text(encoding="ascii", errors="replace")))
    sets = {name: frozenset[str]().union(*(getattr(one, name) for one in found)) for name in _SETS}
    return Privileges(**sets, no_new_privs=all(one.no_new_privs for one in found))


def needed(attempts: Iterable[tuple[str, Attempt]]) -> frozenset[str]:
    """The capabilities without which an attempt is refused, found by trying. Leaves only them effective, in this thread.

    `attempts`: a capability, and an action that may fail without it. An OSError other than PermissionError is no refusal.
    """
    permitted = privileges(Path("/proc/thread-self/status").read_text(encoding="ascii", errors="replace")).permitted
    kept: set[str] = set()
    for name, attempt in attempts:
        _set(kept, permitted)
        if name in permitted and not _works(attempt):
            _set({*kept, name}, permitted)
            if _works(attempt):
                kept.add(name)
    _set(kept, permitted)
    return frozenset(kept)


def drop_except(keep: Collection[str]) -> None:
    """Drops all but `keep` for this thread, for threads that it creates and for programs that it executes. Raises OSError."""
    permitted = privileges(Path("/proc/thread-self/status").read_text(encoding="ascii", errors="replace")).permitted
    libc = _libc()
    if "SETPCAP" in permitted:  # otherwise the bounding set stays; no_new_privs below makes it irrelevant
        _set(permitted, permitted)
        for number in range(64):
            if _name(number) not in keep and libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
                break  # the kernel has no capability of a higher number
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    left = permitted.intersection(keep)
    _set(left, left)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _error("no_new_privs")


def _works(attempt: Attempt) -> bool:
    try:
        attempt()
    except PermissionError:
        return False
    except OSError:
        return True
    return True


class _Head(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Word(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def _set(effective: Collection[str], permitted: Collection[str]) -> None:
    """Sets this thread's capabilities; none is inheritable. Raises OSError."""
    words = (_Word * 2)()
    for index in range(2):
        shift = 32 * index
        words[index] = _Word(_bits(effective) >> shift & 0xFFFFFFFF, _bits(permitted) >> shift & 0xFFFFFFFF, 0)
    if _libc().capset(ctypes.byref(_Head(_VERSION_3, 0)), words) != 0:
        raise _error("capset")


def _name(number: int) -> str:
    return NAMES[number] if number < len(NAMES) else str(number)


def _names(bits: int) -> frozenset[str]:
    return frozenset(_name(number) for number in range(64) if bits >> number & 1)


def _bits(names: Iterable[str]) -> int:
    return sum(1 << (NAMES.index(name) if name in NAMES else int(name)) for name in names)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
