"""The bpf() calls that the running agent needs, through libbpf by ctypes: a map's entries, a program's statistics.

They need neither LLVM nor BCC.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.kernel.libbpf import load_libbpf

__all__ = ["BpfMap", "ProgramStats", "array_map", "possible_cpus", "program_stats"]

_ARRAY = 2  # BPF_MAP_TYPE_ARRAY
_NOEXIST = 1  # BPF_NOEXIST


def possible_cpus() -> int:
    """How many values an entry of a per-CPU map has. Source: /sys/devices/system/cpu/possible, like `0-3` or `0,2-5`."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip()
    return int(text.replace(",", "-").split("-")[-1]) + 1


def array_map(name: str, value_size: int) -> int:
    """The descriptor of a new array of one value. Raises OSError."""
    descriptor: int = load_libbpf().bpf_map_create(_ARRAY, name.encode(), 4, value_size, 1, None)
    if descriptor < 0:
        raise OSError(-descriptor, f"cannot make a BPF map: {os.strerror(-descriptor)}")
    return descriptor


class BpfMap:
    """A map by its descriptor. Keys and values are bytes of the sizes given; errors are OSError with the kernel's errno."""

    def __init__(self, descriptor: int, key_size: int, value_size: int, max_entries: int) -> None:
        self.descriptor = descriptor
        self._lib = load_libbpf()
        self._key_size = key_size
        self._value_size = value_size
        self._max_entries = max_entries
        self._value = ctypes.create_string_buffer(value_size)

    def get(self, key: bytes) -> bytes | None:
        if self._lib.bpf_map_lookup_elem(self.descriptor, key, self._value) == 0:
            return self._value.raw
        if ctypes.get_errno() == errno.ENOENT:
            return None
        raise self._error("read")

    def put(self, key: bytes, value: bytes) -> None:
        if self._lib.bpf_map_update_elem(self.descriptor, key, value, 0) != 0:
            raise self._error("write to")

    def insert(self, key: bytes, value: bytes) -> bool:
        """False when there is an entry with this key already."""
        if self._lib.bpf_map_update_elem(self.descriptor, key, value, _NOEXIST) == 0:
            return True
        if ctypes.get_errno() == errno.EEXIST:
            return False
        raise self._error("write to")

    def remove(self, key: bytes) -> bool:
        """False when there was no such entry."""
        if self._lib.bpf_map_delete_elem(self.descriptor, key) == 0:
            return True
        if ctypes.get_errno() == errno.ENOENT:
            return False
        raise self._error("delete from")

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries of a hash, in batches of whole buckets: 0.3 us for an entry, against 6.8 by key."""
        size = min(self._max_entries, 1024)
        position = ctypes.create_string_buffer(8)
        previous = None
        while True:
            keys = ctypes.create_string_buffer(self._key_size * size)
            values = ctypes.create_string_buffer(self._value_size * size)
            count = ctypes.c_uint32(size)
            failed = self._lib.bpf_map_lookup_batch(
                self.descriptor, previous, position, keys, values, ctypes.byref(count), None
            )
            error = ctypes.get_errno() if failed else 0
            if error == errno.ENOSPC and size < self._max_entries:  # one bucket has more entries
                size = min(size * 2, self._max_entries)
                continue
            if error not in (0, errno.ENOENT):
                raise self._error("read")
            key_bytes, value_bytes = keys.raw, values.raw
            for at in range(count.value):
                yield (
                    key_bytes[at * self._key_size : (at + 1) * self._key_size],
                    value_bytes[at * self._value_size : (at + 1) * self._value_size],
                )
            if error == errno.ENOENT:  # the end
                return
            previous = position

    def _error(self, verb: str) -> OSError:
        number = ctypes.get_errno()
        return OSError(number, f"cannot {verb} a BPF map: {os.strerror(number)}")


class _ProgramInfo(ctypes.Structure):
    """The head of struct bpf_prog_info (include/uapi/linux/bpf.h), up to recursion_misses."""

    _fields_ = [
        ("_head", ctypes.c_uint8 * 192),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
        ("recursion_misses", ctypes.c_uint64),
    ]


class ProgramStats(NamedTuple):
    """`time_ns`, `runs`: 0 unless kernel.bpf_stats_enabled is 1. `misses`: how often the kernel skipped the program, because it
    was already running on that CPU; 0 before 5.12, which does not count them."""

    time_ns: int
    runs: int
    misses: int


def program_stats(program: int) -> ProgramStats:
    info = _ProgramInfo()
    length = ctypes.c_uint32(ctypes.sizeof(info))
    if load_libbpf().bpf_obj_get_info_by_fd(program, ctypes.byref(info), ctypes.byref(length)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot read a BPF program's info: {os.strerror(number)}")
    return ProgramStats(info.run_time_ns, info.run_cnt, info.recursion_misses)
