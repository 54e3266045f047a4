"""A second count of new tasks, which shares nothing with the probe: perf's own counter of `task:task_newtask`, all CPUs.

What /proc/stat has and neither of the two counted called no tracepoint at all. Must not live here: the probe.
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from agent.kernel.probe import forks_since_boot

__all__ = ["Witness"]

_PERF_EVENT_OPEN: Final = {"x86_64": 298, "aarch64": 241}
_TRACEPOINT: Final = 2  # PERF_TYPE_TRACEPOINT
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """struct perf_event_attr (include/uapi/linux/perf_event.h), as of its first version: 64 bytes."""

    _fields_ = (
        ("type", ctypes.c_uint32), ("size", ctypes.c_uint32), ("config", ctypes.c_uint64), ("period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64), ("read_format", ctypes.c_uint64), ("flags", ctypes.c_uint64),
        ("wakeup", ctypes.c_uint32), ("breakpoint", ctypes.c_uint32), ("config1", ctypes.c_uint64),
    )  # fmt: skip


class Witness:
    """From its making on. Raises OSError when there is no perf here."""

    def __init__(self) -> None:
        number = _number_of("task/task_newtask")
        attributes = _Attributes(type=_TRACEPOINT, size=ctypes.sizeof(_Attributes), config=number)
        self._counters = [self._open(attributes, cpu) for cpu in range(os.cpu_count() or 1)]
        self._before = self._read()
        self._begun = forks_since_boot()

    @staticmethod
    def _open(attributes: _Attributes, cpu: int) -> int:
        counter = _LIBC.syscall(_PERF_EVENT_OPEN[platform.machine()], ctypes.byref(attributes), -1, cpu, -1, 0)
        if counter < 0:
            raise OSError(ctypes.get_errno(), f"perf_event_open: {os.strerror(ctypes.get_errno())}")
        return int(counter)

    def _read(self) -> int:
        return sum(int.from_bytes(os.read(counter, 8), "little") for counter in self._counters)

    def unseen(self) -> int:
        """Tasks of /proc/stat that called no tracepoint so far, at least."""
        made = forks_since_boot() - self._begun
        return max(0, made - (self._read() - self._before))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for counter in self._counters:
            os.close(counter)


def _number_of(event: str) -> int:
    """Its id. tracefs is mounted for as long as that takes, in a place of its own."""
    with tempfile.TemporaryDirectory(prefix="forklore-tracefs-") as folder:
        subprocess.run(["mount", "-t", "tracefs", "tracefs", folder], check=True)
        try:
            return int((Path(folder) / "events" / event / "id").read_text())
        finally:
            subprocess.run(["umount", folder], check=True)
