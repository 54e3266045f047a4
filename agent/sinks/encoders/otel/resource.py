"""The attributes of a resource: an event's pod and container, from the native event's `k8s` and `container`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.sinks.encoders.otel.attributes import Value
from agent.sinks.encoders.shared_fields import WORKLOADS

__all__ = ["image_parts", "resource"]


def resource(k8s: Mapping[str, Any], container: Mapping[str, Any] | None) -> dict[str, Value]:
    """The same for all events of a container, so that they are in one ResourceLogs.

    There is no `container.name`: it is the runtime's name of the container, and we know the pod's name of it.
    """
    workload = k8s["workload"] or {}
    kind, name = workload.get("kind"), workload.get("name")
    named: dict[str, Value] = {
        "service.name": _service(k8s, name),
        "service.namespace": k8s["namespace"],
        "host.name": k8s["node"],
        "os.type": "linux",
        "k8s.cluster.name": k8s["cluster"],
        "k8s.node.name": k8s["node"],
        "k8s.namespace.name": k8s["namespace"],
        "k8s.pod.name": k8s["pod"],
        "k8s.pod.uid": k8s["pod_uid"],
        "forklore.k8s.workload.kind": kind,
        "forklore.k8s.workload.name": name,
        "forklore.k8s.service_account": k8s["service_account"],
        "forklore.k8s.qos": k8s["qos"],
    }
    if kind in WORKLOADS:
        named[f"k8s.{kind.lower()}.name"] = name
    for prefix, given in (("k8s.pod.label.", k8s["labels"]), ("k8s.pod.annotation.", k8s.get("annotations"))):
        named.update((prefix + key, value) for key, value in (given or {}).items())
    if container is not None:
        image, tag, digest = image_parts(container["image"])
        named |= {
            "k8s.container.name": container["name"],
            "container.id": container["id"],
            "container.image.name": image,
            "container.image.tags": None if tag is None else [tag],
            "container.image.repo_digests": None if digest is None else [f"{image}@{digest}"],
            "container.image.id": container["image_id"],
            "container.runtime.name": container["runtime"],
            "forklore.container.kind": container["kind"],
        }
    return named


def image_parts(image: str | None) -> tuple[str | None, str | None, str | None]:
    """Name, tag and digest of `registry:5000/shop/cart:1.2@sha256:...`. A bare `sha256:...` is a name."""
    if not image or image.startswith("sha256:"):
        return image, None, None
    rest, _, digest = image.partition("@")
    name, _, tag = rest.rpartition(":")
    if not name or "/" in tag:  # the colon, if any, is of the registry's port
        name, tag = rest, ""
    return name, tag or None, digest or None


def _service(k8s: Mapping[str, Any], workload: str | None) -> str:
    """`service.name`, by the conventions for Kubernetes, without the labels that are opt-in there. It is required."""
    if k8s["pod_uid"] is None and k8s["pod"] is None:
        return "forklore"  # an event of the node
    return workload or k8s["pod"] or "unknown_service"
