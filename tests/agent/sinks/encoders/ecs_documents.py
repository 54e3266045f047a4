"""Validates ECS documents by the official list of fields, and converts them back to native events."""

import json
import re
from pathlib import Path

from tests.agent.sinks.encoders.native_events import NAMESPACES, native_labels

ROOT = Path(__file__).parents[4]
ECS = json.loads((ROOT / "tests/schemas/ecs-9.4.0.json").read_text())["fields"]
MAPPINGS = json.loads((ROOT / "docs/siem/examples/ecs-component-template.json").read_text())["template"]["mappings"]
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
WORKLOADS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob")
KEYWORDS = ("keyword", "constant_keyword", "match_only_text")
# Keys that a container, an operator or a cluster chooses, and the reasons of a ledger: no list has them.
OPEN = re.compile(r"(kubernetes\.(labels|annotations)|forklore\.ledger\.(lost|sinks))\.")


def mapped_fields(properties, prefix=""):
    """The fields of the component template: path -> type."""
    return {
        path: kind
        for name, mapped in properties.items()
        for path, kind in (
            mapped_fields(mapped["properties"], f"{prefix}{name}.").items()
            if "properties" in mapped
            else [(prefix + name, mapped["type"])]
        )
    }


OURS = mapped_fields(MAPPINGS["properties"])
OUR_ARRAYS = {"forklore.child_ns_pids", "forklore.clone", "forklore.heads"}


def is_of(kind, value):
    match kind:
        case "long":
            return type(value) is int and -(2**63) <= value < 2**63
        case "date":
            return isinstance(value, str) and DATE.fullmatch(value) is not None
        case "boolean":
            return isinstance(value, bool)
        case _:
            return kind in KEYWORDS and isinstance(value, str)


def leaves(value, path=""):
    """Elasticsearch's paths and their values. The members of an array stay together, unless they are objects."""
    if isinstance(value, dict):
        if not value:
            yield path, value
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for member in value:
            yield from leaves(member, path)
    else:
        yield path, value


def keys(value):
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from keys(inner)


def schema_errors(document):
    """Each violation of ECS, or of the mapping of our own objects."""
    for path, value in leaves(document):
        field = ECS.get(path)
        if field is None and OPEN.match(path):
            kind = "long" if path.startswith("forklore") else "keyword"
            if value != {} and not all(is_of(kind, one) for one in (value if isinstance(value, list) else [value])):
                yield f"{path}: {value!r} is no {kind}"
        elif value == {}:
            if path in ECS or OURS.get(path, "object") != "object":
                yield f"{path}: an object in place of a value"
        elif value == [] and path in OUR_ARRAYS:
            continue
        elif field is None:
            kind = OURS.get(path)
            members = value if path in OUR_ARRAYS else [value]
            if kind is None:
                yield f"{path}: no such field"
            elif not all(is_of(kind, one) for one in members if one is not None or path != "forklore.child_ns_pids"):
                yield f"{path}: {value!r} is no {kind}"
        elif ("array" in field) != isinstance(value, list):
            yield f"{path}: {value!r} is {'no' if 'array' in field else 'an'} array"
        else:
            for one in value if isinstance(value, list) else [value]:
                if not is_of(field["type"], one):
                    yield f"{path}: {one!r} is no {field['type']}"
                if "allowed" in field and one not in field["allowed"]:
                    yield f"{path}: {one!r} is not allowed"
    for category in document["event"]["category"]:
        for kind in document["event"]["type"]:
            if kind not in ECS["event.category"]["allowed"][category]:
                yield f"event.type {kind} is not expected in category {category}"
    labels = document.get("kubernetes", {}).get("labels", {})
    yield from (f"the label {key!r} is an object" for key, value in labels.items() if isinstance(value, dict))
    yield from (f"a key can't be a field's name: {key!r}" for key in keys(document) if "." in key or not key.strip())


def images(container):
    image = container.get("image", {})
    return image.get("name"), image.get("hash", {}).get("all", [None])[0]


def native_attribution(document):
    """The native event's cgroup, container, k8s and enrichment, from a document."""
    own, orchestrator = document["forklore"], document["orchestrator"]
    pod = orchestrator.get("resource", {})
    container = document.get("container")
    if container is not None:
        image, digest = images(container)
        container = {
            "id": container["id"],
            "name": container.get("name"),
            "image": image,
            "image_id": own.get("container", {}).get("image_id", digest),
            "kind": own.get("container", {}).get("kind"),
            "runtime": container.get("runtime"),
        }
    annotations = native_labels(pod.get("annotation"), ":")
    of_k8s = own.get("k8s", {})
    kubernetes, workload = document["kubernetes"], of_k8s.get("workload", {})
    assert kubernetes["node"] == {"name": document["host"]["name"]}
    assert kubernetes.get("namespace") == orchestrator.get("namespace")
    assert kubernetes.get("pod", {}) == {name: pod[of] for name, of in (("name", "name"), ("uid", "id")) if of in pod}
    assert kubernetes.get("container", {}).get("name") == (container or {}).get("name")
    assert {kind: kubernetes[kind.lower()]["name"] for kind in WORKLOADS if kind.lower() in kubernetes} == (
        {workload["kind"]: workload["name"]} if workload.get("kind") in WORKLOADS else {}
    )
    assert pod.get("parent", {}).get("type") == workload.get("kind")
    found = {
        "k8s": {
            "cluster": orchestrator["cluster"]["name"],
            "node": document["host"]["name"],
            "namespace": orchestrator.get("namespace"),
            "pod": pod.get("name"),
            "pod_uid": pod.get("id"),
            "labels": native_labels(pod.get("label"), ":"),
            "workload": of_k8s.get("workload"),
            "service_account": of_k8s.get("service_account"),
            "qos": of_k8s.get("qos"),
        }
        | ({} if annotations is None else {"annotations": annotations}),
    }
    if "enrichment" in own:
        found |= {"cgroup": native_cgroup(own.get("cgroup")), "container": container}
        found["enrichment"] = {"by": None, **own["enrichment"]}
    return found


def native_cgroup(cgroup):
    return cgroup and {"id": int(cgroup["id"]), "path": cgroup.get("path")}


def number(text):
    return None if text is None else int(text)


def native_fork(document):
    """The native event, from a fork's document: that this is possible shows that nothing is lost."""
    own, process = document["forklore"], document["process"]
    above, thread = process["parent"], own["kind"] == "thread"
    child = {
        "tid": process.get("thread", {}).get("id"),
        "ns_tid": own.get("child_ns_tid"),
        "pid": process.get("pid"),
        "ns_pid": process.get("vpid"),
    }
    started = own.get("start_time") if thread else process.get("start")
    leader = {name: own.get(f"leader_{name}") for name in (*child, "start_time")} if thread else child | {"start_time": started}
    return {
        "event": document["event"]["code"],
        "id": document["event"]["id"],
        "timestamp": document["@timestamp"],
        "kind": own["kind"],
        **{name: own.get(name) for name in ("parent_tid", "parent_ns_tid", "parent_pid", "parent_ns_pid", "parent_start_time")},
        **{f"child_{name}": value for name, value in child.items()},
        "start_time": started,
        "parent_process_tid": above.get("thread", {}).get("id"),
        "parent_process_ns_tid": own.get("parent_process_ns_tid"),
        "parent_process_pid": above.get("pid"),
        "parent_process_ns_pid": above.get("vpid"),
        "parent_process_start_time": above.get("start"),
        **{f"leader_{name}": value for name, value in leader.items()},
        "comm": process.get("name"),
        "parent_comm": own.get("parent_comm"),
        "uid": number(process.get("user", {}).get("id")),
        "gid": number(process.get("group", {}).get("id")),
        "child_ns_pids": own["child_ns_pids"],
        "child_ns_pids_truncated": own["child_ns_pids_truncated"],
        "namespaces": {name: own.get("namespaces", {}).get(name) for name in NAMESPACES},
        "clone": own.get("clone"),
        "process_entity_id": process.get("entity_id"),
        "parent_entity_id": above.get("entity_id"),
        **native_attribution(document),
        "parent_cgroup": native_cgroup(own.get("parent_cgroup")),
    }


def native_event(document):
    own, event = document["forklore"], document["event"]
    found = {
        "event": event["code"],
        "id": event["id"],
        "timestamp": document["@timestamp"],
        "interval": {"start": event["start"], "end": event["end"]},
        **{name: value for name, value in own.items() if name not in ("heads", "container", "k8s", "cgroup", "enrichment")},
        **native_attribution(document),
    }
    if "heads" in own:
        found["heads"] = {str(head["cpu"]): head["sequence"] for head in own["heads"]}
    if event["code"] == "gap":
        found |= {"reason": event["reason"], "sink": own.get("sink")}
    if event["code"] == "fork_storm":
        found["reason"] = event["reason"]
    return found
