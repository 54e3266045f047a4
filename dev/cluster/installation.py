"""A release of the chart on a node: its objects at the API server, its pods in containers.

As controllers and kubelet would start them, one after the other, and as the rendered templates have them.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from dev.cluster.api_server import NAME, ApiServer
from dev.cluster.node.container import Container, Trust, until
from dev.cluster.node.containerd import Node
from dev.cluster.node.kubelet import NodePod
from dev.cluster.render import PodTemplate, Render

__all__ = ["COLLECTOR", "NAMESPACE", "NODE", "STATUS", "Installation"]

NAMESPACE: Final = "forklore"
NODE: Final = "node1"
STATUS, COLLECTOR = 9911, 9910  # ports
_SERVICE: Final = f"forklore-collector.{NAMESPACE}.svc"
_CA: Final = "forklore-ca"  # a ConfigMap
_CERTIFICATES: Final = "forklore-certificates"  # a Secret


class Installation:
    """`have_image`: imports an image (`agent`, `collector`) into the node. `folder`: for the volumes of its pods."""

    def __init__(self, node: Node, api: ApiServer, folder: Path, have_image: Callable[[str], object]) -> None:
        self.node = node
        self.api = api
        self.folder = folder
        self.collector: Container
        self._have_image = have_image
        self._started: list[str] = []  # sandboxes
        self._read_token = ""

    def apply(self, render: Render) -> None:
        """Certificates that are there stay: the render has none."""
        own = (("secrets", "Secret", _CERTIFICATES), ("configmaps", "ConfigMap", _CA))
        there = {name for kind, _, name in own if self.api.files(kind, NAMESPACE, name)}  # type: ignore[arg-type]
        self.api.apply([one for one in render.objects() if one["metadata"]["name"] not in there], NAMESPACE)

    def make_certificates(self, render: Render) -> Container:
        """Runs the chart's Job, and returns its container when it has ended."""
        self.apply(render)
        self._have_image("collector")
        (template,) = [pod for pod in render.pods() if pod.kind == "Job" and pod.name.startswith(_CERTIFICATES)]
        job = self._start(self.pod(template, f"{template.name}-{secrets.token_hex(2)}"), "certificates")
        until(lambda: not job.running(), "the certificates are made")
        if job.status()["exit_code"]:
            raise RuntimeError(f"the Job of the certificates failed: {job.log_text()}")
        return job

    def certificates(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """What the Job has made: the Secret's and the ConfigMap's data."""
        return self.api.data("secrets", NAMESPACE, _CERTIFICATES), self.api.data("configmaps", NAMESPACE, _CA)

    def use_certificates(self, made: tuple[Mapping[str, str], Mapping[str, str]]) -> None:
        """Those of another release of the same names."""
        self.api.put("secrets", NAMESPACE, _CERTIFICATES, made[0])
        self.api.put("configmaps", NAMESPACE, _CA, made[1])

    def start_collector(self, render: Render) -> Container:
        """Returns when it is ready. Certificates have to be there."""
        self.apply(render)
        self._have_image("collector")
        (template,) = [pod for pod in render.pods() if pod.kind == "StatefulSet"]
        claims = [
            {"name": one["metadata"]["name"], "persistentVolumeClaim": {}}
            for one in render.get("StatefulSet", template.name)["spec"].get("volumeClaimTemplates", [])
        ]
        spec = {**template.spec, "volumes": [*template.spec["volumes"], *claims]}
        self.collector = self._start(self.pod(template._replace(spec=spec), "forklore-collector-0"), "collector")
        self._wait_for_collector()
        return self.collector

    def restart_collector(self) -> Container:
        """In the same pod, as a kubelet does after it has ended."""
        before = self.collector
        self.collector = self.node.container(before.pod, (before.sandbox, before.address), "collector", 1)
        self._wait_for_collector()
        return self.collector

    def agent_pod(self, render: Render) -> NodePod:
        """As the DaemonSet has it; its name is another each time."""
        self.apply(render)
        return self.pod(render.agent(), f"forklore-agent-{secrets.token_hex(2)}")

    def start_agent(self, render: Render) -> Container:
        """Returns when it is ready."""
        agent = self.run_agent(self.agent_pod(render))
        until(lambda: agent.ready(STATUS), "the agent is ready", every=0.01)
        return agent

    def run_agent(self, pod: NodePod) -> Container:
        self._have_image("agent")
        return self._start(pod, "agent")

    def clean(self, render: Render) -> tuple[int, str]:
        """The init container of the DaemonSet that an uninstall runs: exit code, and its output."""
        (template,) = [pod for pod in render.pods() if pod.kind == "DaemonSet" and pod.name.endswith("-uninstall")]
        self._have_image("agent")
        cleaner = self._start(self.pod(template, f"forklore-uninstall-{secrets.token_hex(2)}"), "clean")
        until(lambda: not cleaner.running(), "it has cleaned up")
        return int(cleaner.status()["exit_code"]), cleaner.log_text()

    def pod(self, template: PodTemplate, name: str, namespace: str = NAMESPACE) -> NodePod:
        """A pod of that template on the node."""
        hosts = {NAME: self.api.host}
        if hasattr(self, "collector"):
            hosts[_SERVICE] = self.collector.address
        return NodePod(name, namespace, str(uuid.uuid4()), template.spec, self.folder / name, NODE, self.api, hosts)

    def start(self, pod: NodePod, container: str) -> Container:
        """One container of a pod, in a new sandbox."""
        return self._start(replace(pod, hosts={NAME: self.api.host, **pod.hosts}), container)

    def remove(self, container: Container) -> None:
        """The whole pod."""
        self._started.remove(container.sandbox)
        self.node.remove(container.sandbox)

    def close(self) -> None:
        for sandbox in self._started:
            self.node.remove(sandbox)

    def read(self, path: str) -> Any:  # noqa: ANN401  JSON
        """What the collector answers to a reader: the token that it has made for readers is shown."""
        if not self._read_token:
            command = ("forklore", "collector", "token", "--config", "/etc/forklore/collector.yaml")
            code, out, error = self.collector.exec(*command)
            if code:
                raise RuntimeError(f"the collector prints no token: {error}")
            self._read_token = out.strip()
        return self.collector.get(COLLECTOR, path, self._read_token)

    def send(self, body: bytes, audience: str = "forklore-collector", node: str = NODE) -> Any:  # noqa: ANN401  JSON
        """What the collector answers to a batch from the node's agent."""
        spec = {"serviceAccountName": "forklore-agent"}
        agent = NodePod("forklore-agent-x", NAMESPACE, str(uuid.uuid4()), spec, self.folder, node)
        return self.collector.get(COLLECTOR, "/v1/events", self.api.token(agent, audience, 3600), body)

    def _wait_for_collector(self) -> None:
        ca = (self.api.files("configmaps", NAMESPACE, _CA) or {}).get("ca.crt")
        self.collector.trust = Trust(ca, _SERVICE) if ca else None
        until(lambda: self.collector.ready(COLLECTOR), lambda: f"the collector is ready: {self.collector.log_text()}")

    def _start(self, pod: NodePod, container: str) -> Container:
        sandbox = self.node.sandbox(pod)
        self._started.append(sandbox[0])
        return self.node.container(pod, sandbox, container)
