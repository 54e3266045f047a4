"""A fork's event <-> the columns that it is stored in. Nothing is lost.

What most forks have in common goes by rule: a process's numbers are those of its first thread, its pid namespaces are the
host's and the pod's, its times have nine digits. What breaks a rule is kept as it was sent, in `rest`, which overrides the
rules.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Final, NamedTuple

import orjson

from collector.model.times import stamp
from wire.events import FORK
from wire.ids import fork_id

__all__ = ["ForkColumns", "pack", "unpack"]

_CONTEXT: Final = ("uid", "gid", "namespaces", "clone", "parent_cgroup", "enrichment", "child_ns_pids_truncated")
_OWN: Final = (
    "kind", "comm", "parent_comm", "child_pid", "child_ns_pid", "parent_pid", "parent_ns_pid", "process_entity_id",
    "parent_entity_id", "timestamp", "start_time", "parent_start_time",
)  # fmt: skip
# Fields that the rules derive from the own ones, in the order of `derived` in `pack`.
_DERIVED: Final = (
    *("child_tid", "leader_pid", "leader_tid", "child_ns_tid", "leader_ns_pid", "leader_ns_tid"),
    *("parent_tid", "parent_process_pid", "parent_process_tid"),
    *("parent_ns_tid", "parent_process_ns_pid", "parent_process_ns_tid"),
    *("child_ns_pids", "leader_start_time", "parent_process_start_time"),
)
_FIELDS: Final = len({"event", "id", *_OWN, *_DERIVED, *_CONTEXT})
_own, _derived, _shared = itemgetter(*_OWN), itemgetter(*_DERIVED), itemgetter(*_CONTEXT)
_WITH_NANOSECONDS: Final = 30  # characters of a time with all its nanoseconds
_MISSING: Final = object()
_CONTEXTS: dict[bytes, bytes] = {}
_CONTEXTS_MOST: Final = 4096  # of some 300 bytes; 40 MB at most, of what a sender may send


class ForkColumns(NamedTuple):
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


def pack(event: dict[str, Any], time: int, start_time: int | None, parent_start_time: int | None) -> ForkColumns:
    """`event`: every field of a fork but cgroup, container and k8s. The others are its times of the same names, in ns."""
    kind, comm, parent_comm, pid, ns_pid, parent_pid, parent_ns_pid, entity, parent_entity, at, start, parent_start = _own(
        event
    )
    began = None if start is None or len(start) != _WITH_NANOSECONDS else start_time
    parent_began = None if parent_start is None or len(parent_start) != _WITH_NANOSECONDS else parent_start_time
    columns = ForkColumns(
        kind,
        comm,
        parent_comm,
        pid,
        ns_pid,
        parent_pid,
        parent_ns_pid,
        None if entity is None else int(entity, 16),
        None if parent_entity is None else int(parent_entity, 16),
        None if began is None else time - began,
        parent_began,
        _interned(orjson.dumps(dict(zip(_CONTEXT, _shared(event), strict=True)))),
        b"",
    )
    derived = (pid, pid, pid, ns_pid, ns_pid, ns_pid, parent_pid, parent_pid, parent_pid, parent_ns_pid, parent_ns_pid,
               parent_ns_pid, _ns_pids(pid, ns_pid), start, parent_start)  # fmt: skip
    exact = (
        len(at) == _WITH_NANOSECONDS and (began is None) == (start is None) and (parent_began is None) == (parent_start is None)
    )
    if exact and _derived(event) == derived and len(event) == _FIELDS:
        return columns
    return columns._replace(rest=orjson.dumps(_exceptions(columns, event)))


def _interned(context: bytes) -> bytes:
    """One object for equal contexts: a batch has few different ones, thousands of times each."""
    if len(_CONTEXTS) >= _CONTEXTS_MOST:
        _CONTEXTS.clear()
    return _CONTEXTS.setdefault(context, context)


def _exceptions(columns: ForkColumns, event: dict[str, Any]) -> dict[str, Any]:
    """The fields that the columns and the rules would not give back as they are in `event`."""
    start = None if columns.age is None else event["start_time"]
    parent_start = None if columns.parent_start is None else event["parent_start_time"]
    known = {
        **_by_rule(columns),
        **{name: event[name] for name in (*_CONTEXT, "event", "id")},
        **dict.fromkeys(("start_time", "leader_start_time"), start),
        **dict.fromkeys(("parent_start_time", "parent_process_start_time"), parent_start),
        "timestamp": event["timestamp"] if len(event["timestamp"]) == _WITH_NANOSECONDS else None,
    }
    return {name: value for name, value in event.items() if known.get(name, _MISSING) != value}


def unpack(
    stream: str, cpu: int, sequence: int, time: int, columns: ForkColumns, attribution: dict[str, Any]
) -> dict[str, Any]:
    """The event as it was sent. `attribution`: its cgroup, container and k8s."""
    start = None if columns.age is None else stamp(time - columns.age)
    parent_start = None if columns.parent_start is None else stamp(columns.parent_start)
    return {
        "event": FORK,
        "id": fork_id(stream, cpu, sequence),
        "timestamp": stamp(time),
        **_by_rule(columns),
        "start_time": start,
        "leader_start_time": start,
        "parent_start_time": parent_start,
        "parent_process_start_time": parent_start,
        **orjson.loads(columns.context),
        **(orjson.loads(columns.rest) if columns.rest else {}),
        **attribution,
    }


def _by_rule(columns: ForkColumns) -> dict[str, Any]:
    """All but the times and the context."""
    return {
        "kind": columns.kind,
        "comm": columns.comm,
        "parent_comm": columns.parent_comm,
        "child_pid": columns.pid,
        "child_tid": columns.pid,
        "leader_pid": columns.pid,
        "leader_tid": columns.pid,
        "child_ns_pid": columns.ns_pid,
        "child_ns_tid": columns.ns_pid,
        "leader_ns_pid": columns.ns_pid,
        "leader_ns_tid": columns.ns_pid,
        "parent_pid": columns.parent_pid,
        "parent_tid": columns.parent_pid,
        "parent_process_pid": columns.parent_pid,
        "parent_process_tid": columns.parent_pid,
        "parent_ns_pid": columns.parent_ns_pid,
        "parent_ns_tid": columns.parent_ns_pid,
        "parent_process_ns_pid": columns.parent_ns_pid,
        "parent_process_ns_tid": columns.parent_ns_pid,
        "child_ns_pids": _ns_pids(columns.pid, columns.ns_pid),
        "process_entity_id": None if columns.entity is None else f"{columns.entity:016x}",
        "parent_entity_id": None if columns.parent_entity is None else f"{columns.parent_entity:016x}",
    }


def _ns_pids(pid: int | None, ns_pid: int | None) -> list[int]:
    """The numbers of the child in its pid namespaces, the host's first."""
    if pid is None:
        return [] if ns_pid is None else [ns_pid]
    return [pid] if ns_pid is None or ns_pid == pid else [pid, ns_pid]
