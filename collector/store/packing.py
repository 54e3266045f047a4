"""A fork's event <-> the columns that it is kept in, losing nothing.

What most forks have in common goes by rule: a process's numbers are its first thread's, its pid namespaces are the host's and
the pod's, its times have nine digits. What breaks a rule is kept as it was sent, in `rest`, which overrides the rules. Pure.
Must not live here: SQL, whose a fork is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from collector.fields import nanoseconds
from collector.views.times import stamp
from wire.events import FORK
from wire.ids import fork_id

__all__ = ["Packed", "packed", "unpacked"]

_CONTEXT: Final = ("uid", "gid", "namespaces", "clone", "parent_cgroup", "enrichment", "child_ns_pids_truncated")
_LONG: Final = 30  # characters of a time with all its nanoseconds
_UNSAID: Final = object()


class Packed(NamedTuple):
    """The columns of the same names in the table `fork`. `age`: ns from the task's start to its event. `parent_start`: ns since
    1970. `context`: JSON of what many forks share. `rest`: JSON of what breaks a rule, or empty."""

    kind: str
    comm: str | None
    parent_comm: str | None
    pid: int | None
    ns_pid: int | None
    parent_pid: int | None
    parent_ns_pid: int | None
    entity: int | None
    parent_entity: int | None
    age: int | None
    parent_start: int | None
    context: bytes
    rest: bytes


def packed(said: dict[str, Any], time: int) -> Packed:
    """`said`: an event as `kinds` leaves it, without its subject. `time`: its timestamp, ns."""
    get = said.get
    start, parent_start = get("start_time"), get("parent_start_time")
    began = _exact(start)
    parent_began = _exact(parent_start)
    entity, parent_entity = get("process_entity_id"), get("parent_entity_id")
    row = Packed(
        said["kind"],
        get("comm"),
        get("parent_comm"),
        get("child_pid"),
        get("child_ns_pid"),
        get("parent_pid"),
        get("parent_ns_pid"),
        None if entity is None else int(entity, 16),
        None if parent_entity is None else int(parent_entity, 16),
        None if began is None else time - began,
        parent_began,
        orjson.dumps({name: said[name] for name in _CONTEXT if name in said}),
        b"",
    )
    by_rule = _by_rule(row)
    by_rule["start_time"] = None if began is None else start
    by_rule["parent_start_time"] = by_rule["parent_process_start_time"] = None if parent_began is None else parent_start
    by_rule["leader_start_time"] = by_rule["start_time"]
    by_rule["timestamp"] = said["timestamp"] if len(said["timestamp"]) == _LONG else None
    if said | by_rule == said:  # most: told by two looks instead of forty
        return row
    by_rule |= {name: said[name] for name in (*_CONTEXT, "event", "id") if name in said}
    rest = {name: value for name, value in said.items() if by_rule.get(name, _UNSAID) != value}
    return row._replace(rest=orjson.dumps(rest))


def unpacked(stream: str, cpu: int, sequence: int, time: int, row: Packed, subject: dict[str, Any]) -> dict[str, Any]:
    """The event as it was sent. `subject`: its cgroup, container and k8s."""
    start = None if row.age is None else stamp(time - row.age)
    parent_start = None if row.parent_start is None else stamp(row.parent_start)
    return {
        "event": FORK,
        "id": fork_id(stream, cpu, sequence),
        "timestamp": stamp(time),
        **_by_rule(row),
        "start_time": start,
        "leader_start_time": start,
        "parent_start_time": parent_start,
        "parent_process_start_time": parent_start,
        **orjson.loads(row.context),
        **(orjson.loads(row.rest) if row.rest else {}),
        **subject,
    }


def _by_rule(row: Packed) -> dict[str, Any]:
    """All but the times and the context."""
    chain = [pid for pid in (row.pid, row.ns_pid) if pid is not None]
    return {
        "kind": row.kind,
        "comm": row.comm,
        "parent_comm": row.parent_comm,
        "child_pid": row.pid,
        "child_tid": row.pid,
        "leader_pid": row.pid,
        "leader_tid": row.pid,
        "child_ns_pid": row.ns_pid,
        "child_ns_tid": row.ns_pid,
        "leader_ns_pid": row.ns_pid,
        "leader_ns_tid": row.ns_pid,
        "parent_pid": row.parent_pid,
        "parent_tid": row.parent_pid,
        "parent_process_pid": row.parent_pid,
        "parent_process_tid": row.parent_pid,
        "parent_ns_pid": row.parent_ns_pid,
        "parent_ns_tid": row.parent_ns_pid,
        "parent_process_ns_pid": row.parent_ns_pid,
        "parent_process_ns_tid": row.parent_ns_pid,
        "child_ns_pids": chain[:1] if row.pid == row.ns_pid else chain,
        "process_entity_id": None if row.entity is None else f"{row.entity:016x}",
        "parent_entity_id": None if row.parent_entity is None else f"{row.parent_entity:016x}",
    }


@lru_cache(4096)  # a parent forks more than once
def _exact(time: str | None) -> int | None:
    """ns since 1970 of a time that is written as we write it."""
    return nanoseconds(time, "") if time is not None and len(time) == _LONG else None
