"""A containerd of its own, with pods that have networks of their own. All of it goes again.

Containerd's content lies in .cache, so that an image is unpacked once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dev.cluster.node.busybox_image import busybox_image
from dev.cluster.node.container import Container, until
from dev.cluster.node.kubelet import RECURSIVE, NodePod, container_config, sandbox_config
from dev.cluster.node.runtime_interface import Refused, RuntimeInterface
from dev.cluster.node.volumes import mounts
from dev.demo.containers import leftovers

__all__ = ["GATEWAY", "Node", "NodeError", "node"]

GATEWAY: Final = "10.88.94.1"  # the bridge of the test's own pods
_BRIDGE: Final = "forklore-test"
_PAUSE: Final = "forklore.test/pause:1"
_CONFIG: Final = """
version = 2
root = "{root}"
state = "{run}/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "{run}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{run}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{run}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    container_annotations = ["{annotation}"]
    pod_annotations = ["{annotation}"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{runc}"
"""


class NodeError(Exception):
    """containerd does not work."""


class Node:
    """`run`: short, for sockets lie below it. `content`: containerd's own folder, which may stay."""

    def __init__(self, run: Path, content: Path) -> None:
        self.run = run
        self.content = content
        self._pods: dict[str, str] = {}  # sandboxes: their pods' cgroup paths
        self._forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()

    def start(self) -> None:
        (self.run / "cni").mkdir(parents=True)
        self.content.mkdir(parents=True, exist_ok=True)
        wrapper = Path(__file__).with_name("runc_wrapper.py")
        (self.run / "config.toml").write_text(
            _CONFIG.format(root=self.content, run=self.run, pause=_PAUSE, annotation=RECURSIVE, runc=wrapper)
        )
        network = {
            "type": "bridge",
            "bridge": _BRIDGE,
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.run / "addresses"),
                "ranges": [[{"subnet": f"{GATEWAY.removesuffix('.1')}.0/24", "gateway": GATEWAY}]],
            },
        }
        (self.run / "cni/net.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": _BRIDGE, "plugins": [network]}))
        with (self.run / "containerd.log").open("wb") as log:
            self._process = subprocess.Popen(["containerd", "--config", self.run / "config.toml"], stdout=log, stderr=log)
        self.cri = RuntimeInterface(self.run / "containerd.sock")
        until(self._works, "containerd works")
        self.import_archive(busybox_image(_PAUSE, ("/bin/busybox", "sleep", "1000000")))  # holds a pod's namespaces
        # The bridge comes with the first pod, and servers of a test listen on its address before that.
        subprocess.run(["ip", "link", "add", _BRIDGE, "type", "bridge"], check=True)
        subprocess.run(["ip", "address", "add", f"{GATEWAY}/24", "dev", _BRIDGE], check=True)
        subprocess.run(["ip", "link", "set", _BRIDGE, "up"], check=True)

    def ctr(self, *command: str | Path) -> str:
        line = ["ctr", "--address", self.run / "containerd.sock", "--namespace", "k8s.io", *command]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            raise NodeError(done.stderr)
        return done.stdout

    def import_archive(self, archive: bytes) -> None:
        """A docker-archive."""
        file = self.run / "image.tar"
        file.write_bytes(archive)
        self.ctr("images", "import", file)
        file.unlink()

    def have(self, archive: Path) -> str:
        """Imports a docker-archive; the image's name."""
        with tarfile.open(archive) as bundle:
            manifest = bundle.extractfile("manifest.json")
            if manifest is None:
                raise NodeError(f"{archive} is no docker-archive")
            (image,) = json.load(manifest)
        name = str(image["RepoTags"][0])
        mark = self.content / f"imported-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        if not mark.exists() or mark.read_text() != image["Config"]:
            self.ctr("images", "import", archive)
            self.ctr("content", "prune", "references")  # it is unpacked; layers and former builds are 2 GB
            mark.write_text(image["Config"])
        return name

    def sandbox(self, pod: NodePod) -> tuple[str, str]:
        """A pod's: its id, and the pod's address."""
        pod.home.mkdir(parents=True, exist_ok=True)
        with leftovers.recording_new_directories(f"{pod.cgroup}/sandbox"):
            made = str(self.cri.call("RunPodSandbox", config=sandbox_config(pod))["pod_sandbox_id"])
        self._pods[made] = pod.cgroup
        return made, str(self.cri.call("PodSandboxStatus", pod_sandbox_id=made)["status"].get("network", {}).get("ip", ""))

    def container(self, pod: NodePod, sandbox: tuple[str, str], name: str, attempt: int = 0) -> Container:
        """Starts the pod's container of that name in its sandbox. Raises MissingFiles."""
        sandbox_id, address = sandbox
        container = pod.container(name)
        config = container_config(pod, container, mounts(pod, container), attempt)
        made = self.cri.call("CreateContainer", pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox_config(pod))
        one = Container(self.cri, pod, sandbox_id, address, str(made["container_id"]), pod.home / "logs" / config["log_path"])
        self.cri.call("StartContainer", container_id=one.id)
        return one

    def go(self, pod: NodePod, name: str) -> Container:
        """A sandbox with one container."""
        return self.container(pod, self.sandbox(pod), name)

    def remove(self, sandbox: str) -> None:
        """The pod's end: sandbox, containers, network, cgroups."""
        self.cri.call("StopPodSandbox", pod_sandbox_id=sandbox)
        self.cri.call("RemovePodSandbox", pod_sandbox_id=sandbox)
        leftovers.remove_below(self._pods.pop(sandbox))

    def close(self) -> None:
        for sandbox in list(self._pods):
            with contextlib.suppress(Refused):
                self.remove(sandbox)
        self.cri.close()
        self._process.terminate()
        self._process.wait(20)
        leftovers.remove_recorded()
        subprocess.run(["ip", "link", "delete", _BRIDGE], check=False, capture_output=True)
        Path("/proc/sys/net/ipv4/ip_forward").write_text(self._forwarding)
        shutil.rmtree(self.run, ignore_errors=True)

    def _works(self) -> bool:
        if self._process.poll() is not None:
            raise NodeError((self.run / "containerd.log").read_text()[-3000:])
        try:
            conditions = self.cri.call("Status", patience_s=5)["status"]["conditions"]
        except Refused:
            return False
        return all(one["status"] for one in conditions)


@contextlib.contextmanager
def node(run: Path, content: Path) -> Iterator[Node]:
    here = Node(run, content)
    try:
        here.start()
        yield here
    finally:
        here.close()
