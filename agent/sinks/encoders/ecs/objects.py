"""wire.events -> ECS, object by object. Pure, and not in a hurry: what it makes is kept, or made once an interval.

Must not live here: joining what is made here into documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from agent.model import Event, ParentContext, Task
from agent.sinks.encoders.facts import WORKLOADS, by_name, cgroup_of, heads, known, namespaces
from agent.sinks.encoders.times import Rfc3339
from wire.events import FORK, FORK_STORM, FORK_SUMMARY, NODE_SUMMARY

__all__ = [
    "ECS_VERSION",
    "about_fork",
    "about_own",
    "attribution_leftovers",
    "attribution_of",
    "child_of",
    "own_leftovers",
    "parent_context_of",
]

ECS_VERSION: Final = "9.4.0"
_DIGEST: Final = re.compile(r"sha(?:256|384|512):[0-9a-f]{64,128}")
_MEDIUM: Final = 47  # of event.severity, as Elastic Security reads it: 21 low, 47 medium, 73 high, 99 critical
_TOLD: Final = frozenset({"event", "id", "timestamp", "interval", "k8s", "container", "cgroup", "enrichment", "reason"})


def attribution_of(k8s: Mapping[str, Any], container: Mapping[str, Any] | None) -> dict[str, Any]:
    """container, orchestrator and kubernetes."""
    workload = k8s["workload"]
    is_pod = k8s["pod"] is not None or k8s["pod_uid"] is not None
    kubernetes = known({
        "namespace": k8s["namespace"],
        "pod": known({"name": k8s["pod"], "uid": k8s["pod_uid"]}) or None,
        "node": {"name": k8s["node"]},
        "container": known({"name": container and container["name"]}) or None,
        "labels": _dedotted(k8s["labels"]),
        "annotations": _dedotted(k8s.get("annotations")),
    })  # fmt: skip
    if workload and workload["kind"] in WORKLOADS:
        kubernetes[workload["kind"].lower()] = {"name": workload["name"]}
    resource = known({
        "type": "pod" if is_pod else None,
        "name": k8s["pod"],
        "id": k8s["pod_uid"],
        "parent": workload and {"type": workload["kind"]},
        "label": _listed(k8s["labels"]),
        "annotation": _listed(k8s.get("annotations")),
    })  # fmt: skip
    orchestrator = known({
        "type": "kubernetes",
        "cluster": {"name": k8s["cluster"]},
        "namespace": k8s["namespace"],
        "resource": resource or None,
    })  # fmt: skip
    return known({"container": container and _container(container), "orchestrator": orchestrator, "kubernetes": kubernetes})


def attribution_leftovers(event: Mapping[str, Any]) -> dict[str, Any]:
    """What ECS has no field for, of whose it is."""
    k8s, container = event["k8s"], event.get("container")
    of_k8s = known({name: k8s[name] for name in ("workload", "service_account", "qos")})
    of_container = known({
        "kind": container["kind"],
        "image_id": None if container["image_id"] is None or _is_digest(container["image_id"]) else container["image_id"],
    }) if container else None  # fmt: skip
    return known({
        "cgroup": cgroup_of(event.get("cgroup")),
        "k8s": of_k8s or None,
        "container": of_container or None,
        "enrichment": known(event["enrichment"]) if "enrichment" in event else None,
    })  # fmt: skip


def parent_context_of(
    parent_context: ParentContext, node: str, time: Rfc3339
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """`process` but for the child's own; `related`; and what goes under `forklore`.

    `process.group_leader` is a job's leader and not a thread group's, so it stays empty. The parent's name is known when it was
    the parent that called.
    """
    caller, above = parent_context.parent, parent_context.parent_process
    uid = None if parent_context.uid is None else str(parent_context.uid)
    gid = None if parent_context.gid is None else str(parent_context.gid)
    of_parent = known({
        "pid": above.pid,
        "vpid": above.ns_pid,
        "entity_id": above.entity,
        "start": None if above.start is None else time(above.start),
        "thread": known({"id": above.tid}) or None,
        "name": parent_context.parent_comm if caller.pid is not None and caller.pid == above.pid else None,
    })  # fmt: skip
    process = known({
        "name": parent_context.comm,
        "user": known({"id": uid}) or None,
        "group": known({"id": gid}) or None,
        "parent": of_parent,
    })  # fmt: skip
    leftovers = known({
        **by_name("parent", caller, time),
        "parent_comm": parent_context.parent_comm,
        "parent_process_ns_tid": above.ns_tid,
        **(by_name("leader", parent_context.leader, time) if parent_context.leader else {}),
        "namespaces": namespaces(parent_context.namespaces),
        "clone": parent_context.clone,
    })  # fmt: skip
    return process, known({"hosts": [node], "user": uid and [uid]}), leftovers


def child_of(child: Task) -> dict[str, Any]:
    """The child's own part of `process`, but for when it started."""
    return known({
        "pid": child.pid,
        "vpid": child.ns_pid,
        "entity_id": child.entity,
        "thread": known({"id": child.tid}) or None,
    })  # fmt: skip


def about_fork(thread: bool) -> dict[str, Any]:
    """A new thread is a change of a process that runs: a rule that counts process starts must not count it."""
    kind = "change" if thread else "start"
    return {"kind": "event", "category": ["process"], "type": [kind], "action": "fork", "code": FORK}


def about_own(event: Event) -> dict[str, Any]:
    """The part of `event` that depends on the kind, within the values and pairs that ECS allows.

    A storm's beginning is the one alert. All are of type `info`: rules that look for process starts must not find them.
    """
    alert = event["event"] == FORK_STORM and event["phase"] == "start"
    metric = event["event"] in (FORK_SUMMARY, NODE_SUMMARY)
    return known({
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


def own_leftovers(event: Event) -> dict[str, Any]:
    """All the rest of an event of the agent's own, by its name, also what a later kind may bring."""
    rest = {name: value for name, value in event.items() if name not in _TOLD}
    return known({**attribution_leftovers(event), **rest, "heads": heads(event)})


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    image, image_id = container["image"], container["image_id"]
    tag = image and _tag(image)
    of_image = known({
        "name": image,
        "tag": [tag] if tag else None,
        "hash": {"all": [image_id]} if image_id is not None and _is_digest(image_id) else None,
    })  # fmt: skip
    return known({
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
    """Dots replaced as Elastic's `labels.dedot` does, so that `app` beside `app.kubernetes.io/x` is no field beside an object.

    Two keys that become one both keep their values, in a list: to Elasticsearch a list is of its members' type. A blank key
    can't be a field's name. As they were written, all are in orchestrator.resource.label.
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
    """ECS's way: a Kubernetes key has no colon, so what stands before the first is the key."""
    return None if labels is None else [f"{key}:{value}" for key, value in labels.items()]
