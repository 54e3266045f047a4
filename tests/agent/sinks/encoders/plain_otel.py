"""Log records by OpenTelemetry's own classes, without regard to speed: parsed, and made from the native event."""

from datetime import datetime

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from agent.sinks.encoders.native import NativeEncoder
from agent.sinks.encoders.otel.resource import image_parts
from agent.sinks.printable import printable
from agent.sinks.protobuf import fields
from tests.agent.sinks.encoders.native_events import STREAM

STANDARD = {
    "id": "log.record.uid",
    "comm": "process.executable.name",
    "uid": "process.user.id",
    "child_pid": "process.pid",
    "child_ns_pid": "process.vpid",
    "parent_process_pid": "process.parent_pid",
}
NAMES = {
    "sched_process_fork": ("process.fork", 9, "INFO"),
    "fork_summary": ("process.fork.summary", 9, "INFO"),
    "node_summary": ("process.fork.node_summary", 9, "INFO"),
    "fork_storm": ("process.fork.storm", 13, "WARN"),
    "gap": ("process.fork.gap", 13, "WARN"),
}
WORKLOADS = {
    "CronJob": "cronjob", "DaemonSet": "daemonset", "Deployment": "deployment", "Job": "job", "ReplicaSet": "replicaset",
    "StatefulSet": "statefulset",
}  # fmt: skip


# Parsing, by the official classes.


def parse_item(item):
    """An item's two fields: the resource and the record."""
    (_, _, _, _, end), (_, _, second, _, last) = fields(item)
    assert (second, last) == (end, len(item))
    (record,) = ScopeLogs.FromString(item[second:]).log_records
    return ResourceLogs.FromString(item[:end]).resource, record


def plain(value):
    """An AnyValue as a Python value. Unset is None."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(inner) for inner in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: plain(one.value) for one in value.kvlist_value.values}
    return None if kind is None else getattr(value, kind)


def attributes_of(message):
    """Attributes by name. OTLP forbids duplicates."""
    named = {one.key: plain(one.value) for one in message.attributes}
    assert len(named) == len(message.attributes)
    return named


def sorted_by_name(message):
    """The same message; the order of attributes means nothing."""
    attributes_of(message)
    durations = sorted(message.attributes, key=lambda one: one.key)
    del message.attributes[:]
    message.attributes.extend(durations)
    return message


# Encoding, from the native event.


def any_value(value):
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value) if value < 2**63 else AnyValue(string_value=str(value))
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=key_values(value)))
    return AnyValue(array_value=ArrayValue(values=map(any_value, value)))


def key_values(named):
    return [KeyValue(key=key, value=any_value(value)) for key, value in named.items() if value is not None]


def leaves(path, value):
    if isinstance(value, dict) and not path.endswith("heads"):
        return {name: leaf for key, inner in value.items() for name, leaf in leaves(f"{path}.{key}", inner).items()}
    return {path: value}


def expected_resource(k8s, container):
    kind, name = (k8s["workload"] or {}).get("kind"), (k8s["workload"] or {}).get("name")
    of_a_pod = k8s["pod"] is not None or k8s["pod_uid"] is not None
    named = {
        "service.name": (name or k8s["pod"] or "unknown_service") if of_a_pod else "forklore",
        "service.namespace": k8s["namespace"],
        "host.name": "node1",
        "os.type": "linux",
        "k8s.cluster.name": "demo",
        "k8s.node.name": "node1",
        "k8s.namespace.name": k8s["namespace"],
        "k8s.pod.name": k8s["pod"],
        "k8s.pod.uid": k8s["pod_uid"],
        "forklore.k8s.workload.kind": kind,
        "forklore.k8s.workload.name": name,
        "forklore.k8s.service_account": k8s["service_account"],
        "forklore.k8s.qos": k8s["qos"],
    }
    if kind in WORKLOADS:
        named[f"k8s.{WORKLOADS[kind]}.name"] = name
    for key, value in (k8s["labels"] or {}).items():
        named[f"k8s.pod.label.{key}"] = value
    for key, value in (k8s.get("annotations") or {}).items():
        named[f"k8s.pod.annotation.{key}"] = value
    if container:
        image, tag, digest = image_parts(container["image"])
        named |= {
            "k8s.container.name": container["name"],
            "container.id": container["id"],
            "container.image.name": image,
            "container.image.tags": tag and [tag],
            "container.image.repo_digests": digest and [f"{image}@{digest}"],
            "container.image.id": container["image_id"],
            "container.runtime.name": container["runtime"],
            "forklore.container.kind": container["kind"],
        }
    return Resource(attributes=key_values(named))


def nanoseconds(moment):
    return int(datetime.fromisoformat(f"{moment[:19]}+00:00").timestamp()) * 10**9 + int(moment[20:29])


def where(k8s, container):
    if k8s["pod"] is not None:
        return printable(
            f"in {k8s['namespace']}/{k8s['pod']}{'/' + name if (name := (container or {}).get('name')) else ''}", 400
        )
    return f"on {k8s['node']}" if k8s["pod_uid"] is None else printable(f"in pod {k8s['pod_uid']}", 400)


def expected(event, body, is_thread=False):
    """`event`: as the native schema has it. `is_thread`: the child is not the leader of its process."""
    rest = {key: value for key, value in event.items() if key not in ("timestamp", "k8s", "container")}
    if "leader_pid" in event:
        # A process is its own leader, and was created at its start; a thread's process is older than the thread.
        created = "leader_start_time" if is_thread else "start_time"
        named = {"process.creation.time": rest.pop(created)}
        rest = {key: value for key, value in rest.items() if is_thread or not key.startswith("leader_")}
    else:
        named = {}
    for key, value in rest.items():
        named |= {STANDARD[key]: value} if key in STANDARD else leaves(f"forklore.{key}", value)
    name, severity, words = NAMES[event["event"]]
    moment = nanoseconds(event["timestamp"])
    record = LogRecord(
        time_unix_nano=moment,
        observed_time_unix_nano=moment,
        severity_number=severity,
        severity_text=words,
        event_name=name,
        body=AnyValue(string_value=body),
        attributes=key_values(named),
    )
    return sorted_by_name(expected_resource(event["k8s"], event.get("container"))), sorted_by_name(record)


def expected_fork(fork):
    event = orjson.loads(NativeEncoder("demo", "node1").forks(STREAM, [fork])[0])
    comm, pid, tid = event["parent_comm"], event["parent_pid"], event["child_tid"]
    who = f"{'?' if comm is None else printable(comm, 64)} ({'?' if pid is None else pid})"
    what = f"{'started thread' if fork.thread else 'forked'} {'?' if tid is None else tid}"
    body = f"{who} {what} {where(event['k8s'], event['container'])}"
    return expected(event, body, is_thread=fork.parent_context.leader is not None)


def same(item, reference):
    return tuple(map(sorted_by_name, parse_item(item))) == reference


def expected_body(event):
    place = where(event["k8s"], event.get("container"))
    match event["event"]:
        case "gap":
            of = f" (sink {event['sink']})" if event["sink"] else ""
            return f"{event['count']} {event['missing']} missing {place}: {event['reason']}{of}"
        case "fork_storm" if event["phase"] == "start":
            if event["reason"] == "ring":
                return f"fork storm {place}: more than its share of a ring that is over half full, from here on only counted"
            what = "forks" if event["reason"] == "limit" else "new parents and cgroups"
            return f"fork storm {place}: more than {event['limit']} {what} a second, from here on only counted"
        case "fork_storm":
            return f"fork storm {place} is over: {event['counts']['suppressed']} forks were only counted"
    lost = f", {event['counts']['lost']} of them lost" if event["counts"]["lost"] else ""
    return f"{event['counts']['processes']} processes and {event['counts']['threads']} threads forked {place}{lost}"
