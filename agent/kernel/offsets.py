"""Offsets in the running kernel's structures, read from its BTF by libbpf.

The source of every `-D OFF_...` that bpf/fork.c is compiled with. It takes 35 ms, in the loader's process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass

from agent.kernel.libbpf import load_libbpf

__all__ = ["Btf", "BtfMissing", "offset_flags"]

_STRUCT, _UNION, _ENUM = 4, 5, 6  # include/uapi/linux/btf.h

# (struct, member, its names in other kernels). The macro keeps the first name.
MEMBERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("task_struct", "pid", ()),
    ("task_struct", "tgid", ()),
    ("task_struct", "start_boottime", ("real_start_time",)),
    ("task_struct", "thread_pid", ()),
    ("task_struct", "group_leader", ()),
    ("task_struct", "real_parent", ()),
    ("task_struct", "comm", ()),
    ("task_struct", "cred", ()),
    ("task_struct", "nsproxy", ()),
    ("task_struct", "cgroups", ()),
    ("pid", "level", ()),
    ("pid", "numbers", ()),
    ("upid", "nr", ()),
    ("upid", "ns", ()),
    ("cred", "euid", ()),
    ("cred", "egid", ()),
    ("cred", "user_ns", ()),
    ("nsproxy", "mnt_ns", ()),
    ("nsproxy", "net_ns", ()),
    ("nsproxy", "uts_ns", ()),
    ("nsproxy", "ipc_ns", ()),
    ("nsproxy", "cgroup_ns", ()),
    # Each namespace struct has its ns_common at another offset.
    ("pid_namespace", "ns", ()),
    ("mnt_namespace", "ns", ()),
    ("net", "ns", ()),
    ("user_namespace", "ns", ()),
    ("uts_namespace", "ns", ()),
    ("ipc_namespace", "ns", ()),
    ("cgroup_namespace", "ns", ()),
    ("ns_common", "inum", ()),
    ("css_set", "dfl_cgrp", ()),
    ("css_set", "subsys", ()),
    ("cgroup_subsys_state", "cgroup", ()),
    ("cgroup", "kn", ()),
    ("cgroup", "root", ()),
    ("cgroup", "level", ()),
    ("cgroup_root", "hierarchy_id", ()),
    ("kernfs_node", "id", ()),
    ("kernfs_node", "parent", ("__parent",)),
    ("kernfs_node", "name", ()),
)
SIZES = ("upid",)


class BtfMissing(Exception):
    """The kernel has no BTF, or its BTF lacks something that fork.c needs. The text says what."""


class _Type(ctypes.Structure):
    _fields_ = [("name_off", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size_or_type", ctypes.c_uint32)]


class _Member(ctypes.Structure):
    _fields_ = [("name_off", ctypes.c_uint32), ("type", ctypes.c_uint32), ("offset", ctypes.c_uint32)]


class _Enumerator(ctypes.Structure):
    _fields_ = [("name_off", ctypes.c_uint32), ("value", ctypes.c_int32)]


@dataclass(frozen=True)
class Btf:
    """The running kernel's type information. `libbpf` is the library that reads it."""

    libbpf: ctypes.CDLL
    handle: int

    @classmethod
    def of_running_kernel(cls) -> Btf:
        """Raises BtfMissing when the kernel has none (CONFIG_DEBUG_INFO_BTF); OSError when there is no libbpf."""
        lib = load_libbpf()
        handle = lib.btf__load_vmlinux_btf()
        # Up to libbpf 0.8 an error is a pointer in the last page; from 1.0 on it is NULL.
        if not handle or handle >= 2**64 - 4096:
            raise BtfMissing("the kernel has no BTF (/sys/kernel/btf/vmlinux)")
        return cls(lib, handle)

    def offset(self, struct: str, *names: str) -> int:
        """Bytes from the struct's start to the first of `names` that it has, through anonymous members. Raises BtfMissing."""
        found = dict(self._members(self._find(struct, _STRUCT), 0))
        for name in names:
            if name in found:
                return found[name]
        raise BtfMissing(f"the kernel's BTF has no struct {struct}.{names[0]}")

    def size(self, struct: str) -> int:
        """Bytes. Raises BtfMissing."""
        return int(self._type(self._find(struct, _STRUCT)).size_or_type)

    def enumerator(self, enum: str, name: str) -> int:
        """The enumerator's value. Raises BtfMissing."""
        address = self.libbpf.btf__type_by_id(self.handle, self._find(enum, _ENUM))
        count = _Type.from_address(address).info & 0xFFFF
        for at in range(count):
            one = _Enumerator.from_address(address + ctypes.sizeof(_Type) + at * ctypes.sizeof(_Enumerator))
            if self._name(one.name_off) == name:
                return int(one.value)
        raise BtfMissing(f"the kernel's {enum} has no {name}")

    def _find(self, name: str, kind: int) -> int:
        found = int(self.libbpf.btf__find_by_name_kind(self.handle, name.encode(), kind))
        if found < 0:
            raise BtfMissing(f"the kernel's BTF has no {name}")
        return found

    def _type(self, number: int) -> _Type:
        return _Type.from_address(self.libbpf.btf__type_by_id(self.handle, number))

    def _name(self, offset: int) -> str:
        return str(self.libbpf.btf__name_by_offset(self.handle, offset).decode())

    def _members(self, number: int, base: int) -> Iterator[tuple[str, int]]:
        address = self.libbpf.btf__type_by_id(self.handle, number)
        info = _Type.from_address(address).info
        for at in range(info & 0xFFFF):
            member = _Member.from_address(address + ctypes.sizeof(_Type) + at * ctypes.sizeof(_Member))
            bits = member.offset & 0xFFFFFF if info >> 31 else member.offset  # kind_flag: the top byte is a bit field's width
            name = self._name(member.name_off)
            if name:
                yield name, base + bits // 8
            elif (self._type(member.type).info >> 24) & 0x1F in (_STRUCT, _UNION):
                yield from self._members(member.type, base + bits // 8)


def offset_flags(btf: Btf) -> list[str]:
    """The compiler's `-D` flags for bpf/fork.c. Raises BtfMissing for the first thing that is missing."""
    flags = [f"-DOFF_{struct}__{name}={btf.offset(struct, name, *older)}" for struct, name, older in MEMBERS]
    flags.append(_ancestors_flag(btf))
    return flags + [f"-DSIZE_{struct}={btf.size(struct)}" for struct in SIZES]


def _ancestors_flag(btf: Btf) -> str:
    """Since 6.1 a cgroup has pointers to its ancestors, before their ids. bpf/read.h reads both, by which macro is there."""
    try:
        return f"-DOFF_cgroup__ancestors={btf.offset('cgroup', 'ancestors')}"
    except BtfMissing:
        return f"-DOFF_cgroup__ancestor_ids={btf.offset('cgroup', 'ancestor_ids')}"
