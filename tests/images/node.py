"""A node without a kubelet: containerd of its own, with pods that have networks of their own. All of it goes again.

Containerd's content lies in .cache, so that an image is unpacked once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from dev.demo.containers import leftovers

from .kubelet import RECURSIVE, Placed, container_config, sandbox_config
from .runtime_interface import Refused, RuntimeInterface

__all__ = ["Container", "Node", "until"]

GATEWAY: Final = "10.88.94.1"  # the bridge of the test's own pods
_BRIDGE: Final = "forklore-test"
_PAUSE: Final = "forklore.test/pause:1"
_PATIENCE_S: Final = 30.0
_EXITED: Final = 2  # ContainerState
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


def until(holds: Callable[[], Any], what: str | Callable[[], str], seconds: float = _PATIENCE_S, every: float = 0.05) -> Any:
    """Waits for something to become true; what it was when it did."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := holds():
            return value
        time.sleep(every)
    raise AssertionError(f"waited {seconds} s in vain until {what if isinstance(what, str) else what()}")


class Container:
    """One container of a pod, in the pod's sandbox."""

    def __init__(self, node: Node, pod: Placed, sandbox: str, address: str, container_id: str, log: Path) -> None:
        self._node = node
        self.pod = pod
        self.sandbox = sandbox
        self.address = address
        self.id = container_id
        self.log = log

    def status(self) -> dict[str, Any]:
        return dict(self._node.cri.call("ContainerStatus", container_id=self.id)["status"])

    def running(self) -> bool:
        return int(self.status()["state"]) < _EXITED

    def log_text(self) -> str:
        """Its stdout and stderr."""
        return "\n".join(line.split(" ", 3)[3] for line in self.log.read_text(errors="replace").splitlines())

    def get(self, port: int, path: str, token: str | None = None, body: bytes | None = None) -> Any:
        """What it answers, from the node. `body`: posted."""
        headers = {"Content-Type": "application/x-ndjson", **({"Authorization": f"Bearer {token}"} if token else {})}
        request = urllib.request.Request(f"http://{self.address}:{port}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                body = answer.read()
        except OSError:
            assert self.running(), f"it ended: {self.status()}\n{self.log_text()}"
            raise
        return json.loads(body) if body.startswith((b"{", b"[")) else body.decode()

    def ready(self, port: int) -> bool:
        """Its readiness probe."""
        try:
            self.get(port, "/readyz")
        except OSError:
            return False
        return True

    def exec(self, *command: str, timeout: int = 60) -> tuple[int, str, str]:
        """As `kubectl exec` does: code, stdout, stderr."""
        answer = self._node.cri.call("ExecSync", container_id=self.id, cmd=list(command), timeout=timeout)
        return answer["exit_code"], answer["stdout"], answer["stderr"]

    def stop(self, grace: int = 30) -> tuple[int, float]:
        """SIGTERM, and SIGKILL after so many seconds: exit code, seconds it took."""
        began = time.monotonic()
        self._node.cri.call("StopContainer", container_id=self.id, timeout=grace)
        until(lambda: not self.running(), "it has ended")
        return int(self.status()["exit_code"]), time.monotonic() - began

    def kill(self) -> None:
        os.kill(self.pid(), signal.SIGKILL)
        until(lambda: not self.running(), "it has ended")

    def pid(self) -> int:
        """Its first process, on the host."""
        return min(leftovers.processes(leftovers.directories(self.cgroup)[0]))

    @property
    def cgroup(self) -> str:
        return f"{self.pod.cgroup}/{self.id}"

    def memory(self, what: str) -> int:
        """Bytes by the memory controller: `usage`, `max_usage`, or a line of memory.stat."""
        folder = Path("/sys/fs/cgroup/memory") / self.cgroup.lstrip("/")
        if what in {"usage", "max_usage"}:
            return int((folder / f"memory.{what}_in_bytes").read_text())
        return int(dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())[what])


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
        self._import_pause()
        # The bridge comes with the first pod, and servers of a test listen on its address before that.
        subprocess.run(["ip", "link", "add", _BRIDGE, "type", "bridge"], check=True)
        subprocess.run(["ip", "address", "add", f"{GATEWAY}/24", "dev", _BRIDGE], check=True)
        subprocess.run(["ip", "link", "set", _BRIDGE, "up"], check=True)

    def ctr(self, *command: str | Path) -> str:
        line = ["ctr", "--address", self.run / "containerd.sock", "--namespace", "k8s.io", *command]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def have(self, archive: Path) -> str:
        """Imports a docker-archive; the image's name."""
        with tarfile.open(archive) as bundle:
            manifest = bundle.extractfile("manifest.json")
            assert manifest
            (image,) = json.load(manifest)
        name = str(image["RepoTags"][0])
        mark = self.content / f"imported-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        if not mark.exists() or mark.read_text() != image["Config"]:
            self.ctr("images", "import", archive)
            self.ctr("content", "prune", "references")  # it is unpacked; layers and former builds are 2 GB
            mark.write_text(image["Config"])
        return name

    def sandbox(self, pod: Placed) -> tuple[str, str]:
        """A pod's: its id, and the pod's address."""
        pod.home.mkdir(parents=True, exist_ok=True)
        with leftovers.recording_new_directories(f"{pod.cgroup}/sandbox"):
            made = str(self.cri.call("RunPodSandbox", config=sandbox_config(pod))["pod_sandbox_id"])
        self._pods[made] = pod.cgroup
        return made, str(self.cri.call("PodSandboxStatus", pod_sandbox_id=made)["status"]["network"]["ip"])

    def container(self, pod: Placed, sandbox: tuple[str, str], name: str, attempt: int = 0) -> Container:
        """Starts the pod's container of that name in its sandbox."""
        sandbox_id, address = sandbox
        (container,) = [one for one in pod.spec["containers"] if one["name"] == name]
        config = container_config(pod, container, attempt)
        made = self.cri.call("CreateContainer", pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox_config(pod))
        one = Container(self, pod, sandbox_id, address, str(made["container_id"]), pod.home / "logs" / config["log_path"])
        self.cri.call("StartContainer", container_id=one.id)
        return one

    def go(self, pod: Placed, name: str) -> Container:
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
        assert self._process.poll() is None, (self.run / "containerd.log").read_text()[-3000:]
        try:
            conditions = self.cri.call("Status", patience_s=5)["status"]["conditions"]
        except Refused:
            return False
        return all(one["status"] for one in conditions)

    def _import_pause(self) -> None:
        """What holds a pod's namespaces: a busybox that sleeps."""
        layer = _tar({"busybox": Path("/bin/busybox").read_bytes()})
        config = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            "config": {"Entrypoint": ["/busybox", "sleep", "1000000"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
        parts = {
            "layer.tar": layer,
            "config.json": json.dumps(config).encode(),
            "manifest.json": json.dumps([{"Config": "config.json", "RepoTags": [_PAUSE], "Layers": ["layer.tar"]}]).encode(),
        }
        archive = self.run / "pause.tar"
        archive.write_bytes(_tar(parts))
        self.ctr("images", "import", archive)


def _tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as bundle:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            bundle.addfile(info, io.BytesIO(data))
    return made.getvalue()


@contextlib.contextmanager
def node(run: Path, content: Path) -> Iterator[Node]:
    here = Node(run, content)
    try:
        here.start()
        yield here
    finally:
        here.close()
