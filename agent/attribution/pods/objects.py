"""Reads a Pod object of the Kubernetes API. Pure.

What a user of the cluster can write there is hostile input: a field that has not the type of the API's schema is ignored.
Source of the fields: Kubernetes API v1.Pod.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any, Final

from agent.model import Container, ContainerKind, PlannedContainer, Pod
from wire.limits import MAX_IMAGE, MAX_LABELS

__all__ = ["as_object", "pod_of"]

_STATUSES: Final[tuple[tuple[str, ContainerKind], ...]] = (
    ("initContainerStatuses", "init"),
    ("containerStatuses", "app"),
    ("ephemeralContainerStatuses", "ephemeral"),
)
_SPECS: Final[tuple[tuple[str, ContainerKind], ...]] = (
    ("initContainers", "init"),
    ("containers", "app"),
    ("ephemeralContainers", "ephemeral"),
)
# The hash of a static pod's manifest is its uid on the node; the API's mirror of it has another.
_ALIASES: Final = ("kubernetes.io/config.hash", "kubernetes.io/config.mirror")
_MOST_ANNOTATION: Final = 1024  # characters of one; the API allows 256 KiB, which every fork would carry
# Label of a pod with the hash that its ReplicaSet's name ends with -> the kind that made the ReplicaSet. Argo Rollouts' first:
# its pods have both labels while a Deployment is migrated.
_TEMPLATE_HASHES: Final = (("rollouts-pod-template-hash", "Rollout"), ("pod-template-hash", "Deployment"))
_CRON_JOB: Final = re.compile(r"(.+)-\d{8,10}")  # the controller appends minutes since 1970
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def pod_of(item: Any, keep: Collection[str] = ()) -> Pod | None:  # noqa: ANN401  it is whatever the server sent
    """None when it has no uid, namespace or name. `keep`: the keys of the annotations that are kept."""
    metadata = as_object(as_object(item).get("metadata"))
    uid, namespace, name = (_text(metadata.get(key)) for key in ("uid", "namespace", "name"))
    if not (uid and namespace and name):
        return None
    annotations = _strings(metadata.get("annotations"))
    labels = _strings(metadata.get("labels"))
    spec, status = as_object(as_object(item).get("spec")), as_object(as_object(item).get("status"))
    return Pod(
        uid=uid,
        namespace=namespace,
        name=name,
        aliases=frozenset([uid, *(annotations[key] for key in _ALIASES if annotations.get(key))]),
        labels=dict(islice(labels.items(), MAX_LABELS)),
        workload=_workload(metadata, labels, name, _text(spec.get("nodeName"))),
        service_account=_text(spec.get("serviceAccountName")),
        qos=_text(status.get("qosClass")),
        containers={one.id: one for one in _containers(spec, status)},
        annotations={key: annotations[key][:_MOST_ANNOTATION] for key in keep if key in annotations},
        runtime_class=_text(spec.get("runtimeClassName")),
        planned=tuple(_planned(spec, status)),
    )


def _workload(metadata: dict[str, Any], labels: dict[str, str], pod: str, node: str | None) -> tuple[str, str]:
    """The owner that a person would name, worked out without a request for the owner's owner; without an owner the pod itself.

    A static pod's mirror is called `<name>-<node>` and belongs to its node.
    """
    for owner in _list(metadata.get("ownerReferences")):
        kind, name = _text(as_object(owner).get("kind")), _text(as_object(owner).get("name"))
        if not kind or not name or as_object(owner).get("controller") is not True:
            continue
        if kind == "Node":
            return "StaticPod", pod.removesuffix(f"-{node}") or pod
        for label, above in _TEMPLATE_HASHES if kind == "ReplicaSet" else ():
            suffix = "-" + labels.get(label, "")
            if len(suffix) > 1 and name.endswith(suffix) and len(name) > len(suffix):
                return above, name.removesuffix(suffix)
        if kind == "Job" and (cron := _CRON_JOB.fullmatch(name)):
            return "CronJob", cron[1]
        return kind, name
    return "Pod", pod


def _planned(spec: dict[str, Any], status: dict[str, Any]) -> Iterator[PlannedContainer]:
    """Init containers first, in the spec's order."""
    succeeded = {
        _text(one.get("name"))
        for one in map(as_object, _list(status.get("initContainerStatuses")))
        if _is_zero(as_object(as_object(one.get("state")).get("terminated")).get("exitCode"))
    }
    for field, usual in _SPECS:
        for one in map(as_object, _list(spec.get(field))):
            if name := _text(one.get("name")):
                kind: ContainerKind = "sidecar" if usual == "init" and one.get("restartPolicy") == "Always" else usual
                yield PlannedContainer(name, _image(_text(one.get("image"))), kind, name in succeeded)


def _is_zero(value: object) -> bool:
    return type(value) is int and value == 0


def _containers(spec: dict[str, Any], status: dict[str, Any]) -> Iterator[Container]:
    firsts = map(as_object, _list(spec.get("initContainers")))
    sidecars = {_text(one.get("name")) for one in firsts if one.get("restartPolicy") == "Always"}
    images = {
        _text(one.get("name")): _text(one.get("image")) for field, _ in _SPECS for one in map(as_object, _list(spec.get(field)))
    }
    for field, usual in _STATUSES:
        for one in map(as_object, _list(status.get(field))):
            name = _text(one.get("name"))
            kind: ContainerKind = "sidecar" if usual == "init" and name in sidecars else usual
            image_id = _text(one.get("imageID"))
            digest = _DIGEST.search(image_id or "")
            # A restarted container's former id first: the entry of the present one has more fields.
            for state in (one.get("lastState"), one.get("state")):
                ended = as_object(as_object(state).get("terminated"))
                yield from _named(ended.get("containerID"), name, None, None, kind)
            # The name as the user wrote it: a status may have another one for the same image, or its id.
            image = images.get(name) or _text(one.get("image"))
            yield from _named(one.get("containerID"), name, image, digest[0] if digest else image_id, kind)


def _named(
    full_id: object, name: str | None, image: str | None, image_id: str | None, kind: ContainerKind
) -> Iterator[Container]:
    runtime, separator, container = (_text(full_id) or "").partition("://")
    if separator and container:
        yield Container(container, name, _image(image), _image(image_id), kind, runtime)


def _image(text: str | None) -> str | None:
    """None when it is longer than any reference to an image: each fork would carry it."""
    return text if text is not None and len(text) <= MAX_IMAGE else None


def as_object(value: object) -> dict[str, Any]:
    """Empty when it is anything else."""
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _strings(value: object) -> dict[str, str]:
    return {key: text for key, text in as_object(value).items() if isinstance(text, str)}
