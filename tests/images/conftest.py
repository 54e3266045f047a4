"""The images as they were built, on a node with containerd, as the chart runs them.

The tests are skipped by name where there is no image yet (`make image`), no containerd or no root.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.kernel.pins import Pins
from dev.cluster.api_server import ApiServer
from dev.cluster.installation import NODE, Installation
from dev.cluster.node.container import Container
from dev.cluster.node.containerd import GATEWAY, Node, node
from dev.cluster.node.kubelet import NodePod
from tests.charts.conftest import Chart, Render, _binaries

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / ".cache/image"
MODES = ("default", "least-privilege")  # values files of the chart's: privileged, and two capabilities
Certificates = tuple[Mapping[str, str], Mapping[str, str]]


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


class Release(Installation):
    """One release of the chart on the node: its folders are the test's own, everything else is the chart's default."""

    def __init__(self, here: Node, api: ApiServer, chart: Chart, folder: Path, pins: Path) -> None:
        super().__init__(here, api, folder, lambda name: here.have(archive(name)))
        self.pins = pins
        self.state = folder / "state"
        self._chart = chart

    def render(self, case: str, **values: Any) -> Render:
        own: dict[str, Any] = {
            "collector": {"enabled": True},
            "agent": {"pin": str(self.pins), "stateDir": str(self.state)},
        }
        for key, value in values.items():
            own[key] = {**own.get(key, {}), **value} if isinstance(value, dict) else value
        return self._chart.render(case, values=own)

    def run(self, script: str, *, name: str, image: str = "ghcr.io/forklore/collector:0.1.0") -> Container:
        """A foreign pod: Python in a container without any privilege. /work inside is its volume."""
        self.node.have(archive("collector"))
        container = {
            "name": "app",
            "image": image,
            "command": ["python3", "-I", "-c", script],
            "volumeMounts": [{"name": "work", "mountPath": "/work"}],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        spec = {"containers": [container], "volumes": [{"name": "work", "emptyDir": {}}], "securityContext": {"fsGroup": 65532}}
        return self.start(NodePod(name, "shop", str(uuid.uuid4()), spec, self.folder / name, NODE), "app")


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
def api(here: Node) -> Iterator[ApiServer]:
    """The cluster's API server, at the address of the pods' bridge."""
    with ApiServer(GATEWAY) as server:
        yield server


@pytest.fixture(scope="session")
def certificates(here: Node, chart: Chart) -> Certificates:
    """What the chart's Job makes, in its own container. It takes a second, and every release here has the same names."""
    with ApiServer(GATEWAY) as server, tempfile.TemporaryDirectory(prefix="forklore-pods-", dir="/run") as folder:
        Path(folder).chmod(0o755)
        one = Release(here, server, chart, Path(folder), Path("/sys/fs/bpf/forklore-unused"))
        try:
            one.make_certificates(one.render("default"))
            return one.certificates()
        finally:
            one.close()


@pytest.fixture
def installation(here: Node, api: ApiServer, chart: Chart, pins: Path, certificates: Certificates) -> Iterator[Release]:
    with tempfile.TemporaryDirectory(prefix="forklore-pods-", dir="/run") as folder:
        Path(folder).chmod(0o755)
        one = Release(here, api, chart, Path(folder), pins)
        one.use_certificates(certificates)
        try:
            yield one
        finally:
            one.close()
