"""`sched_process_fork`."""

from __future__ import annotations

import re
from typing import Any, Final

from collector.http.quoting import quoted
from collector.ingest.attribution import attribution_of, host_of
from collector.ingest.fields import (
    Refused,
    amount,
    array,
    count,
    mapping,
    maybe_count,
    maybe_nanoseconds,
    maybe_text,
    one_of,
    text,
)
from collector.ingest.kinds.common import CPUS, ID, RANKS, enrichment, event_time, most_until
from collector.model import HOST, CheckedFork
from collector.model.fork_columns import pack
from wire.events import FORK
from wire.ids import parse_fork_id
from wire.limits import MAX_CGROUP_PATH

__all__ = ["check_fork"]

COUNTS: Final = (
    *(
        f"{task}_{part}"
        for task in ("parent", "child", "parent_process", "leader")
        for part in ("tid", "ns_tid", "pid", "ns_pid")
    ),
    "uid",
    "gid",
)
START_TIMES: Final = ("start_time", "parent_start_time", "leader_start_time", "parent_process_start_time")
NAMESPACES: Final = ("pid", "mnt", "net", "user", "uts", "ipc", "cgroup")
COMM: Final = 64  # characters: TASK_COMM_LEN is 16 bytes, a kernel worker's long name is 64
_ENTITY: Final = re.compile(r"[0-9a-f]{16}")


def check_fork(line: dict[str, Any]) -> CheckedFork:
    """A fork in the columns that it is stored in."""
    get = line.get
    try:
        stream, cpu, sequence = parse_fork_id(text(get("id"), "id", ID))
    except ValueError as error:
        raise Refused(f"id: {quoted(str(error))}") from None
    if cpu >= CPUS:
        raise Refused(f"id: {cpu} is not the number of a CPU")
    if sequence > 2**63 - 2:
        raise Refused(f"id: sequence {sequence} is over 63 bits")
    time = event_time(get("timestamp"), "timestamp")
    amount(sequence, "id: sequence", most_until(time))
    kind = one_of(get("kind"), "kind", ("process", "thread"))
    kept: dict[str, Any] = {"event": FORK, "id": line["id"], "timestamp": line["timestamp"], "kind": kind}
    for name in COUNTS:
        value = get(name)
        kept[name] = value if type(value) is int and 0 <= value < 2**32 else _small(value, name)
    start_time, parent_start_time = _start_times(line, kept)
    kept["comm"] = maybe_text(get("comm"), "comm", COMM)
    kept["parent_comm"] = maybe_text(get("parent_comm"), "parent_comm", COMM)
    chain = get("child_ns_pids")
    kept["child_ns_pids"] = [_small(pid, "child_ns_pids") for pid in array([] if chain is None else chain, "child_ns_pids", 32)]
    kept["child_ns_pids_truncated"] = get("child_ns_pids_truncated") is True
    inums = get("namespaces")
    inums = mapping({} if inums is None else inums, "namespaces", 32)
    kept["namespaces"] = {
        name: inum if type(inum := inums.get(name)) is int and 0 <= inum < 2**32 else _inum(inum, name) for name in NAMESPACES
    }
    flags = get("clone")
    kept["clone"] = None if flags is None else [text(flag, "clone", 32) for flag in array(flags, "clone", 64)]
    for name in ("process_entity_id", "parent_entity_id"):
        kept[name] = _entity(get(name), name)
    kept["parent_cgroup"] = _cgroup(get("parent_cgroup"), "parent_cgroup")
    kept["enrichment"] = enriched = enrichment(get("enrichment"))
    attribution = attribution_of(line)
    is_host = enriched["state"] == "host" or attribution.cgroup is None
    return CheckedFork(
        stream,
        cpu,
        sequence,
        HOST if is_host else attribution.cgroup or 0,
        attribution,
        RANKS[enriched["state"]] + attribution.has_container_name,
        time,
        pack(kept, time, start_time, parent_start_time),
        host_of(line) if enriched["by"] == "attach" else None,
    )


def _start_times(line: dict[str, Any], kept: dict[str, Any]) -> tuple[int | None, int | None]:
    """Checks the tasks' start times and keeps them as they were sent; gives those of child and parent in ns."""
    start, parent_start, leader, process = times = tuple(map(line.get, START_TIMES))
    kept.update(zip(START_TIMES, times, strict=True))
    if leader != start:  # else it is checked with it
        maybe_nanoseconds(leader, "leader_start_time")
    if process != parent_start:
        maybe_nanoseconds(process, "parent_process_start_time")
    return maybe_nanoseconds(start, "start_time"), maybe_nanoseconds(parent_start, "parent_start_time")


def _inum(value: object, name: str) -> int | None:
    return maybe_count(value, f"namespaces.{name}")


def _small(value: object, name: str) -> int | None:
    """A pid, a uid: 32 bits, or unknown."""
    if value is None or (type(value) is int and 0 <= value < 2**32):
        return value
    raise Refused(f"{name}: {quoted(value)} is not a whole number of 32 bits")


def _entity(value: object, name: str) -> str | None:
    if value is None or (type(value) is str and _ENTITY.fullmatch(value)):
        return value
    raise Refused(f"{name}: {quoted(value)} is not 16 hex digits")


def _cgroup(value: object, name: str) -> dict[str, Any] | None:
    if value is None:
        return None
    cgroup = mapping(value, name, 16)
    return {
        "id": count(cgroup.get("id"), f"{name}.id"),
        "path": maybe_text(cgroup.get("path"), f"{name}.path", MAX_CGROUP_PATH),
    }
