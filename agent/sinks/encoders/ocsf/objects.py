"""wire.events -> OCSF's objects: process, container, device, times. Pure, and not in a hurry: what it makes is kept.

Must not live here: event classes (classes), joining what is made here into events (encoder).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from agent.model import ParentContext, Task
from agent.sinks.encoders.facts import WORKLOADS, by_name, cgroup_of, known, namespaces
from agent.sinks.encoders.times import Rfc3339

__all__ = [
    "INT32_MOST",
    "child_of",
    "container_of",
    "device_of",
    "int32",
    "labels_of",
    "leftovers_of",
    "moment",
    "parent_context_of",
    "read_moment",
]

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")  # a static pod's uid is a bare hash
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SERVER, _LINUX = 1, 200  # device.type_id, os.type_id
INT32_MOST: Final = 2**31 - 1  # OCSF's integer_t has 32 bits where it becomes Parquet or protobuf; long_t has 64


def int32(number: int | None) -> int | None:
    """None when it is unknown, or too large for an integer_t."""
    return number if number is not None and number <= INT32_MOST else None


def moment(name: str, ns: int | None, time: Rfc3339) -> dict[str, int | str]:
    """A time: in milliseconds, as OCSF's own, and exact beside it, by its `datetime` profile. `ns`: since 1970."""
    return {} if ns is None else {name: ns // 1_000_000, f"{name}_dt": time(ns)}


def read_moment(name: str, text: str) -> dict[str, int | str]:
    """The same, from RFC 3339."""
    return {name: (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1), f"{name}_dt": text}


def device_of(node: str, stream: str) -> dict[str, Any]:
    """`stream`: or any id, which begins with it, and it with the boot's."""
    return {
        "hostname": node,
        "type_id": _SERVER,
        "boot_uid": stream.partition(".")[0],
        "os": {"name": "Linux", "type_id": _LINUX},
    }


def parent_context_of(parent_context: ParentContext, time: Rfc3339) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """`actor`; `process` but for the child's own; and what goes under `unmapped`.

    The process above bears the caller's name when it was the one that called.
    """
    caller, above = parent_context.parent, parent_context.parent_process
    same = caller.pid is not None and caller.pid == above.pid
    of_caller, rest_of_caller = _process("parent", caller, parent_context.parent_comm, time)
    of_above, rest_of_above = _process("parent_process", above, parent_context.parent_comm if same else None, time)
    leader, uid, gid = parent_context.leader, parent_context.uid, parent_context.gid
    user = None if uid is None else known({"uid": str(uid), "groups": None if gid is None else [{"uid": str(gid)}]})
    process = known({"name": parent_context.comm, "user": user, "parent_process": of_above})
    leftovers = known({
        **rest_of_caller,
        "parent_comm": parent_context.parent_comm if of_caller is None else None,
        **rest_of_above,
        **(by_name("leader", leader, time) if leader else {}),
        "gid": gid if user is None else None,
        "namespaces": namespaces(parent_context.namespaces),
        "clone": parent_context.clone,
    })  # fmt: skip
    # An actor must be something. Of a caller that could not be read at all, this much is known.
    return {"process": of_caller} if of_caller else {"app_name": "unknown"}, process, leftovers


def _process(prefix: str, task: Task, name: str | None, time: Rfc3339) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """A process by one of its tasks, and what it has no attributes for. None: it has no pid and no uid, and OCSF wants one.

    When the task started, is when the process did if it is the leader.
    """
    all_by_name = by_name(prefix, task, time)
    if task.pid is None and task.entity is None:
        return None, all_by_name
    leads = task.tid is not None and task.tid == task.pid
    process = known({
        "name": name,
        "pid": task.pid,
        "ptid": task.tid,
        "namespace_pid": task.ns_pid,
        "uid": task.entity,
        **(moment("created_time", task.start, time) if leads else {}),
    })  # fmt: skip
    rest = {f"{prefix}_ns_tid": task.ns_tid}
    if not leads:
        rest |= {f"{prefix}_start_time": all_by_name[f"{prefix}_start_time"]}
    return process, rest


def child_of(child: Task, event_id: str) -> dict[str, Any]:
    """The child's own part of `process`, but for when it started. OCSF wants a pid or a uid: of a child whose both could not be
    read, the event's id is as unique."""
    return known({
        "pid": child.pid,
        "ptid": child.tid,
        "namespace_pid": child.ns_pid,
        "uid": event_id if child.pid is None and child.entity is None else child.entity,
    })  # fmt: skip


def container_of(k8s: Mapping[str, Any], container: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """An image must have an id; `labels` are the pod's."""
    if container is None:
        return None
    image = None if container["image_id"] is None else known({"uid": container["image_id"], "name": container["image"]})
    return known({
        "uid": container["id"],
        "name": container["name"],
        "image": image,
        "runtime": container["runtime"],
        "orchestrator": "kubernetes",
        "pod_uuid": k8s["pod_uid"] if _UUID.fullmatch(k8s["pod_uid"] or "") else None,
        "labels": labels_of(k8s["labels"]),
        "tags": _tags(k8s),
    })  # fmt: skip


def leftovers_of(event: Mapping[str, Any], *, labels_told: bool) -> dict[str, Any]:
    """What OCSF has no attribute for, of whose it is; and `k8s` once more as an object, which is easier to search than
    tags."""
    k8s, container = event["k8s"], event.get("container")
    names = ("cluster", "namespace", "pod", "pod_uid", "workload", "service_account", "qos")
    of_k8s = known({
        **{name: k8s[name] for name in names},
        "labels": None if labels_told else labels_of(k8s["labels"]),
        "annotations": labels_of(k8s.get("annotations")),
    })  # fmt: skip
    of_container = known({
        "kind": container["kind"],
        "image": container["image"] if container["image_id"] is None else None,
    }) if container else None  # fmt: skip
    return known({
        "cgroup": cgroup_of(event.get("cgroup")),
        "k8s": of_k8s,
        "container": of_container or None,
        "enrichment": known(event["enrichment"]) if "enrichment" in event else None,
    })  # fmt: skip


def labels_of(labels: Mapping[str, str] | None) -> list[str] | None:
    """As selectors are written: a Kubernetes key has no `=`, so what stands before the first is the key. Strings, since labels
    as keys would make an attribute of each."""
    return None if labels is None else [f"{key}={value}" for key, value in labels.items()]


def _tags(k8s: Mapping[str, Any]) -> list[dict[str, str]]:
    """By OpenTelemetry's names: OCSF has no object for Kubernetes."""
    workload = k8s["workload"]
    tags = {
        "k8s.cluster.name": k8s["cluster"],
        "k8s.namespace.name": k8s["namespace"],
        "k8s.pod.name": k8s["pod"],
        "k8s.pod.uid": k8s["pod_uid"],
    }
    if workload and workload["kind"] in WORKLOADS:
        tags[f"k8s.{workload['kind'].lower()}.name"] = workload["name"]
    return [{"name": name, "value": value} for name, value in known(tags).items()]
