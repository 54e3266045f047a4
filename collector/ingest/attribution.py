"""The attribution of an event: its cgroup, container and k8s, checked once for all events with the same.

Pure but for a bounded cache of what was checked before. The agent attributes; nothing is guessed here.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from collector.ingest.fields import Refused, count, mapping, maybe_text, text
from collector.model import Attribution
from wire.limits import MAX_CGROUP_PATH, MAX_IMAGE, MAX_LABELS

__all__ = ["attribution_of", "host_of"]

# Characters. Kubernetes allows 253 in a name, 63 in a label's value, 317 in its key.
NAME: Final = 253
ANNOTATIONS, ANNOTATION = 64, 2048  # twice what an agent sends
_KNOWN: dict[bytes, Attribution] = {}
_KNOWN_MOST: Final = 4096  # attributions, of at most 8 KiB each: 64 MiB when all are as long as can be. Emptied when full
_KNOWN_LONGEST: Final = 8192


def attribution_of(line: dict[str, Any]) -> Attribution:
    """Of a parsed event; equal ones give the same object. Raises `Refused`."""
    given = {"cgroup": line.get("cgroup"), "container": line.get("container"), "k8s": line.get("k8s")}
    try:
        key = orjson.dumps(given)
    except orjson.JSONEncodeError:
        raise Refused("cgroup, container or k8s: nested too deeply") from None
    known = _KNOWN.get(key)
    if known is None:
        known = _checked(given)
        if len(_KNOWN) >= _KNOWN_MOST:
            _KNOWN.clear()
        if len(key) <= _KNOWN_LONGEST:
            _KNOWN[key] = known
    return known


def host_of(line: dict[str, Any]) -> Attribution:
    """The host that an event's container is on: everything of its node that is outside pods."""
    k8s = mapping(line.get("k8s"), "k8s", 32)
    return attribution_of({"k8s": {"cluster": k8s.get("cluster"), "node": k8s.get("node")}})


def _checked(given: dict[str, Any]) -> Attribution:
    cgroup, container, k8s = _cgroup(given["cgroup"]), _container(given["container"]), _k8s(given["k8s"])
    return Attribution(
        orjson.dumps({"cgroup": cgroup, "container": container, "k8s": k8s}),
        k8s["cluster"],
        k8s["node"],
        k8s["namespace"],
        k8s["pod"],
        k8s["pod_uid"],
        cgroup["id"] if cgroup else None,
        bool(container and container["name"]),
    )


def _cgroup(value: object) -> dict[str, Any] | None:
    if value is None:
        return None
    cgroup = mapping(value, "cgroup", 16)
    return {"id": count(cgroup.get("id"), "cgroup.id"), "path": maybe_text(cgroup.get("path"), "cgroup.path", MAX_CGROUP_PATH)}


def _container(value: object) -> dict[str, Any] | None:
    if value is None:
        return None
    given = mapping(value, "container", 32)
    longest = {"name": NAME, "image": MAX_IMAGE, "image_id": MAX_IMAGE, "kind": 32, "runtime": 64}
    return {
        "id": text(given.get("id"), "container.id", 128, empty=False),
        **{key: maybe_text(given.get(key), f"container.{key}", most) for key, most in longest.items()},
    }


def _k8s(value: object) -> dict[str, Any]:
    given = mapping(value, "k8s", 32)
    labels, workload, annotations = given.get("labels"), given.get("workload"), given.get("annotations")
    return {
        "cluster": text(given.get("cluster"), "k8s.cluster", NAME, empty=False),
        "node": text(given.get("node"), "k8s.node", NAME, empty=False),
        **{key: maybe_text(given.get(key), f"k8s.{key}", NAME, empty=False) for key in ("namespace", "pod", "pod_uid")},
        "labels": None if labels is None else _labels(labels),
        "workload": None if workload is None else _workload(workload),
        "service_account": maybe_text(given.get("service_account"), "k8s.service_account", NAME),
        "qos": maybe_text(given.get("qos"), "k8s.qos", 32),
        **({} if annotations is None else {"annotations": _annotations(annotations)}),
    }


def _labels(value: object) -> dict[str, str]:
    labels = mapping(value, "k8s.labels", MAX_LABELS)
    return {text(key, "k8s.labels", 317): text(label, "k8s.labels", NAME) for key, label in labels.items()}


def _annotations(given: object) -> dict[str, str]:
    annotations = mapping(given, "k8s.annotations", ANNOTATIONS)
    return {text(key, "k8s.annotations", 317): text(value, "k8s.annotations", ANNOTATION) for key, value in annotations.items()}


def _workload(value: object) -> dict[str, str]:
    given = mapping(value, "k8s.workload", 16)
    return {key: text(given.get(key), f"k8s.workload.{key}", NAME) for key in ("kind", "name")}
