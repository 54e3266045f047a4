"""The reader's structs, compared with the text of the BPF programs: each field is where the C compiler puts it."""

import ctypes
import re
import sys
from pathlib import Path

import pytest

from agent import model
from agent.kernel import records

BPF = Path(__file__).parents[3] / "bpf"
SOURCE = "".join(file.read_text() for file in sorted([BPF / "fork.c", *BPF.glob("*.h")]))
NUMBERS = {name: int(value) for name, value in re.findall(r"^#define (\w+)\s+(\d+)\b", SOURCE, re.MULTILINE)}
PLAIN = {"u8": ctypes.c_uint8, "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64, "char": ctypes.c_ubyte}


def c_struct(name):
    """The struct, laid out by ctypes with the platform's rules for C."""
    body = re.search(rf"struct {name} {{\n(.*?)^}};", SOURCE, re.DOTALL | re.MULTILINE)[1]
    fields = []
    for declaration in re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL).split(";")[:-1]:
        kind, names = re.fullmatch(r"\s*((?:struct )?\w+) (.*?)\s*", declaration, re.DOTALL).groups()
        base = c_struct(kind.removeprefix("struct ")) if kind.startswith("struct ") else PLAIN[kind]
        for declared in names.split(","):
            plain, _, count = declared.strip().rstrip("]").partition("[")
            fields.append((plain, base * (NUMBERS.get(count) or int(count)) if count else base))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def leaves(value, path=""):
    """Every number in a struct: its path, its offset, its width."""
    for name, kind in value._fields_:
        offset = getattr(value, name).offset
        if issubclass(kind, ctypes.Structure):
            yield from ((f"{name}.{inner}", offset + at, size) for inner, at, size in leaves(kind))
        else:
            yield name, offset, ctypes.sizeof(kind)


def filled(name):
    """A record in which each byte is its offset (modulo 251), so that a field read from another offset has another value."""
    size = ctypes.sizeof(c_struct(name))
    return bytes(at % 251 for at in range(size))


def field(name, path):
    (found,) = [(at, size) for inner, at, size in leaves(c_struct(name)) if inner == path]
    data = filled(name)[found[0] : found[0] + found[1]]
    return data if path in {"chain", "comm", "parent_comm", "path"} else int.from_bytes(data, sys.byteorder)


@pytest.mark.parametrize(
    ("name", "struct", "slot"),
    [("fork_record", records.FORK, records.FORK_SLOT), ("cgroup_event", records.CGROUP_EVENT, records.CGROUP_EVENT_SLOT)],
)
def test_a_record_and_its_header_fill_a_slot_that_is_a_power_of_two(name, struct, slot):
    assert ctypes.sizeof(c_struct(name)) + records.RING_HEADER == struct.size == slot
    assert slot & (slot - 1) == 0


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("cgroup_counters", records.CGROUP_COUNTERS),
        ("cpu_counters", records.CPU_COUNTERS),
        ("config", records.CONFIG),
        ("tracked_cgroup", records.TRACKED_CGROUP),
        ("storm", records.STORM),
    ],
)
def test_a_map_value_has_the_size_of_the_c_struct(name, struct):
    assert ctypes.sizeof(c_struct(name)) == struct.size


@pytest.mark.parametrize(
    ("name", "counters"), [("cgroup_counters", records.CgroupCounters), ("cpu_counters", records.CpuCounters)]
)
def test_counters_have_the_names_and_the_order_of_the_c_struct(name, counters):
    assert counters._fields == tuple(inner for inner, _, _ in leaves(c_struct(name)))


def test_each_field_of_a_fork_is_read_from_its_offset():
    read = records.FORK.unpack(bytes(records.RING_HEADER) + filled("fork_record"))
    names = ["sequence", "time", "cgroup", "parent_cgroup"]
    names += [f"child.{one}" for one in ("tid", "ns_tid", "pid", "ns_pid", "start")]
    names += ["chain", "cpu", "levels", "kind", "counted_in"]
    assert list(read[:-1]) == [field("fork_record", name) for name in names]
    assert records.ForkRecord._fields == (*(name.replace(".", "_") for name in names), "parent_context")


def test_each_field_of_a_parent_context_is_read_from_its_offset():
    blob = records.FORK.unpack(bytes(records.RING_HEADER) + filled("fork_record"))[-1]
    in_task = ("tid", "ns_tid", "pid", "ns_pid", "start")
    tasks = [f"{who}.{one}" for who in ("parent", "parent_process", "leader") for one in in_task]
    names = [*tasks, "flags", "comm", "parent_comm", "uid", "gid"]
    names += [f"ns_{one}" for one in ("pid", "mnt", "net", "user", "uts", "ipc", "cgroup")]
    assert list(records.PARENT_CONTEXT.unpack(blob)) == [field("fork_record", name) for name in names]
    assert records.ParentContextRecord._fields == tuple(name.replace(".", "_") for name in names)


def test_each_field_of_a_cgroup_event_is_read_from_its_offset():
    read = records.CGROUP_EVENT.unpack(bytes(records.RING_HEADER) + filled("cgroup_event"))
    names = [name for name, _, _ in leaves(c_struct("cgroup_event")) if name != "unused"]
    assert list(read) == [field("cgroup_event", name) for name in names]


def test_constants_are_those_of_the_c_source():
    assert (NUMBERS["CHAIN"], NUMBERS["BELOW"], NUMBERS["PATH"]) == (records.CHAIN, records.CHAIN - 1, records.CGROUP_PATH)
    assert f"#define UNKNOWN_32 {records.UNKNOWN_32:#x}u" in SOURCE
    assert f"#define UNKNOWN_64 {records.UNKNOWN_64:#x}ull" in SOURCE
    kinds = re.findall(r"(\w+) = (\d+)", re.search(r"enum cgroup_event_kind \{(.*?)\}", SOURCE)[1])
    assert kinds == [(name, str(getattr(model, name))) for name in ("CREATED", "REMOVED", "ATTACHED")]
