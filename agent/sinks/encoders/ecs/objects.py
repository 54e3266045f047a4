"""Maps wire.events to ECS, object by object. Pure; its results are cached, or needed rarely."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from agent.model import Event, ParentContext, Task
from agent.sinks.encoders.shared_fields import WORKLOADS, cgroup_object, head_list, namespace_fields, task_fields, without_nulls
from agent.sinks.encoders.times import Rfc3339
from wire.events import FORK, FORK_STORM, FORK_SUMMARY, NODE_SUMMARY

__all__ = [
    "ECS_VERSION",
    "agent_event_object",
    "attribution_objects",
    "child_attributes",
    "fork_event_object",
    "parent_context_objects",
    "unmapped_agent_event",
    "unmapped_attribution",
]

ECS_VERSION: Final = "9.4.0"
_DIGEST: Final = re.compile(r"sha(?:256|384|512):[0-9a-f]{64,128}")
_MEDIUM: Final = 47  # of event.severity, as Elastic Security reads it: 21 low, 47 medium, 73 high, 99 critical
# Members of the agent's own events that have a field in ECS.
_MAPPED: Final = frozenset({"event", "id", "timestamp", "interval", "k8s", "container", "cgroup", "enrichment", "reason"})


def attribution_objects(k8s: Mapping[str, Any], container: Mapping[str, Any] | None) -> dict[str, Any]:
    """`container`, `orchestrator` and `kubernetes`, from the native event's objects."""
    workload = k8s["workload"]
    is_pod = k8s["pod"] is not None or k8s["pod_uid"] is not None
    kubernetes = without_nulls({
        "namespace": k8s["namespace"],
        "pod": without_nulls({"name": k8s["pod"], "uid": k8s["pod_uid"]}) or None,
        "node": {"name": k8s["node"]},
        "container": without_nulls({"name": container and container["name"]}) or None,
        "labels": _dedotted(k8s["labels"]),
        "annotations": _dedotted(k8s.get("annotations")),
    })  # fmt: skip
    if workload and workload["kind"] in WORKLOADS:
        kubernetes[workload["kind"].lower()] = {"name": workload["name"]}
    resource = without_nulls({
        "type": "pod" if is_pod else None,
        "name": k8s["pod"],
        "id": k8s["pod_uid"],
        "parent": workload and {"type": workload["kind"]},
        "label": _listed(k8s["labels"]),
        "annotation": _listed(k8s.get("annotations")),
    })  # fmt: skip
    orchestrator = without_nulls({
        "type": "kubernetes",
        "cluster": {"name": k8s["cluster"]},
        "namespace": k8s["namespace"],
        "resource": resource or None,
    })  # fmt: skip
    return without_nulls(
        {"container": container and _container(container), "orchestrator": orchestrator, "kubernetes": kubernetes}
    )


def unmapped_attribution(event: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an attribution that ECS has no field for."""
    k8s, container = event["k8s"], event.get("container")
    of_k8s = without_nulls({name: k8s[name] for name in ("workload", "service_account", "qos")})
    of_container = without_nulls({
        "kind": container["kind"],
        "image_id": None if container["image_id"] is None or _is_digest(container["image_id"]) else container["image_id"],
    }) if container else None  # fmt: skip
    return without_nulls({
        "cgroup": cgroup_object(event.get("cgroup")),
        "k8s": of_k8s or None,
        "container": of_container or None,
        "enrichment": without_nulls(event["enrichment"]) if "enrichment" in event else None,
    })  # fmt: skip


def parent_context_objects(
    parent_context: ParentContext, node: str, time: Rfc3339
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """`process` without the child's own fields; `related`; and what goes under `forklore`.

    `process.group_leader` is the leader of a job and not of a thread group, so it stays empty. The name of the process above is
    known only if that process called fork.
    """
    caller, above = parent_context.parent, parent_context.parent_process
    uid = None if parent_context.uid is None else str(parent_context.uid)
    gid = None if parent_context.gid is None else str(parent_context.gid)
    of_parent = without_nulls({
        "pid": above.pid,
        "vpid": above.ns_pid,
        "entity_id": above.entity,
        "start": None if above.start is None else time(above.start),
        "thread": without_nulls({"id": above.tid}) or None,
        "name": parent_context.parent_comm if caller.pid is not None and caller.pid == above.pid else None,
    })  # fmt: skip
    process = without_nulls({
        "name": parent_context.comm,
        "user": without_nulls({"id": uid}) or None,
        "group": without_nulls({"id": gid}) or None,
        "parent": of_parent,
    })  # fmt: skip
    unmapped = without_nulls({
        **task_fields("parent", caller, time),
        "parent_comm": parent_context.parent_comm,
        "parent_process_ns_tid": above.ns_tid,
        **(task_fields("leader", parent_context.leader, time) if parent_context.leader else {}),
        "namespaces": namespace_fields(parent_context.namespaces),
        "clone": parent_context.clone,
    })  # fmt: skip
    return process, without_nulls({"hosts": [node], "user": uid and [uid]}), unmapped


def child_attributes(child: Task) -> dict[str, Any]:
    """The child's own fields of `process`, without its start time."""
    return without_nulls({
        "pid": child.pid,
        "vpid": child.ns_pid,
        "entity_id": child.entity,
        "thread": without_nulls({"id": child.tid}) or None,
    })  # fmt: skip


def fork_event_object(thread: bool) -> dict[str, Any]:
    """`event`. A new thread is a change of a running process: rules that count process starts must not count it."""
    kind = "change" if thread else "start"
    return {"kind": "event", "category": ["process"], "type": [kind], "action": "fork", "code": FORK}


def agent_event_object(event: Event) -> dict[str, Any]:
    """The part of `event` that depends on the kind, with the values and pairs that ECS allows.

    Only the start of a storm is an alert. All have the type `info`: rules that look for process starts must not find them.
    """
    alert = event["event"] == FORK_STORM and event["phase"] == "start"
    metric = event["event"] in (FORK_SUMMARY, NODE_SUMMARY)
    return without_nulls({
        "id": event["id"],
        "kind": "alert" if alert else "metric" if metric else "event",
        "category": ["host" if event["event"] == NODE_SUMMARY else "process"],
        "type": ["info"],
        "action": event["event"],
        "code": event["event"],
        "severity": _MEDIUM if alert else None,
        "reason": event.get("reason"),
        **event["interval"],
    })  # fmt: skip


def unmapped_agent_event(event: Event) -> dict[str, Any]:
    """The other fields of an event of the agent itself, by their names, also those that a later kind may have."""
    rest = {name: value for name, value in event.items() if name not in _MAPPED}
    return without_nulls({**unmapped_attribution(event), **rest, "heads": head_list(event)})


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    image, image_id = container["image"], container["image_id"]
    tag = image and _tag(image)
    of_image = without_nulls({
        "name": image,
        "tag": [tag] if tag else None,
        "hash": {"all": [image_id]} if image_id is not None and _is_digest(image_id) else None,
    })  # fmt: skip
    return without_nulls({
        "id": container["id"],
        "name": container["name"],
        "runtime": container["runtime"],
        "image": of_image or None,
    })  # fmt: skip


def _tag(image: str) -> str | None:
    """`registry:5000/app:1.2` -> `1.2`; none in `registry:5000/app`, in a digest, in an image that is called by its id."""
    name, _, tag = image.rpartition(":")
    return None if not name or not tag or "/" in tag or "@" in image or _is_digest(image) else tag


def _is_digest(image_id: str) -> bool:
    return _DIGEST.fullmatch(image_id) is not None


def _dedotted(labels: Mapping[str, str] | None) -> dict[str, str | list[str]] | None:
    """Dots replaced, as Elastic's `labels.dedot` does: else `app` would be a field and, beside `app.kubernetes.io/x`, an
    object.

    If two keys become one, it has a list of both values: in Elasticsearch a list has the type of its members. A blank key
    cannot be the name of a field. With their original keys, all are in orchestrator.resource.label.
    """
    if labels is None:
        return None
    fields: dict[str, str | list[str]] = {}
    for key, value in labels.items():
        name = key.replace(".", "_")
        if name in fields:
            before = fields[name]
            fields[name] = [*([before] if isinstance(before, str) else before), value]
        elif name.strip():
            fields[name] = value
    return fields


def _listed(labels: Mapping[str, str] | None) -> list[str] | None:
    """`key:value`, as ECS defines it: a Kubernetes key has no colon, so the first one ends the key."""
    return None if labels is None else [f"{key}:{value}" for key, value in labels.items()]
