"""Validates OCSF events by the official schema of their class and profiles, and converts them back to native events."""

import copy
from datetime import datetime
from functools import cache

import jsonschema_rs
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from tests.agent.sinks.encoders.native_events import NAMESPACES, native_labels

CLASSES = {
    0: "base_event",
    1007: "process_activity",
    1008: "event_log_actvity",
    2004: "detection_finding",
}  # OCSF's own spelling
WORKLOADS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob")


@cache
def schema():
    """The official schema, with the ranges that it leaves to its formats: an integer_t has 32 bits, a long_t 64."""
    official = copy.deepcopy(get_ocsf_schema("1.8.0"))
    for name, bits in (("integer_t", 31), ("long_t", 63)):
        official["dictionary"]["types"]["attributes"][name]["range"] = [-(2**bits), 2**bits - 1]
    return OcsfJsonSchemaEmbedded(official)


@cache
def validator(class_uid, profiles):
    return jsonschema_rs.validator_for(schema().get_class_schema(CLASSES[class_uid], list(profiles)))


def schema_errors(event):
    errors = list(validator(event["class_uid"], tuple(event["metadata"]["profiles"])).iter_errors(event))
    yield from (f"{one.instance_path}: {one.message}" for one in errors)
    yield from nulls(event, "")
    yield from () if errors else times(event)
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        yield "type_uid is not the class and the activity"
    if event["activity_id"] == 99 and not event.get("activity_name"):
        yield "another activity needs a name"


def nulls(value, path):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [f"{path}.{key}: null"] if inner is None else nulls(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from nulls(inner, path)


def times(value):
    """Checks that each time in milliseconds is equal to its text."""
    if isinstance(value, dict):
        for key, text in value.items():
            if key.endswith("_dt"):
                second = int(datetime.fromisoformat(f"{text[:19]}+00:00").timestamp())
                if value.get(key[:-3]) != second * 1000 + int(text[20:23]):
                    yield f"{key}: {text} is not {value.get(key[:-3])}"
            yield from times(text)


def native_attribution(event, container):
    """The native event's cgroup, container, k8s and enrichment."""
    rest = event["unmapped"]
    of_k8s = rest["k8s"]
    pod = event.get("resources", [{}])[0]
    labels = (container or {}).get("labels", pod.get("labels", of_k8s.get("labels")))
    annotations = native_labels(of_k8s.get("annotations"), "=")
    if container is not None:
        workload = of_k8s.get("workload")
        tags = {
            "k8s.cluster.name": "cluster",
            "k8s.namespace.name": "namespace",
            "k8s.pod.name": "pod",
            "k8s.pod.uid": "pod_uid",
        }
        expected = {tag: of_k8s[name] for tag, name in tags.items() if name in of_k8s}
        if workload and workload["kind"] in WORKLOADS:
            expected[f"k8s.{workload['kind'].lower()}.name"] = workload["name"]
        assert {tag["name"]: tag["value"] for tag in container["tags"]} == expected
        image = container.get("image", {})
        container = {
            "id": container["uid"],
            "name": container.get("name"),
            "image": image.get("name", rest.get("container", {}).get("image")),
            "image_id": image.get("uid"),
            "kind": rest.get("container", {}).get("kind"),
            "runtime": container.get("runtime"),
        }
    names = ("cluster", "namespace", "pod", "pod_uid", "workload", "service_account", "qos")
    fields = {
        "k8s": {
            "node": event["device"]["hostname"],
            **{name: of_k8s.get(name) for name in names},
            "labels": native_labels(labels, "="),
            **({} if annotations is None else {"annotations": annotations}),
        }
    }
    if "enrichment" in rest:
        fields |= {"cgroup": native_cgroup(rest.get("cgroup")), "container": container}
        fields["enrichment"] = {"by": None, **rest["enrichment"]}
    return fields


def native_cgroup(cgroup):
    return cgroup and {"id": int(cgroup["id"]), "path": cgroup.get("path")}


def native_process(process, rest, prefix):
    start = process.get("created_time_dt", rest.get(f"{prefix}_start_time"))
    return {
        f"{prefix}_tid": process.get("ptid", rest.get(f"{prefix}_tid")),
        f"{prefix}_ns_tid": rest.get(f"{prefix}_ns_tid"),
        f"{prefix}_pid": process.get("pid", rest.get(f"{prefix}_pid")),
        f"{prefix}_ns_pid": process.get("namespace_pid", rest.get(f"{prefix}_ns_pid")),
        f"{prefix}_start_time": start,
    }


def native_fork(event):
    """The native event, from a fork's event: that this is possible shows that nothing is lost."""
    rest, process, caller = event["unmapped"], event["process"], event["actor"].get("process", {})
    above, user = process.get("parent_process", {}), process.get("user", {})
    thread = event["activity_id"] != 1
    child = native_process(process, rest, "child")
    started = child.pop("child_start_time")
    leader = {f"leader_{key.removeprefix('child_')}": value for key, value in child.items()} | {"leader_start_time": started}
    if thread:
        started = rest.get("start_time")
        leader = {name: rest.get(name) for name in leader}
    return {
        "event": event["metadata"]["event_code"],
        "id": event["metadata"]["uid"],
        "timestamp": event["time_dt"],
        "kind": "thread" if thread else "process",
        **native_process(caller, rest, "parent"),
        **child,
        "start_time": started,
        **native_process(above, rest, "parent_process"),
        **leader,
        "comm": process.get("name"),
        "parent_comm": caller.get("name", rest.get("parent_comm")),
        "uid": int(user["uid"]) if user else None,
        "gid": int(user["groups"][0]["uid"]) if "groups" in user else rest.get("gid"),
        "child_ns_pids": rest["child_ns_pids"],
        "child_ns_pids_truncated": rest["child_ns_pids_truncated"],
        "namespaces": {name: rest.get("namespaces", {}).get(name) for name in NAMESPACES},
        "clone": rest.get("clone"),
        "process_entity_id": None if process.get("uid") == event["metadata"]["uid"] else process.get("uid"),
        "parent_entity_id": above.get("uid"),
        **native_attribution(event, process.get("container")),
        "parent_cgroup": native_cgroup(rest.get("parent_cgroup")),
    }


def native_event(event):
    rest = event["unmapped"]
    fields = {
        "event": event["metadata"]["event_code"],
        "id": event["metadata"]["uid"],
        "timestamp": event["time_dt"],
        "interval": {"start": event["start_time_dt"], "end": event["end_time_dt"]},
        **{name: value for name, value in rest.items() if name not in ("heads", "container", "k8s", "cgroup", "enrichment")},
        **native_attribution(event, event["device"].get("container")),
    }
    if "heads" in rest:
        fields["heads"] = {str(head["cpu"]): head["sequence"] for head in rest["heads"]}
    if event["class_uid"] == 1008:
        missing = {"missing": event["log_name"], "reason": event["status_code"], "sink": rest.get("sink")}
        fields |= missing | {"count": event.get("count", rest.get("count"))}
    if event["class_uid"] == 2004:
        fields["phase"] = {1: "start", 3: "stop"}[event["activity_id"]]
    return fields
