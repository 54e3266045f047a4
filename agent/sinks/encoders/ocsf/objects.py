"""Maps wire.events to OCSF's objects: process, container, device, times. Pure; its results are cached."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from agent.model import ParentContext, Task
from agent.sinks.encoders.shared_fields import WORKLOADS, cgroup_object, namespace_fields, task_fields, without_nulls
from agent.sinks.encoders.times import Rfc3339

__all__ = [
    "INT32_MAX",
    "child_attributes",
    "container_object",
    "device_object",
    "int32",
    "label_strings",
    "parent_context_objects",
    "parse_time_attributes",
    "time_attributes",
    "unmapped_attribution",
]

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")  # a static pod's uid is a bare hash
_UNIX_TIME_ZERO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SERVER, _LINUX = 1, 200  # device.type_id, os.type_id
INT32_MAX: Final = 2**31 - 1  # OCSF's integer_t has 32 bits where it becomes Parquet or protobuf; long_t has 64


def int32(number: int | None) -> int | None:
    """None when it is unknown, or too large for an integer_t."""
    return number if number is not None and number <= INT32_MAX else None


def time_attributes(name: str, ns: int | None, time: Rfc3339) -> dict[str, int | str]:
    """A time in milliseconds, as OCSF defines it, and the exact one of its `datetime` profile. `ns`: since 1970."""
    return {} if ns is None else {name: ns // 1_000_000, f"{name}_dt": time(ns)}


def parse_time_attributes(name: str, text: str) -> dict[str, int | str]:
    """time_attributes, from RFC 3339."""
    return {name: (datetime.fromisoformat(text) - _UNIX_TIME_ZERO) // timedelta(milliseconds=1), f"{name}_dt": text}


def device_object(node: str, stream: str) -> dict[str, Any]:
    """`stream`: or an id, which begins with it. A stream begins with the boot id."""
    return {
        "hostname": node,
        "type_id": _SERVER,
        "boot_uid": stream.partition(".")[0],
        "os": {"name": "Linux", "type_id": _LINUX},
    }


def parent_context_objects(
    parent_context: ParentContext, time: Rfc3339
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """`actor`; `process` without the child's own attributes; and what goes under `unmapped`.

    The name of the process above is known only if that process called fork.
    """
    caller, above = parent_context.parent, parent_context.parent_process
    same = caller.pid is not None and caller.pid == above.pid
    of_caller, rest_of_caller = _process("parent", caller, parent_context.parent_comm, time)
    of_above, rest_of_above = _process("parent_process", above, parent_context.parent_comm if same else None, time)
    leader, uid, gid = parent_context.leader, parent_context.uid, parent_context.gid
    user = None if uid is None else without_nulls({"uid": str(uid), "groups": None if gid is None else [{"uid": str(gid)}]})
    process = without_nulls({"name": parent_context.comm, "user": user, "parent_process": of_above})
    unmapped = without_nulls({
        **rest_of_caller,
        "parent_comm": parent_context.parent_comm if of_caller is None else None,
        **rest_of_above,
        **(task_fields("leader", leader, time) if leader else {}),
        "gid": gid if user is None else None,
        "namespaces": namespace_fields(parent_context.namespaces),
        "clone": parent_context.clone,
    })  # fmt: skip
    # `actor` is required and must not be empty, also when nothing of the caller could be read.
    return {"process": of_caller} if of_caller else {"app_name": "unknown"}, process, unmapped


def _process(prefix: str, task: Task, name: str | None, time: Rfc3339) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """A process by one of its tasks, and the fields that OCSF has no attribute for.

    None: pid and uid are unknown, and OCSF requires one of them. The start of the task is that of the process if it is the
    leader.
    """
    all_fields = task_fields(prefix, task, time)
    if task.pid is None and task.entity is None:
        return None, all_fields
    is_leader = task.tid is not None and task.tid == task.pid
    process = without_nulls({
        "name": name,
        "pid": task.pid,
        "ptid": task.tid,
        "namespace_pid": task.ns_pid,
        "uid": task.entity,
        **(time_attributes("created_time", task.start, time) if is_leader else {}),
    })  # fmt: skip
    rest = {f"{prefix}_ns_tid": task.ns_tid}
    if not is_leader:
        rest |= {f"{prefix}_start_time": all_fields[f"{prefix}_start_time"]}
    return process, rest


def child_attributes(child: Task, event_id: str) -> dict[str, Any]:
    """The child's own attributes of `process`, without its start time.

    OCSF requires a pid or a uid: if neither could be read, the event's id is used, which is unique, too.
    """
    return without_nulls({
        "pid": child.pid,
        "ptid": child.tid,
        "namespace_pid": child.ns_pid,
        "uid": event_id if child.pid is None and child.entity is None else child.entity,
    })  # fmt: skip


def container_object(k8s: Mapping[str, Any], container: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`container`. OCSF requires an image's id, so without one there is no image. `labels` are the pod's."""
    if container is None:
        return None
    image = None if container["image_id"] is None else without_nulls({"uid": container["image_id"], "name": container["image"]})
    return without_nulls({
        "uid": container["id"],
        "name": container["name"],
        "image": image,
        "runtime": container["runtime"],
        "orchestrator": "kubernetes",
        "pod_uuid": k8s["pod_uid"] if _UUID.fullmatch(k8s["pod_uid"] or "") else None,
        "labels": label_strings(k8s["labels"]),
        "tags": _tags(k8s),
    })  # fmt: skip


def unmapped_attribution(event: Mapping[str, Any], *, labels_mapped: bool) -> dict[str, Any]:
    """The fields of an attribution that OCSF has no attribute for; and `k8s` as an object, which is easier to search than tags.

    `labels_mapped`: whether another attribute has the pod's labels.
    """
    k8s, container = event["k8s"], event.get("container")
    names = ("cluster", "namespace", "pod", "pod_uid", "workload", "service_account", "qos")
    of_k8s = without_nulls({
        **{name: k8s[name] for name in names},
        "labels": None if labels_mapped else label_strings(k8s["labels"]),
        "annotations": label_strings(k8s.get("annotations")),
    })  # fmt: skip
    of_container = without_nulls({
        "kind": container["kind"],
        "image": container["image"] if container["image_id"] is None else None,
    }) if container else None  # fmt: skip
    return without_nulls({
        "cgroup": cgroup_object(event.get("cgroup")),
        "k8s": of_k8s,
        "container": of_container or None,
        "enrichment": without_nulls(event["enrichment"]) if "enrichment" in event else None,
    })  # fmt: skip


def label_strings(labels: Mapping[str, str] | None) -> list[str] | None:
    """`key=value`, as selectors are written: a Kubernetes key has no `=`, so the first one ends the key. With an object, each
    label would become an attribute."""
    return None if labels is None else [f"{key}={value}" for key, value in labels.items()]


def _tags(k8s: Mapping[str, Any]) -> list[dict[str, str]]:
    """Tags with OpenTelemetry's names: OCSF has no object for Kubernetes."""
    workload = k8s["workload"]
    tags = {
        "k8s.cluster.name": k8s["cluster"],
        "k8s.namespace.name": k8s["namespace"],
        "k8s.pod.name": k8s["pod"],
        "k8s.pod.uid": k8s["pod_uid"],
    }
    if workload and workload["kind"] in WORKLOADS:
        tags[f"k8s.{workload['kind'].lower()}.name"] = workload["name"]
    return [{"name": name, "value": value} for name, value in without_nulls(tags).items()]
