"""Facts of the native event that more than one schema takes as they are, and without nulls. Pure.

Must not live here: any one schema's names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from agent.model import Attribution, Event, Task, state_of
from agent.sinks.encoders.times import Rfc3339

__all__ = ["NAMESPACES", "WORKLOADS", "by_name", "cgroup_of", "found", "heads", "inner", "known", "namespaces"]

# The kinds whose names have a place of their own, in Elastic's Kubernetes integration and in OpenTelemetry's conventions.
WORKLOADS: Final = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob"})
NAMESPACES: Final = ("pid", "mnt", "net", "user", "uts", "ipc", "cgroup")


def known(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None; what is empty stays."""
    return {name: fact for name, fact in facts.items() if fact is not None}


def inner(facts: Mapping[str, Any]) -> str:
    """An object's members as JSON, each with a comma after it, to be joined with others."""
    return f"{orjson.dumps(facts).decode()[1:-1]}," if facts else ""


def by_name(prefix: str, task: Task, time: Rfc3339) -> dict[str, Any]:
    """A task's facts by their names in wire.events."""
    return {
        f"{prefix}_tid": task.tid,
        f"{prefix}_ns_tid": task.ns_tid,
        f"{prefix}_pid": task.pid,
        f"{prefix}_ns_pid": task.ns_pid,
        f"{prefix}_start_time": None if task.start is None else time(task.start),
    }


def namespaces(inums: Sequence[int | None]) -> dict[str, int] | None:
    """`inums`: as ParentContext has them."""
    return known(dict(zip(NAMESPACES, inums, strict=True))) or None


def cgroup_of(cgroup: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Its id has 64 bits, and many readers of JSON keep 53 of a number: a string."""
    return None if cgroup is None else known({"id": str(cgroup["id"]), "path": cgroup["path"]})


def found(attribution: Attribution, parent: Attribution | None, lag_ms: int | None) -> str:
    """How a fork was identified, and where its parent was when not in the same cgroup: members, each with a comma."""
    parent_cgroup = None if parent is None else cgroup_of({"id": parent.cgroup, "path": parent.path})
    enrichment = known({"state": state_of(attribution, lag_ms), "by": attribution.by, "lag_ms": lag_ms or 0})
    return inner(known({"parent_cgroup": parent_cgroup, "enrichment": enrichment}))


def heads(event: Event) -> list[dict[str, int]] | None:
    """As a list: a CPU's number as a key would make a field of each CPU."""
    told = event.get("heads")
    return None if told is None else [{"cpu": int(cpu), "sequence": head} for cpu, head in told.items()]
