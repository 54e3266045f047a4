"""A fork's event <-> the columns that it is kept in, losing nothing.

What most forks have in common goes by rule: a process's numbers are its first thread's, its pid namespaces are the host's and
the pod's, its times have nine digits. What breaks a rule is kept as it was sent, in `rest`, which overrides the rules. Pure.
Must not live here: SQL, whose a fork is.
"""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple

import orjson

from collector.ingest.fields import nanoseconds
from collector.views.times import stamp
from wire.events import FORK
from wire.ids import fork_id

__all__ = ["Packed", "packed", "unpacked"]

_CONTEXT: Final = ("uid", "gid", "namespaces", "clone", "parent_cgroup", "enrichment", "child_ns_pids_truncated")
_OWN: Final = (
    "kind", "comm", "parent_comm", "child_pid", "child_ns_pid", "parent_pid", "parent_ns_pid", "process_entity_id",
    "parent_entity_id", "timestamp", "start_time", "parent_start_time",
)  # fmt: skip
# What the rules say the same of, in the order of `_twins`.
_TWINS: Final = (
    *("child_tid", "leader_pid", "leader_tid", "child_ns_tid", "leader_ns_pid", "leader_ns_tid"),
    *("parent_tid", "parent_process_pid", "parent_process_tid"),
    *("parent_ns_tid", "parent_process_ns_pid", "parent_process_ns_tid"),
    *("child_ns_pids", "leader_start_time", "parent_process_start_time"),
)
_NAMES: Final = len({"event", "id", *_OWN, *_TWINS, *_CONTEXT})
_own, _twin, _shared = itemgetter(*_OWN), itemgetter(*_TWINS), itemgetter(*_CONTEXT)
_LONG: Final = 30  # characters of a time with all its nanoseconds
_UNSAID: Final = object()
_CONTEXTS: dict[bytes, bytes] = {}
_CONTEXTS_MOST: Final = 4096  # of some 300 bytes; of what a sender may send at most, 40 MB


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
    """`said`: an event as `kinds` leaves it, without its subject: every name is there. `time`: its timestamp, ns."""
    kind, comm, parent_comm, pid, ns_pid, parent_pid, parent_ns_pid, entity, parent_entity, at, start, parent_start = _own(said)
    began = None if start is None or len(start) != _LONG else nanoseconds(start, "")
    parent_began = _exact(parent_start)
    row = Packed(
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
        _one(orjson.dumps(dict(zip(_CONTEXT, _shared(said), strict=True)))),
        b"",
    )
    twins = (pid, pid, pid, ns_pid, ns_pid, ns_pid, parent_pid, parent_pid, parent_pid, parent_ns_pid, parent_ns_pid,
             parent_ns_pid, _chain(pid, ns_pid), start, parent_start)  # fmt: skip
    exact = len(at) == _LONG and (began is None) == (start is None) and (parent_began is None) == (parent_start is None)
    if exact and _twin(said) == twins and len(said) == _NAMES:
        return row
    return row._replace(rest=orjson.dumps(_rest(row, said)))


def _one(context: bytes) -> bytes:
    """The same object for the same words: a batch says few of them, thousands of times."""
    if len(_CONTEXTS) >= _CONTEXTS_MOST:
        _CONTEXTS.clear()
    return _CONTEXTS.setdefault(context, context)


def _rest(row: Packed, said: dict[str, Any]) -> dict[str, Any]:
    """What no rule tells, or not as it was said."""
    start = None if row.age is None else said["start_time"]
    parent_start = None if row.parent_start is None else said["parent_start_time"]
    known = {
        **_by_rule(row),
        **{name: said[name] for name in (*_CONTEXT, "event", "id")},
        **dict.fromkeys(("start_time", "leader_start_time"), start),
        **dict.fromkeys(("parent_start_time", "parent_process_start_time"), parent_start),
        "timestamp": said["timestamp"] if len(said["timestamp"]) == _LONG else None,
    }
    return {name: value for name, value in said.items() if known.get(name, _UNSAID) != value}


def unpacked(stream: str, cpu: int, sequence: int, time: int, row: Packed, attribution: dict[str, Any]) -> dict[str, Any]:
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
        **attribution,
    }


def _by_rule(row: Packed) -> dict[str, Any]:
    """All but the times and the context."""
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
        "child_ns_pids": _chain(row.pid, row.ns_pid),
        "process_entity_id": None if row.entity is None else f"{row.entity:016x}",
        "parent_entity_id": None if row.parent_entity is None else f"{row.parent_entity:016x}",
    }


def _chain(pid: int | None, ns_pid: int | None) -> list[int]:
    if pid is None:
        return [] if ns_pid is None else [ns_pid]
    return [pid] if ns_pid is None or ns_pid == pid else [pid, ns_pid]


@lru_cache(4096)  # a parent forks more than once
def _exact(time: str | None) -> int | None:
    """ns since 1970 of a time that is written as we write it."""
    return nanoseconds(time, "") if time is not None and len(time) == _LONG else None
