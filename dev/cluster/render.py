"""What helm renders, and the pods in it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

__all__ = ["PodTemplate", "Render", "pod_templates"]


class PodTemplate(NamedTuple):
    """A pod template, or a pod, of the object `kind`/`name`."""

    kind: str
    name: str
    metadata: dict[str, Any]
    spec: dict[str, Any]

    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


class Render:
    """One render. What it gives is shared: whoever wants to change it copies it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._objects: list[dict[str, Any]] | None = None

    def objects(self) -> list[dict[str, Any]]:
        if self._objects is None:
            self._objects = [found for found in yaml.load_all(self.text, yaml.CSafeLoader) if found]
        return self._objects

    def get(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.objects() if one["kind"] == kind and one["metadata"]["name"] == name]
        return found

    def pods(self) -> list[PodTemplate]:
        return list(pod_templates(self.objects()))

    def agent(self) -> PodTemplate:
        (found,) = [pod for pod in self.pods() if pod.kind == "DaemonSet" and pod.name.endswith("-agent")]
        return found

    def container(self) -> dict[str, Any]:
        """The agent's."""
        return next(one for one in self.agent().spec["containers"] if one["name"] == "agent")

    def settings(self, part: str = "agent") -> dict[str, Any]:
        """The YAML file that is mounted into the part's pod."""
        (found,) = [one for one in self.objects() if one["kind"] == "ConfigMap" and f"{part}.yaml" in one.get("data", {})]
        settings: dict[str, Any] = yaml.safe_load(found["data"][f"{part}.yaml"])
        return settings


def pod_templates(objects: list[dict[str, Any]]) -> Iterator[PodTemplate]:
    for one in objects:
        kind, name = one["kind"], one["metadata"]["name"]
        if kind == "Pod":
            yield PodTemplate(kind, name, one["metadata"], one["spec"])
        elif "template" in one.get("spec", {}):
            yield PodTemplate(kind, name, one["spec"]["template"]["metadata"], one["spec"]["template"]["spec"])
        elif kind == "CronJob":
            template = one["spec"]["jobTemplate"]["spec"]["template"]
            yield PodTemplate(kind, name, template["metadata"], template["spec"])
