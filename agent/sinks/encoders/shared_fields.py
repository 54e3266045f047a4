"""Fields of the native event that several schemas take over, without nulls. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from agent.model import Attribution, Event, Task, state_of
from agent.sinks.encoders.times import Rfc3339

__all__ = [
    "NAMESPACES",
    "WORKLOADS",
    "cgroup_object",
    "enrichment_members",
    "head_list",
    "json_members",
    "namespace_fields",
    "task_fields",
    "without_nulls",
]

# The kinds whose names have a field of their own, in Elastic's Kubernetes integration and in OpenTelemetry's conventions.
WORKLOADS: Final = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob"})
NAMESPACES: Final = ("pid", "mnt", "net", "user", "uts", "ipc", "cgroup")


def without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out what is None; empty values stay."""
    return {name: value for name, value in fields.items() if value is not None}


def json_members(fields: Mapping[str, Any]) -> str:
    """An object's members as JSON, each followed by a comma, to be joined with others."""
    return f"{orjson.dumps(fields).decode()[1:-1]}," if fields else ""


def task_fields(prefix: str, task: Task, time: Rfc3339) -> dict[str, Any]:
    """A task's fields by their names in wire.events, unknown ones included."""
    return {
        f"{prefix}_tid": task.tid,
        f"{prefix}_ns_tid": task.ns_tid,
        f"{prefix}_pid": task.pid,
        f"{prefix}_ns_pid": task.ns_pid,
        f"{prefix}_start_time": None if task.start is None else time(task.start),
    }


def namespace_fields(inums: Sequence[int | None]) -> dict[str, int] | None:
    """`inums`: as ParentContext has them. None when all are unknown."""
    return without_nulls(dict(zip(NAMESPACES, inums, strict=True))) or None


def cgroup_object(cgroup: Mapping[str, Any] | None) -> dict[str, str] | None:
    """The id as a string: it has 64 bits, and many readers of JSON keep 53 of a number."""
    return None if cgroup is None else without_nulls({"id": str(cgroup["id"]), "path": cgroup["path"]})


def enrichment_members(attribution: Attribution, parent: Attribution | None, lag_ms: int | None) -> str:
    """`parent_cgroup` and `enrichment`, as json_members. `parent` None: it is in the same cgroup."""
    parent_cgroup = None if parent is None else cgroup_object({"id": parent.cgroup, "path": parent.path})
    enrichment = without_nulls({"state": state_of(attribution, lag_ms), "by": attribution.by, "lag_ms": lag_ms or 0})
    return json_members(without_nulls({"parent_cgroup": parent_cgroup, "enrichment": enrichment}))


def head_list(event: Event) -> list[dict[str, int]] | None:
    """`heads` as a list: with the CPU's number as a key, an index would get a field for each CPU."""
    heads = event.get("heads")
    return None if heads is None else [{"cpu": int(cpu), "sequence": head} for cpu, head in heads.items()]
