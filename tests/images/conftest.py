"""The images as they were built, on a node with containerd, as the chart runs them.

The tests are skipped by name where there is no image yet (`make image`), no containerd or no root.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.kernel.pins import Pins
from tests.charts.conftest import Chart, Render, _binaries

from .kubelet import Account, Placed, placed
from .node import Container, Node, node, until

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / ".cache/image"
NAMESPACE = "forklore"
STATUS, COLLECTOR = 9911, 9910
MODES = ("default", "least-privilege")  # values files of the chart's: privileged, and two capabilities


def archive(name: str) -> Path:
    """The image as `make image` leaves it."""
    file = IMAGES / f"{name}.tar"
    if not file.exists():
        pytest.skip(f"there is no image {name}: make image")
    return file


@pytest.fixture(scope="session")
def here() -> Iterator[Node]:
    """The node."""
    if os.geteuid() != 0:
        pytest.skip("not root: no container can be started")
    for needed in ("containerd", "ctr", "/usr/lib/cni/bridge", "/bin/busybox"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is missing: apt-get install containerd containernetworking-plugins busybox-static")
    if not Path("/sys/fs/bpf").is_mount():
        pytest.skip("no BPF file system is mounted at /sys/fs/bpf")
    pytest.importorskip("grpc")
    archive("agent")
    with tempfile.TemporaryDirectory(prefix="forklore-", dir="/run") as run, node(Path(run), IMAGES / "containerd") as one:
        yield one


@pytest.fixture(scope="session")
def chart() -> Chart:
    code, text = _binaries()
    if code == 69:
        pytest.skip(text)
    assert code == 0, text
    return Chart(ROOT / ".cache/bin/helm")


class Installation:
    """One release of the chart on the node: its folders are the test's own, everything else is the chart's."""

    def __init__(self, here: Node, chart: Chart, folder: Path, pins: Path) -> None:
        self.here = here
        self.folder = folder
        self.pins = pins
        self.state = folder / "state"
        self._chart = chart
        self._token = secrets.token_hex(16)
        self.collector: Container
        self._started: list[str] = []

    def render(self, case: str, **values: Any) -> Render:
        own: dict[str, Any] = {
            "collector": {"enabled": True, "token": {"value": self._token}, "tls": {"enabled": False}},  # tests/charts has TLS
            "agent": {"pin": str(self.pins), "stateDir": str(self.state)},
        }
        for key, value in values.items():
            own[key] = {**own.get(key, {}), **value} if isinstance(value, dict) else value
        return self._chart.render(case, values=own)

    def start_collector(self, render: Render) -> Container:
        (template,) = [pod for pod in render.pods() if pod.kind == "StatefulSet"]
        spec = {**template.spec, "volumes": [*template.spec["volumes"], {"name": "data", "claim": {}}]}
        self.here.have(archive("collector"))
        self.collector = self._go(render, {**template._asdict(), "spec": spec}, "forklore-collector-0", "collector")
        until(lambda: self.collector.ready(COLLECTOR), "the collector is ready")
        return self.collector

    def restart_collector(self) -> Container:
        """In the same pod, as a kubelet does after it has ended."""
        before = self.collector
        self.collector = self.here.container(before.pod, (before.sandbox, before.address), "collector", 1)
        until(lambda: self.collector.ready(COLLECTOR), "the collector is ready")
        return self.collector

    def agent_pod(self, render: Render, account: Account | None = None) -> Placed:
        """As the DaemonSet has it; its name is another each time."""
        hosts = {f"forklore-collector.{NAMESPACE}.svc": self.collector.address} if hasattr(self, "collector") else {}
        name = f"forklore-agent-{secrets.token_hex(2)}"
        return self._placed(render, render.agent()._asdict(), name, account, hosts)

    def start_agent(self, render: Render, account: Account | None = None) -> Container:
        self.here.have(archive("agent"))
        agent = self.run_agent(self.agent_pod(render, account))
        until(lambda: agent.ready(STATUS), "the agent is ready", every=0.01)
        return agent

    def run_agent(self, pod: Placed) -> Container:
        sandbox = self.here.sandbox(pod)
        self._started.append(sandbox[0])
        return self.here.container(pod, sandbox, "agent")

    def clean(self, render: Render) -> tuple[int, str]:
        """The init container of the DaemonSet that an uninstall runs: exit code, and its output."""
        (template,) = [pod for pod in render.pods() if pod.kind == "DaemonSet" and pod.name.endswith("-uninstall")]
        spec = {**template.spec, "containers": template.spec["initContainers"]}
        cleaner = self._go(render, {**template._asdict(), "spec": spec}, f"forklore-uninstall-{secrets.token_hex(2)}", "clean")
        until(lambda: not cleaner.running(), "it has cleaned up")
        return int(cleaner.status()["exit_code"]), cleaner.log_text()

    def run(self, script: str, *, name: str, image: str = "ghcr.io/forklore/collector:0.1.0") -> Container:
        """A foreign pod: Python in a container without any privilege. /work inside is its volume."""
        self.here.have(archive("collector"))
        container = {
            "name": "app",
            "image": image,
            "command": ["python3", "-I", "-c", script],
            "volumeMounts": [{"name": "work", "mountPath": "/work"}],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        spec = {"containers": [container], "volumes": [{"name": "work", "emptyDir": {}}], "securityContext": {"fsGroup": 65532}}
        pod = Placed(name, "shop", str(uuid.uuid4()), {"spec": spec}, self.folder / name, "node1", {}, {})
        sandbox = self.here.sandbox(pod)
        self._started.append(sandbox[0])
        return self.here.container(pod, sandbox, "app")

    def remove(self, container: Container) -> None:
        self._started.remove(container.sandbox)
        self.here.remove(container.sandbox)

    def close(self) -> None:
        for sandbox in self._started:
            self.here.remove(sandbox)

    def ask(self, path: str, body: bytes | None = None) -> Any:
        """The collector."""
        return self.collector.get(COLLECTOR, path, self._token, body)

    def _go(self, render: Render, template: dict[str, Any], name: str, container: str) -> Container:
        pod = self._placed(render, template, name, None, {})
        sandbox = self.here.sandbox(pod)
        self._started.append(sandbox[0])
        return self.here.container(pod, sandbox, container)

    def _placed(
        self, render: Render, template: dict[str, Any], name: str, account: Account | None, hosts: dict[str, str]
    ) -> Placed:
        return placed(
            render.objects(), template, name=name, namespace=NAMESPACE, uid=str(uuid.uuid4()), home=self.folder / name,
            node="node1", account=account, hosts=hosts,
        )  # fmt: skip


@pytest.fixture
def pins() -> Iterator[Path]:
    """A folder in the BPF file system, of this test alone, and nothing in it afterwards."""
    folder = Path(f"/sys/fs/bpf/forklore-images-{os.getpid()}-{time.monotonic_ns()}")
    yield folder
    if folder.exists():
        held = Pins(folder)
        held.remove_all()
        held.close()


@pytest.fixture
def installation(here: Node, chart: Chart, pins: Path) -> Iterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="forklore-pods-", dir="/run") as folder:
        Path(folder).chmod(0o755)
        one = Installation(here, chart, Path(folder), pins)
        try:
            yield one
        finally:
            one.close()
